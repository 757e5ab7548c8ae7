"""`ImageTextData`: images with captions or labels, from anything that Hugging Face `datasets` reads."""

import logging
import os
from pathlib import Path
from typing import Any

import lightning as L
from torch.utils.data import DataLoader

from cliptune.data.arguments import check_arguments
from cliptune.data.bad import Bad
from cliptune.data.batches import Rows
from cliptune.data.collate import EvalView, TrainView
from cliptune.data.gathered import Gathered, gather
from cliptune.data.kept.cache import Encoder
from cliptune.data.loaders import loader
from cliptune.data.opening import fingerprint
from cliptune.data.options import Options
from cliptune.data.sights import Sights
from cliptune.data.split import Split
from cliptune.data.streamed import Streamed, gather_stream
from cliptune.data.texts.descriptions import read_descriptions
from cliptune.data.texts.templates import read_templates
from cliptune.data.usable import LeftOut
from cliptune.distributed import world
from cliptune.errors import CheckpointError, DataError
from cliptune.preprocess import Preprocess

log = logging.getLogger(__name__)


class ImageTextData(L.LightningDataModule):
    """Reads, splits and batches images with their texts.

    Args:
        path: `digits`, a file, a folder, a pattern of tar shards, or a hub id; or a list of them, whose rows are put one after another
            (one that stands twice is seen twice in an epoch).
        preprocess: the backbone's; the command line fills it in.
        needs: what the objective compares images with, `pairs`, `classes` or both; the command line fills it in.
        options: see `Options`.

    Raises:
        DataError: in `setup`, for what the data does not hold.
    """

    def __init__(
        self, path: str | list[str] = "digits", *, preprocess: Preprocess | None = None, needs: list[str] | str = "pairs", **options: Any
    ) -> None:
        super().__init__()
        self.options = Options(**options)
        given = [str(path)] if isinstance(path, (str, Path)) else [str(one) for one in path]
        self.paths = [part.path for part in self.options.sources] or given
        self.preprocess = preprocess
        self.needs = {needs} if isinstance(needs, str) else set(needs)
        check_arguments(self.paths, self.options, self.needs)
        self.batch_size, self.views, self.cache = self.options.batch_size, self.options.views, self.options.cache
        self.templates = [] if self.options.descriptions is not None else read_templates(self.options.templates)  # that class texts are of
        cores = min(8, max(1, (os.cpu_count() or 2) - 1))
        self.workers = cores if self.options.workers is None else self.options.workers
        self.once = False  # whether training takes all rows in order, once, instead of shuffled batches
        self.class_names: list[str] = []
        self.class_number: dict[str, int] = {}  # from label to class
        self._described: list[list[str]] | None = None
        self.notes: list[str] = []  # what the user should know of how the data was read
        self.first_epoch, self.first_batch = 0, 0  # of training: others when a run is resumed
        self.gathered: Gathered | None = None
        self.stream: Streamed | None = None
        self.sights = Sights(self)

    def setup(self, stage: str | None = None) -> None:
        """Open the sources, once for all stages."""
        if self.gathered is not None:
            return
        if self.options.streaming:
            self.gathered, self.stream = gather_stream(self.paths[0], self.options, self.needs)
        else:
            self.gathered = gather(self.paths, self.options, self.needs)
        self.class_names, self.class_number = self.gathered.classes.names, self.gathered.classes.number
        self.notes = [*self.gathered.notes, *self.sights.told_of_long_texts()]
        if self.options.descriptions is not None:
            self._described, note = read_descriptions(self.options.descriptions, self.class_names)
            self.notes += [note] if note else []
        self._fit_batch()
        for note in self.notes:
            log.info(note)

    def _fit_batch(self) -> None:
        """Make the batch as small as few shots are; of other data refuse one that training has not enough rows for."""
        rows = self.counts["train"]
        most, few = rows // world(), self.options.shots is not None or self.options.shots_file is not None  # of a batch
        if few and 0 < most < self.batch_size:
            self.batch_size = most
            self.notes.append(f"batches of {most}: so many are the few shots" + f" on each of {world()} devices" * (world() > 1))
        if most < self.batch_size:
            on = f" on each of {world()} devices" if world() > 1 else ""
            raise DataError(
                f"batch_size {self.batch_size}{on} is more than the {rows} training rows. Set data.batch_size to {most} or less."
            )

    @property
    def splits(self) -> dict[str, list[Split]]:
        """Train, validation and test, each of one or more sources; set up first."""
        if self.gathered is None:
            self.setup()
        assert self.gathered is not None
        return self.gathered.splits

    @property
    def eval_path(self) -> str | None:
        """Where validation and test come from, if not from the sources of training."""
        return self.options.eval_path

    @property
    def left_out(self) -> list[LeftOut]:
        """The rows that are not used, and why."""
        return self.gathered.left_out if self.gathered is not None else []

    @property
    def chosen(self) -> Any:
        """The images that few shots left, or None."""
        return self.gathered.chosen if self.gathered is not None else None

    @property
    def bad_known(self) -> dict[str, list[Bad]]:
        """By split the images that could not be read when frozen towers saw them."""
        return self.sights.bad

    @property
    def max_bad(self) -> float:
        """Share of a split's images that may be unreadable."""
        return self.options.max_bad

    @property
    def class_texts(self) -> list[list[str]]:
        """[C][T]: the texts of each class: one per template, or its descriptions, of which each has as many as it has."""
        if self._described is not None:
            return self._described
        return [[template.replace("{}", name) for template in self.templates] for name in self.class_names]

    @property
    def class_counts(self) -> list[int] | None:
        """Training images of each class; None where there are no classes, or nobody has counted."""
        if self.stream is not None:
            return None
        found = [0] * len(self.class_names)
        for split in self.splits["train"]:
            for label, count in split.labels.counts().items() if split.labels else ():
                if label in self.class_number:
                    found[self.class_number[label]] += count
        return found or None

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each split; of a stream those of an epoch."""
        found = {split: sum(len(part) for part in parts) for split, parts in self.splits.items()}
        return found if self.stream is None else {**found, "train": self.stream.epoch_rows}

    @property
    def several(self) -> bool:
        """Whether an image may have several labels, in training or in evaluation."""
        labels = [split.labels for part in self.splits.values() for split in part]
        return bool(self.class_names) and any(one is not None and one.several for one in labels)

    @property
    def has_captions(self) -> bool:
        """Whether evaluation can measure retrieval."""
        return all(split.has_captions for split in self.splits["test"])

    @property
    def vectors(self) -> int:
        """The width of the rows that the data holds instead of images; 0 where it holds images."""
        rows = self.rows("test")
        return len(rows[[(0, 0)]][0][2].image) if rows.vectors else 0

    def rows(self, split: str, images: bool = True) -> Rows:
        """The rows of train, validation or test; the images' bytes only where they are wanted."""
        return Rows(self.splits[split], images)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of `TrainView`."""
        if not self.once:
            self.sights.keep_decoded()
        return loader(self, "train", shuffle=not self.once)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the validation split."""
        return loader(self, "validation", shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the test split."""
        return loader(self, "test", shuffle=False)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The test split."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The epoch that training goes on with, and how many rows of it all devices together have seen, for a checkpoint."""
        if self.trainer is None:
            return {"epoch": 0, "rows": 0, "batch": self.batch_size}
        loop, whole = self.trainer.fit_loop, self.batch_size * world()
        begun, progress = loop.epoch_progress.current.ready, loop.epoch_loop.batch_progress  # of epochs, and in the last one
        if progress.is_last_batch or not begun:
            return {"epoch": begun, "rows": 0, "batch": whole}
        return {"epoch": begun - 1, "rows": progress.current.ready * whole, "batch": whole}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint's training stood.

        Raises:
            CheckpointError: in the middle of an epoch, in batches of another size.
        """
        self.first_epoch, seen, whole = int(state_dict["epoch"]), int(state_dict.get("rows", 0)), self.batch_size * world()
        before = int(state_dict.get("batch", whole))
        if seen and before != whole:
            raise CheckpointError(
                f"the checkpoint is from the middle of an epoch in batches of {before} over all devices, and these are of {whole}. "
                f"Go on with devices and data.batch_size that make {before}."
            )
        self.first_batch = seen // whole

    def fingerprint(self, split: str | None = None) -> str:
        """Identify the data, or one split of it."""
        return fingerprint(self.splits if split is None else {split: self.splits[split]})

    def train_view(self) -> TrainView:
        """How training sees rows."""
        return self.sights.train_view()

    def eval_view(self, split: str | None = None) -> EvalView:
        """How evaluation sees rows: images, or what frozen towers give of a split."""
        return self.sights.eval_view(split)

    def see(self, split: str, images: Encoder | None, texts: Encoder | None) -> None:
        """Take what frozen towers give from the cache; see `Sights.see`."""
        self.sights.see(split, images, texts)
