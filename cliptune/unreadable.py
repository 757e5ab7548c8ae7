"""Counts, lists and tells the images that could not be read, and ends a run in which there are too many of them.

The data puts others in their place, or leaves them out (`data.bad`), and says so: in a batch under `bad`, and for what frozen towers have
seen before training in `bad_known`.
"""

import logging
from functools import cached_property
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from cliptune.data.bad import Bad, BadSamples
from cliptune.distributed import gathered, world
from cliptune.errors import DataError
from cliptune.processes import is_main, tell
from cliptune.run import Run

log = logging.getLogger(__name__)
FILE = "bad_samples.csv"
MAX_BAD = 0.01  # of data that does not say


class Unreadable(Callback):
    """Takes what is bad out of each batch.

    Args:
        run: in whose folder the list lies.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._fresh: list[Bad] = []  # that other processes do not know of
        self._told: dict[str, int] = {}
        self._warned: set[str] = set()

    @cached_property
    def samples(self) -> BadSamples:
        """The list; the folder is known when the processes have met."""
        return BadSamples(self.run.folder / FILE)

    @property
    def left_out(self) -> dict[str, int]:
        """By split, how many images could not be read; in training others took their place."""
        return {split: self.samples.count(split) for split in ("train", "validation", "test")}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take what frozen towers could not see."""
        self._known(trainer, "train")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise."""
        self._known(trainer, "validation")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise."""
        self._known(trainer, "test")

    on_predict_start = on_test_start

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Take what is bad."""
        self._take(trainer, batch.pop("bad", []))

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Likewise."""
        self._take(trainer, batch.pop("bad", []))

    on_test_batch_start = on_predict_batch_start = on_validation_batch_start

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put together what all processes found."""
        self._agree(trainer, "train", "others take their place")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise."""
        self._agree(trainer, "validation", "left out")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Likewise."""
        self._agree(trainer, "test", "left out")

    on_predict_epoch_end = on_test_epoch_end

    def _known(self, trainer: L.Trainer, split: str) -> None:
        self._take(trainer, getattr(_data(trainer), "bad_known", {}).get(split, []))

    def _take(self, trainer: L.Trainer, bad: list[Bad]) -> None:
        new = self.samples.add(bad, write=is_main())
        self._fresh += new
        for split in dict.fromkeys(one.split for one in new):
            if split not in self._warned:  # one is told as it comes, all are counted when the split was seen
                self._warned.add(split)
                first = next(one for one in new if one.split == split)
                log.warning(
                    f"cannot read {first.path} ({split}): {first.reason}. The run goes on; such images are listed in {self.samples.file}"
                )
            self._check(trainer, split)

    def _check(self, trainer: L.Trainer, split: str) -> None:
        data = _data(trainer)
        try:
            self.samples.check(split, data.counts[split], getattr(data, "max_bad", MAX_BAD))
        except DataError:
            BadSamples(self.samples.file).add(self.samples.found.values())  # of this process too, which is not the one that writes
            self.run.made = False  # the list is worth keeping, though nothing may have been measured
            raise

    def _agree(self, trainer: L.Trainer, split: str, what: str) -> None:
        if world() > 1:
            self.samples.add(gathered(self._fresh), write=is_main())
            self._check(trainer, split)
        self._fresh = []
        count = self.samples.count(split)
        if count != self._told.get(split, 0):
            tell(f"{split}: {count} of {_data(trainer).counts[split]:,} images cannot be read, {what}: {self.samples.file}")
            self._told[split] = count


def _data(trainer: L.Trainer) -> Any:
    return getattr(trainer, "datamodule", None)
