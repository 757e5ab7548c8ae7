"""`ImageTextData`: images with captions or labels, from anything that Hugging Face `datasets` reads."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from torch.utils.data import DataLoader

from cliptune.data.arguments import check_arguments
from cliptune.data.batches import Batch, Order, Rows
from cliptune.data.cache import Encoder, all_texts, image_tables, text_table
from cliptune.data.classes import TEMPLATE, as_words, checked_templates, name_classes, numbers_without_names, read_names
from cliptune.data.columns import Split
from cliptune.data.opening import Wanted, fingerprint, open_splits
from cliptune.data.store import RowStore
from cliptune.data.views import EvalView, ImageView, Seen, TrainView
from cliptune.distributed import rank, world
from cliptune.errors import CheckpointError, ConfigError, DataError
from cliptune.preprocess import Preprocess

log = logging.getLogger(__name__)


class ImageTextData(L.LightningDataModule):
    """Reads, splits and batches images with their texts.

    Args:
        path: `digits`, a file, a folder, or a hub id; or a list of them, whose rows are put one after another (one that stands twice
            is seen twice in an epoch).
        eval_path: where validation and test come from, if not from `path`.
        batch_size: pairs of a step, on each device.
        image_column: the column of images or image paths; `auto` finds it.
        caption_column: the column of captions, one text or a list of several; `auto`, or null not to use captions.
        label_column: the column of labels; `auto`, or null not to use labels.
        split_column: the column that names the splits; `auto` takes one called split, null none.
        splits: this source's own names for train, validation and test, where they are unusual.
        class_names: the names of the classes: a list, or a file with a name per line or a JSON list. Integer labels count into it;
            labels that are words are the names themselves.
        templates: texts around a class name, `{}` its place: one, or several, of which training draws one and evaluation means all.
        crop_scale: least and greatest share of an image's area that a training view keeps.
        flip: probability of mirroring a training view.
        views: training views of an image: `fresh` draws a new one each epoch, 0 takes evaluation's, K draws that many once, and epochs
            take turns; `auto` is 0 where the method leaves the image tower frozen, so that it need run only once, and `fresh` elsewhere.
        shots: images of each class that training sees, and at most 4 of each in validation (CoOp's protocol); all where not given.
        shots_column: the column of published few-shot lists, such as `train_shot16_seed1`; the seed draws where not given.
        cache: keep what frozen towers give on disk, for later epochs and runs; without it the numbers are the same.
        cache_gb: GB that all that is kept may take; by default the environment's CLIPTUNE_CACHE_GB, or 20.
        activations_gb: GB that what enters the first block that learns may take, where only the last blocks learn.
        workers: processes that decode, of each device; null for one less than the cores, 8 at most, shared among devices; 0 for none.
        negative_column: the column of texts that are much like an image's caption and not true of it, one or a list.
        swaps: hard negatives made of each training text, by words that change places (attributes first, then word order).
        seed: of order, views, texts and held-out rows.
        preprocess: the backbone's; the command line fills it in.
        needs: what the objective compares images with, `pairs`, `classes` or both; the command line fills it in.

    Raises:
        DataError: in `setup`, for what the data does not hold.
    """

    def __init__(
        self,
        path: str | list[str] = "digits",
        eval_path: str | None = None,
        batch_size: int = 64,
        image_column: str = "auto",
        caption_column: str | None = "auto",
        label_column: str | None = "auto",
        split_column: str | None = "auto",
        splits: dict[str, str] | None = None,
        class_names: str | list[str] | None = None,
        templates: str | list[str] = TEMPLATE,
        crop_scale: tuple[float, float] = (0.9, 1.0),
        flip: float = 0.0,
        views: int | Literal["auto", "fresh"] = "auto",
        shots: int | None = None,
        shots_column: str | None = None,
        cache: bool = True,
        cache_gb: float | None = None,
        activations_gb: float = 4.0,
        workers: int | None = None,
        seed: int = 0,
        preprocess: Preprocess | None = None,
        negative_column: str | None = None,
        swaps: int = 0,
        needs: list[str] | str = "pairs",
    ) -> None:
        super().__init__()
        self.paths = [str(path)] if isinstance(path, (str, Path)) else [str(one) for one in path]
        self.negative_column, self.swaps = negative_column, swaps
        self.views, self.shots, self.shots_column = views, shots, shots_column
        self.cache, self.cache_gb, self.activations_gb = cache, cache_gb, activations_gb
        self.once = False  # whether training takes all rows in order, once, instead of shuffled batches
        self.eval_path = eval_path
        self.batch_size = batch_size
        self.columns = (image_column, caption_column, label_column)
        self.split_column, self.split_names = split_column, splits or {}
        self.given_class_names = class_names
        self.templates = checked_templates(templates)
        self.crop_scale, self.flip, self.seed = crop_scale, flip, seed
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers
        self.workers_given = workers is not None
        self.preprocess = preprocess
        self.needs = {needs} if isinstance(needs, str) else set(needs)
        check_arguments(self, workers)
        self.class_names: list[str] = []
        self.class_number: dict[str, int] = {}  # from label to class
        self.notes: list[str] = []  # what the user should know of how the data was read
        self.first_epoch, self.first_batch = 0, 0  # of training: others when a run is resumed
        self._splits: dict[str, list[Split]] = {}
        self._seen: dict[str, Seen] = {}  # by split: what frozen towers give

    def setup(self, stage: str | None = None) -> None:
        """Open the sources, once for all stages."""
        if self._splits:
            return
        wanted = Wanted(self.columns, self.negative_column, self.split_column, self.split_names, self.needs, self.shots, self.shots_column)
        opened = {}
        for path in dict.fromkeys([*self.paths, *([self.eval_path] if self.eval_path else [])]):
            opened[path], note = open_splits(path, wanted, self.seed)
            self.notes += [f"{path}: {note}"] if note else []
        evals = [self.eval_path] if self.eval_path else list(dict.fromkeys(self.paths))
        self._splits = {
            "train": [opened[path]["train"] for path in self.paths],
            "validation": [opened[path]["validation"] for path in evals],
            "test": [opened[path]["test"] for path in evals],
        }
        classes = name_classes([split for path in evals for split in opened[path].values()], read_names(self.given_class_names))
        self.class_names, self.class_number = classes.names, classes.number
        self.notes += [classes.note] if classes.note else []
        rows = len(Rows(self._splits["train"]))
        most = rows // world()  # of a batch
        if self.shots is not None and 0 < most < self.batch_size:
            self.batch_size = most
            self.notes.append(f"batches of {most}: so many are the few shots" + f" on each of {world()} devices" * (world() > 1))
        if most < self.batch_size:
            on = f" on each of {world()} devices" if world() > 1 else ""
            raise DataError(
                f"batch_size {self.batch_size}{on} is more than the {rows} training rows. Set data.batch_size to {most} or less."
            )
        for note in self.notes:
            log.info(note)

    @property
    def class_texts(self) -> list[list[str]]:
        """[C][T]: the texts of each class, one per template."""
        return [[template.replace("{}", name) for template in self.templates] for name in self.class_names]

    @property
    def class_counts(self) -> list[int] | None:
        """Training images of each class; None where there are no classes."""
        found = [0] * len(self.class_names)
        for split in self._splits["train"]:
            for label, count in split.label_counts().items():
                if label in self.class_number:
                    found[self.class_number[label]] += count
        return found or None

    @property
    def has_captions(self) -> bool:
        """Whether evaluation can measure retrieval."""
        return all(split.columns.caption is not None for split in self._splits["test"])

    @property
    def vectors(self) -> int:
        """The width of the rows that the data holds instead of images; 0 where it holds images."""
        rows = self.rows("test")
        return len(rows[[(0, 0)]][0][2].image) if rows.vectors else 0

    def rows(self, split: str, images: bool = True) -> Rows:
        """The rows of train, validation or test; the images' bytes only where they are wanted."""
        return Rows(self._splits[split], images)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of `TrainView`."""
        return self._loader("train", self.train_view(), shuffle=not self.once)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the validation split."""
        return self._loader("validation", self.eval_view("validation"), shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the test split."""
        return self._loader("test", self.eval_view("test"), shuffle=False)

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

    def fingerprint(self) -> str:
        """Identify the data."""
        return fingerprint(self._splits)

    def _text_of_labels(self) -> tuple[dict[str, int], list[list[str]]]:
        """Class texts for training; with sources whose classes are not those of evaluation, over all their labels."""
        extra: list[str] = []
        for split in self._splits["train"]:
            unknown = [label for label in split.labels() if label not in self.class_number]
            if split.labels_are_text:
                extra += [label for label in unknown if label not in extra]
            elif unknown and not split.columns.caption:
                raise numbers_without_names(unknown)
        if extra and "classes" in self.needs:
            where = self.eval_path or "the evaluation data"
            raise DataError(f"the training label {extra[0]!r} is no class of {where}. Train on the same classes, or with Contrastive.")
        names = {**self.class_number, **{label: len(self.class_number) + i for i, label in enumerate(extra)}}
        return names, self.class_texts + [[t.replace("{}", as_words(label)) for t in self.templates] for label in extra]

    def train_view(self) -> TrainView:
        """How training sees rows."""
        names, texts = self._text_of_labels()
        return TrainView(self.image_view(), names, texts, "pairs" in self.needs, self._seen.get("train"), self.swaps)

    def image_view(self) -> ImageView:
        """How training sees images."""
        views = "fresh" if self.views == "auto" else self.views
        return ImageView(self._preprocess(), views, self.crop_scale, self.flip, self.seed)

    def eval_view(self, split: str | None = None) -> EvalView:
        """How evaluation sees rows: images, or what frozen towers give of a split."""
        return EvalView(self._preprocess(), self.class_number, self.has_captions, self._seen.get(split or ""))

    def see(self, split: str, images: Encoder | None, texts: Encoder | None) -> None:
        """Take what frozen towers give from the cache, computing what is not there yet; once for each split.

        Args:
            split: train, validation or test.
            images: of images, or None where that tower learns.
            texts: of texts, likewise.
        """
        if split in self._seen:
            return
        store = RowStore(limit_gb=self.cache_gb, limit_key="data.cache_gb") if self.cache_gb is not None else RowStore()
        view = self.image_view() if split == "train" else ImageView(self._preprocess(), 0, (1.0, 1.0), 0.0, 0)
        tables = image_tables(store, images, self.rows(split), view, self.workers, self.activations_gb) if images is not None else []
        spoken = text_table(store, texts, self._texts(split), self._preprocess()) if texts is not None else None
        self._seen[split] = Seen(images.key if images else "image_rows", tables, spoken)

    def _texts(self, split: str) -> list[str]:
        """All texts that a split's rows may be given with."""
        if split == "train" and "pairs" in self.needs:
            return all_texts(self.rows(split, images=False), self.train_view().every_text)
        if split != "train" and self.has_captions:
            return all_texts(self.rows(split, images=False), lambda row: row.captions)
        return []

    def _loader(self, split: str, view: Callable[..., Batch], shuffle: bool) -> DataLoader[Any]:
        cached = bool(split in self._seen and self._seen[split].tables)
        rows = self.rows(split, images=not cached)
        devices = self.trainer.num_devices if self.trainer is not None and not self.workers_given else 1  # of this machine
        workers = 0 if cached else max(self.workers // devices, min(self.workers, 1))  # of what is cached nothing is decoded
        return DataLoader(
            rows,
            batch_size=None,  # the order gives whole batches, so that a batch is one read
            sampler=Order(
                len(rows), self.batch_size, shuffle, self.seed, self.first_epoch, (rank(), world()), self.first_batch if shuffle else 0
            ),
            collate_fn=view,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # or each new loader would move the global state
        )

    def _preprocess(self) -> Preprocess:
        if self.preprocess is None:
            raise ConfigError("ImageTextData has no preprocess. Pass the backbone's: ImageTextData(..., preprocess=backbone.preprocess).")
        return self.preprocess
