"""Ctrl-C and SIGTERM: training ends after the step under way, with a checkpoint that goes on exactly there."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from cliptune.distributed import greatest
from cliptune.errors import Stopped
from cliptune.processes import tell
from cliptune.run import Run

ENDING = (signal.SIGINT, signal.SIGTERM)


class Stopping(Callback):
    """Waits for a signal, in any of the processes; a second one ends at once.

    Args:
        run: whose `last.ckpt` is written.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.asked = self.agreed = 0  # the signal, that this process heard, and that any did
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen, instead of Lightning, which ends in the middle of a step."""
        self._before = {number: signal.signal(number, self._hear) for number in ENDING}

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen no more; what was heard since the last step began is obeyed here, before the scoring that would follow."""
        self._listen_no_more()
        self._agree(trainer, pl_module)
        self._obey(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self._listen_no_more()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save, where a process was asked to stop; at an epoch's last step what comes after it saves anyway."""
        self._agree(trainer, pl_module)
        if self.agreed and not trainer.is_last_batch:
            trainer._logger_connector.update_train_step_metrics()  # a kill may follow the checkpoint, and nobody would log the step again
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """End, now that the step before is logged, and its epoch, if it ended there, is measured and saved."""
        self._obey(trainer)

    def _agree(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.agreed = int(greatest(torch.tensor(self.asked, device=module.device))) if trainer.world_size > 1 else self.asked

    def _obey(self, trainer: L.Trainer) -> None:
        if self.agreed:
            folder = self.path.parents[1]
            raise Stopped(
                f"stopped after step {trainer.global_step}, and saved. Go on with: "
                f"cliptune fit --config {folder}/config.yaml --ckpt_path {folder}",
                128 + self.agreed,
            )

    def _listen_no_more(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    @property
    def path(self) -> Path:
        """Where it is saved."""
        return self.run.folder / "checkpoints" / "last.ckpt"

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number
        tell("stopping after this step, with a checkpoint; once more to stop at once")
