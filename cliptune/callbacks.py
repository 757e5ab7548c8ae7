"""What goes on beside training: the progress that people see, the clock, and the watch over validation."""

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import Tensor

from cliptune.blend import checked_keep
from cliptune.distributed import world
from cliptune.errors import ConfigError, TrainingError, did_you_mean
from cliptune.guards import told
from cliptune.metrics.names import higher, short
from cliptune.module import AdaptModule

BALANCED = "val/balanced"
FALL = 0.05  # a fall of no more than this is none,
ERRORS = 3.0  # nor one of no more standard errors of a share of so few images: few shots may have a dozen

log = logging.getLogger(__name__)


class Watch:
    """Which validation metric matters, and when to stop.

    Args:
        monitor: the metric that picks the best checkpoint: `val/score`, which is top-1 where there are classes and mean recall else;
            `balanced`, the mean of that and of the guards' mean score; or any that is logged, such as `val/recall@1_text_to_image`;
            of `val/nll`, `val/ece...` and median ranks less is better.
        patience: evaluations without a better one before training stops; null to go on to the end.
        floor: training ends with an error when validation falls below this share of zero-shot; 0 for never.
        keep: of the blends with zero-shot only those may be chosen that have at least this share of zero-shot's score on each guard;
            null for no such condition.
    """

    def __init__(self, monitor: str = "val/score", patience: int | None = 10, floor: float = 0.5, keep: float | None = None) -> None:
        if not 0 <= floor <= 1:
            raise ConfigError(f"watch: floor {floor} is not in 0..1. It is a share of zero-shot: take 0.5.")
        if monitor.startswith("test"):
            raise ConfigError(
                f"watch: monitor {monitor} would choose the model on the test split, whose score would then say nothing. "
                f"Take val{monitor.removeprefix('test')}."
            )
        self.keep = checked_keep(keep, "watch: keep")
        self.monitor, self.patience, self.floor = BALANCED if monitor == "balanced" else monitor, patience, floor

    @property
    def balanced(self) -> bool:
        """Whether the guards have a say in which checkpoint is best."""
        return self.monitor == BALANCED

    def check(self, guarded: bool) -> None:
        """Refuse to weigh against nothing.

        Raises:
            ConfigError: with the way out.
        """
        if self.balanced and not guarded:
            raise ConfigError(
                "watch: monitor balanced weighs validation against guards, and there is none. Set guard: [PATH], or monitor: val/score."
            )
        if self.keep is not None and not guarded:
            raise ConfigError(
                f"watch: keep {self.keep:g} is a share of guards' scores, and there is none. Set guard: [PATH], or keep: null."
            )

    def callbacks(self, folder: str) -> list[Callback]:
        """The checkpoints `best`, with what use needs, and `last`, to go on from, in the folder; and early stopping."""
        mode = "max" if higher(self.monitor) else "min"
        best = Best(dirpath=folder, filename="best", monitor=self.monitor, mode=mode, save_weights_only=True, enable_version_counter=False)
        last = Kept(dirpath=folder, filename="last", save_on_train_epoch_end=True, every_n_epochs=1, enable_version_counter=False)
        stop = [EarlyStopping(self.monitor, mode=mode, patience=self.patience, strict=False)] if self.patience is not None else []
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


class Best(Kept):
    """The best by its metric; among equals the latest.

    A few dozen images of validation are often right at several evaluations alike, the first of which is hardly trained; nor does their
    cross-entropy tell these apart, which rises while the rest is still being learned (docs/benchmarks.md has what was tried).
    """

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Whether the model is at least as good as the kept one; all processes know the same metrics."""
        kept = self.best_k_models.get(self.kth_best_model_path)
        equal = kept is not None and current is not None and float(current) == float(kept)
        return super().check_monitor_top_k(trainer, current) or equal


class Floor(Callback):
    """Ends training when validation falls far below zero-shot: the learning rate is wrong, and going on would hide it.

    At the end of training warns where validation is far below its best.

    Methods that start from nothing, or from random words, may be below it for long, and are let alone. Refuses at the first evaluation
    to watch a metric that is not there.
    """

    def __init__(self, watch: Watch) -> None:
        self.monitor, self.floor = watch.monitor, watch.floor
        self.zero_shot: float | None = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare with zero-shot, where that is known."""
        known = [name for name in trainer.callback_metrics if name.startswith(("val/", "guard/"))]
        if self.monitor not in known:
            raise ConfigError(f"watch: monitor {self.monitor} is no metric of this data. {did_you_mean(self.monitor, known)}")
        below = isinstance(pl_module, AdaptModule) and not pl_module.method.starts_as_clip  # whose way begins below zero-shot
        if trainer.state.fn != "fit" or trainer.sanity_checking or not self.zero_shot or below:
            return
        score = float(trainer.callback_metrics["val/score"])
        if score < self.floor * self.zero_shot and _fell(self.zero_shot, score, pl_module):
            raise TrainingError(
                f"validation fell to {score:.3f}, from {self.zero_shot:.3f} zero-shot (epoch {trainer.current_epoch + 1}). "
                "Lower the learning rate: 1e-5 or less for full fine-tuning of a real CLIP. The best checkpoint is kept; "
                "watch.floor: 0 goes on regardless."
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn where what was learned last is far worse than the best, which is kept: a better one may be had by learning less."""
        kept = next((one.best_model_score for one in trainer.checkpoint_callbacks if isinstance(one, Best)), None)
        last = trainer.callback_metrics.get(self.monitor)
        if kept is None or last is None or not higher(self.monitor) or not isinstance(pl_module, AdaptModule):
            return
        if trainer.is_global_zero and _fell(float(kept), float(last), pl_module):
            name = short(_score(trainer) if self.monitor == "val/score" else self.monitor)
            log.warning(
                f"validation {name} fell from {float(kept):.3f}, the best, which is kept, to {float(last):.3f} at the end. "
                f"A lower learning rate (now up to {max(pl_module.base_lrs):g}) or fewer epochs may give a better model."
            )


def _score(trainer: L.Trainer) -> str:
    """Which metric `val/score` is."""
    return "top1" if "val/top1" in trainer.callback_metrics else "recall"


def _fell(before: float, now: float, module: L.LightningModule) -> bool:
    """Whether a share of the last validation's images fell by more than so few of them explain."""
    images = max(module.evaluated["val"]["images"], 1) if isinstance(module, AdaptModule) else 1
    return before - now > max(FALL, ERRORS * math.sqrt(max(before * (1 - before), 0) / images))


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
    """Lightning's rich bar with images/s, the current metric, and what the guards lost."""

    def __init__(self, clock: Clock, floor: Floor) -> None:
        super().__init__(leave=False)
        self.clock, self.floor = clock, floor

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        """Loss, images/s, score and guards instead of a version number."""
        found = super().get_metrics(trainer, pl_module)
        found.pop("v_num", None)
        if isinstance(pl_module, AdaptModule) and pl_module.guards and "val/score" in trainer.callback_metrics:
            found["val/score"] = told(float(trainer.callback_metrics["val/score"]), self.floor.zero_shot)
            found.update({f"guard {name}": text for name, text in pl_module.guards.progress().items()})
        if self.clock.images:
            found["images/s"] = round(self.clock.images_per_second)
        return found


class Lines(Callback):
    """One plain line per evaluation, where no terminal shows a bar."""

    def __init__(self, clock: Clock, floor: Floor) -> None:
        self.clock, self.floor = clock, floor

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print epoch, loss, score, guards and speed; behind scores, how far they are from zero-shot."""
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        loss = metrics.get("train/loss")
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", f"loss {float(loss):.4f}" if loss is not None else ""]
        score = _score(trainer)
        parts.append(f"validation {short(score)} {told(float(metrics['val/score']), self.floor.zero_shot, digits=4)}")
        if self.floor.monitor not in ("val/score", BALANCED, f"val/{score}") and self.floor.monitor in metrics:
            parts.append(f"{short(self.floor.monitor)} {float(metrics[self.floor.monitor]):.4f}")
        if isinstance(pl_module, AdaptModule):
            parts += [f"guard {name} {text}" for name, text in pl_module.guards.progress().items()]
        parts.append(f"{self.clock.images_per_second:.0f} images/s")
        if trainer.is_global_zero:
            print("  ".join(part for part in parts if part), flush=True)


def progress(clock: Clock, floor: Floor) -> Callback:
    """The bar on a terminal, lines elsewhere."""
    return Bar(clock, floor) if sys.stdout.isatty() else Lines(clock, floor)
