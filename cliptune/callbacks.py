"""What goes on beside training: the progress that people see, the clock, and the watch over validation."""

import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar

from cliptune.distributed import world
from cliptune.errors import ConfigError, TrainingError, did_you_mean

FALL = 0.05  # a fall of fewer points than this is noise on small validation sets


class Watch:
    """Which validation metric matters, and when to stop.

    Args:
        monitor: the metric that picks the best checkpoint: `val/score`, which is top-1 where there are classes and mean recall else;
            or any that is logged, such as `val/recall@1_text_to_image`.
        patience: evaluations without a better one before training stops; null to go on to the end.
        floor: training ends with an error when validation falls below this share of zero-shot; 0 for never.
    """

    def __init__(self, monitor: str = "val/score", patience: int | None = 10, floor: float = 0.5) -> None:
        if not 0 <= floor <= 1:
            raise ConfigError(f"watch: floor {floor} is not in 0..1. It is a share of zero-shot: take 0.5.")
        self.monitor, self.patience, self.floor = monitor, patience, floor

    def callbacks(self, folder: str) -> list[Callback]:
        """The checkpoints `best`, with what use needs, and `last`, to go on from, in the folder; and early stopping."""
        best = Kept(dirpath=folder, filename="best", monitor=self.monitor, mode="max", save_weights_only=True, enable_version_counter=False)
        last = Kept(dirpath=folder, filename="last", save_on_train_epoch_end=True, every_n_epochs=1, enable_version_counter=False)
        stop = [EarlyStopping(self.monitor, mode="max", patience=self.patience)] if self.patience is not None else []
        return [*stop, best, last]


class Kept(ModelCheckpoint):
    """Knows its own files again in a run folder that was moved; Lightning would forget which score was best."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint says of the files, as files of this folder."""
        paths = {key: self._here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path


class Floor(Callback):
    """Ends training when validation falls far below zero-shot: the learning rate is wrong, and going on would hide it.

    Refuses at the first evaluation to watch a metric that is not there.
    """

    def __init__(self, watch: Watch) -> None:
        self.monitor, self.floor = watch.monitor, watch.floor
        self.zero_shot: float | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare with zero-shot, where that is known."""
        known = [name for name in trainer.callback_metrics if name.startswith("val/")]
        if self.monitor not in known:
            raise ConfigError(f"watch: monitor {self.monitor} is no metric of this data. {did_you_mean(self.monitor, known)}")
        if trainer.state.fn != "fit" or trainer.sanity_checking or not self.zero_shot:
            return
        score = float(trainer.callback_metrics["val/score"])
        if score < self.floor * self.zero_shot and self.zero_shot - score > FALL:
            raise TrainingError(
                f"validation fell to {score:.3f}, from {self.zero_shot:.3f} zero-shot (epoch {trainer.current_epoch + 1}). "
                "Lower the learning rate: 1e-5 or less for full fine-tuning of a real CLIP. The best checkpoint is kept; "
                "watch.floor: 0 goes on regardless."
            )


class Clock(Callback):
    """Measures training: images/s, and the share of the time that steps waited for data."""

    def __init__(self) -> None:
        self.images, self.waiting, self.stepping = 0, 0.0, 0.0
        self._mark = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start counting; a run that goes on in the middle of an epoch has no start of it."""
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start again, after the validation of the epoch before."""
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch is here."""
        now = time.perf_counter()
        self.waiting += now - self._mark
        self._mark = now

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The step is done."""
        now = time.perf_counter()
        self.stepping += now - self._mark
        self.images += len(batch["row"])
        self._mark = now

    @property
    def images_per_second(self) -> float:
        """Training images of all processes per second of training time, waiting included."""
        return world() * self.images / max(self.waiting + self.stepping, 1e-9)

    @property
    def waiting_share(self) -> float:
        """Share of the training time spent waiting for data."""
        return self.waiting / max(self.waiting + self.stepping, 1e-9)


class Bar(RichProgressBar):
    """Lightning's rich bar with images/s and the current metric."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(leave=False)
        self.clock = clock

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Loss, images/s and score instead of a version number."""
        found = super().get_metrics(trainer, pl_module)
        found.pop("v_num", None)
        if self.clock.images:
            found["images/s"] = round(self.clock.images_per_second)
        return found


class Lines(Callback):
    """One plain line per evaluation, where no terminal shows a bar."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print epoch, loss, score and speed."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        loss = metrics.get("train/loss")
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", f"loss {float(loss):.4f}" if loss is not None else ""]
        parts += [f"validation {float(metrics['val/score']):.4f}", f"{self.clock.images_per_second:.0f} images/s"]
        if trainer.is_global_zero:
            print("  ".join(part for part in parts if part), flush=True)


def progress(clock: Clock) -> Callback:
    """The bar on a terminal, lines elsewhere."""
    return Bar(clock) if sys.stdout.isatty() else Lines(clock)
