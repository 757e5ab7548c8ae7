"""`--extend N`: N epochs more for a run that has ended, from its last weights, with a schedule that begins anew."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping

from cliptune.errors import CheckpointError


def extended_epochs(checkpoint: dict[str, Any], more: int) -> int:
    """How many epochs there are in all.

    Args:
        checkpoint: of the ended run.
        more: how many to add.

    Raises:
        CheckpointError: it is from the middle of an epoch, so that the run has not ended.
    """
    data = checkpoint.get("ImageTextData", {})
    if data.get("rows", 0):
        raise CheckpointError(f"the run stopped in the middle of epoch {data['epoch'] + 1}: go on with it first, without --extend.")
    return int(checkpoint["epoch"]) + 1 + more


class Extension(Callback):
    """Lets the new schedule have the learning rate, which the optimizer's old state holds too, and patience begin anew."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called when the old state is restored."""
        scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
        scheduler.base_lrs = list(pl_module.base_lrs)  # type: ignore[arg-type]
        for group, base, factor in zip(trainer.optimizers[0].param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = base * factor(scheduler.last_epoch)
        for callback in trainer.early_stopping_callbacks:
            if isinstance(callback, EarlyStopping):
                callback.wait_count = callback.stopped_epoch = 0
