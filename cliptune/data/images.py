"""`ImageTextData`: images with captions or labels, from anything that Hugging Face `datasets` reads."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from cliptune.data.batches import Batch, EvalView, Order, Rows, TrainView
from cliptune.data.classes import TEMPLATE, as_words, checked_templates, name_classes, numbers_without_names, read_names
from cliptune.data.columns import Split, check_has, find_columns, labelled_rows, usable_rows
from cliptune.data.sources import hold_out, name_splits, open_source
from cliptune.errors import ConfigError, DataError, did_you_mean
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
        workers: processes that decode; null for one less than the cores, 8 at most; 0 to decode in the main process.
        seed: of order, views, texts and held-out rows.
        preprocess: the backbone's; the command line fills it in.
        needs: what the objective compares images with, `pairs` or `classes`; the command line fills it in.

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
        workers: int | None = None,
        seed: int = 0,
        preprocess: Preprocess | None = None,
        needs: str = "pairs",
    ) -> None:
        super().__init__()
        self.paths = [str(path)] if isinstance(path, (str, Path)) else [str(one) for one in path]
        if not self.paths:
            raise ConfigError("data: path is empty. Give digits, a file, a folder or a hub id.")
        if batch_size < 1:
            raise ConfigError(f"data: batch_size {batch_size} is not positive. Take 64.")
        if workers is not None and workers < 0:
            raise ConfigError(f"data: workers {workers} is negative. Take 0 to decode in the main process, or leave it out.")
        if not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise ConfigError(f"data: crop_scale {list(crop_scale)} is not two growing shares in 0..1. Take [0.9, 1.0].")
        self.eval_path = eval_path
        self.batch_size = batch_size
        self.columns = (image_column, caption_column, label_column)
        self.split_column, self.split_names = split_column, splits or {}
        self.given_class_names = class_names
        self.templates = checked_templates(templates)
        self.crop_scale, self.flip, self.seed = crop_scale, flip, seed
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers
        self.preprocess = preprocess
        self.needs = needs
        self.class_names: list[str] = []
        self.class_number: dict[str, int] = {}  # from label to class
        self.notes: list[str] = []  # what the user should know of how the data was read
        self.first_epoch = 0  # of training: another one when a run is resumed
        self._splits: dict[str, list[Split]] = {}
        unknown = [name for name in self.split_names if name not in ("train", "validation", "test")]
        if unknown:
            raise ConfigError(f"data: splits has the unknown {unknown[0]!r}. {did_you_mean(unknown[0], ('train', 'validation', 'test'))}")

    def setup(self, stage: str | None = None) -> None:
        """Open the sources, once for all stages."""
        if self._splits:
            return
        opened = {path: self._open(path) for path in dict.fromkeys([*self.paths, *([self.eval_path] if self.eval_path else [])])}
        evals = [self.eval_path] if self.eval_path else list(dict.fromkeys(self.paths))
        self._splits = {
            "train": [opened[path]["train"] for path in self.paths],
            "validation": [opened[path]["validation"] for path in evals],
            "test": [opened[path]["test"] for path in evals],
        }
        classes = name_classes([split for path in evals for split in opened[path].values()], read_names(self.given_class_names))
        self.class_names, self.class_number = classes.names, classes.number
        self.notes += [classes.note] if classes.note else []
        if len(Rows(self._splits["train"])) < self.batch_size:
            rows = len(Rows(self._splits["train"]))
            raise DataError(f"batch_size {self.batch_size} is more than the {rows} training rows. Set data.batch_size to {rows} or less.")
        for note in self.notes:
            log.info(note)

    def _open(self, path: str) -> dict[str, Split]:
        source = open_source(path)
        named, unused = name_splits(source.tables, self.split_column, self.split_names, path)
        columns = find_columns(named["train"], *self.columns, path=path)
        for name, table in named.items():
            check_has(table, columns, f"{path}: the {name} split")
        usable = {name: usable_rows(table, columns) for name, table in named.items()}
        empty = [name for name, table in usable.items() if not len(table)]
        if empty:
            way = "Set splits or caption_column." + (" Or give the path of the table of texts." if Path(path).expanduser().is_dir() else "")
            raise DataError(f"data path {path}: the {empty[0]} split has no row with an image and a caption or label. {way}")
        left_out = sum(len(table) - len(usable[name]) for name, table in named.items())
        held, held_note = hold_out(usable, columns.image, self.seed, path)
        if self.needs == "classes" and columns.label:  # what is held out is the same for every objective, so this comes last
            rows = len(held["train"])
            held["train"] = labelled_rows(held["train"], columns.label)
            left_out += rows - len(held["train"])
        lost = f"{left_out} rows without an image or without a caption or label are left out" if left_out else ""
        note = "; ".join(part for part in (source.note, held_note, unused, lost) if part)
        if note:
            self.notes.append(f"{path}: {note}")
        first = next(iter(source.roots.values()))
        roots = {name: source.roots.get(self.split_names.get(name, name), first) for name in held}
        return {name: Split(table, columns, roots[name], f"{path}/{name}") for name, table in held.items()}

    @property
    def class_texts(self) -> list[list[str]]:
        """[C][T]: the texts of each class, one per template."""
        return [[template.replace("{}", name) for template in self.templates] for name in self.class_names]

    @property
    def has_captions(self) -> bool:
        """Whether evaluation can measure retrieval."""
        return all(split.columns.caption is not None for split in self._splits["test"])

    def rows(self, split: str) -> Rows:
        """The rows of train, validation or test."""
        return Rows(self._splits[split])

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of `TrainView`."""
        names, texts = self._text_of_labels()
        view = TrainView(self._preprocess(), names, texts, self.needs == "pairs", self.crop_scale, self.flip, self.seed)
        return self._loader("train", view, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the validation split."""
        return self._loader("validation", self.eval_view(), shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Batches of `EvalView` over the test split."""
        return self._loader("test", self.eval_view(), shuffle=False)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The test split."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """The epoch that training goes on with, for a checkpoint."""
        if self.trainer is None:
            return {"epoch": 0}
        loop = self.trainer.fit_loop
        begun = loop.epoch_progress.current.ready
        return {"epoch": begun if loop.epoch_loop.batch_progress.is_last_batch else max(begun - 1, 0)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint's training stood."""
        self.first_epoch = int(state_dict["epoch"])

    def fingerprint(self) -> str:
        """Identify the data: sha256 over paths' last parts, counts, columns and up to 64 evenly spaced rows of each split."""
        digest = hashlib.sha256()
        for name, splits in self._splits.items():
            for split in splits:
                digest.update(f"{name}{len(split)}{split.columns}".encode())
                for row in split.read(list(range(0, len(split), max(len(split) // 64, 1)))[:64]):
                    image = Path(row.image).name if isinstance(row.image, str) else row.image[-256:]
                    digest.update(repr((image, row.captions, row.label)).encode())
        return digest.hexdigest()[:16]

    def _text_of_labels(self) -> tuple[dict[str, int], list[list[str]]]:
        """Class texts for training; with sources whose classes are not those of evaluation, over all their labels."""
        extra: list[str] = []
        for split in self._splits["train"]:
            unknown = [label for label in split.labels() if label not in self.class_number]
            if split.labels_are_text:
                extra += [label for label in unknown if label not in extra]
            elif unknown and not split.columns.caption:
                raise numbers_without_names(unknown)
        if extra and self.needs == "classes":
            where = self.eval_path or "the evaluation data"
            raise DataError(f"the training label {extra[0]!r} is no class of {where}. Train on the same classes, or with Contrastive.")
        names = {**self.class_number, **{label: len(self.class_number) + i for i, label in enumerate(extra)}}
        return names, self.class_texts + [[t.replace("{}", as_words(label)) for t in self.templates] for label in extra]

    def eval_view(self) -> EvalView:
        """How evaluation sees rows."""
        return EvalView(self._preprocess(), self.class_number, self.has_captions)

    def _loader(self, split: str, view: Callable[..., Batch], shuffle: bool) -> DataLoader[Any]:
        rows = self.rows(split)
        return DataLoader(
            rows,
            batch_size=None,  # the order gives whole batches, so that a batch is one read
            sampler=Order(len(rows), self.batch_size, shuffle, self.seed, self.first_epoch),
            collate_fn=view,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # or each new loader would move the global state
        )

    def _preprocess(self) -> Preprocess:
        if self.preprocess is None:
            raise ConfigError("ImageTextData has no preprocess. Pass the backbone's: ImageTextData(..., preprocess=backbone.preprocess).")
        return self.preprocess
