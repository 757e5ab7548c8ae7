"""`ImageTextData`: images with captions or labels, from anything that Hugging Face `datasets` reads."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from cliptune.data.batches import Batch, EvalView, Order, Rows, TrainView
from cliptune.data.columns import Split, find_columns
from cliptune.data.sources import open_source, split_tables
from cliptune.errors import ConfigError, DataError, did_you_mean
from cliptune.preprocess import Preprocess

log = logging.getLogger(__name__)
TEMPLATE = "a photo of a {}."  # Radford et al. 2021, sec. 3.1.4


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
        self.paths = [path] if isinstance(path, str) else list(path)
        if not self.paths:
            raise ConfigError("data: path is empty. Give digits, a file, a folder or a hub id.")
        self.eval_path = eval_path
        self.batch_size = batch_size
        self.columns = (image_column, caption_column, label_column)
        self.split_column, self.split_names = split_column, splits or {}
        self.given_class_names = class_names
        self.templates = _checked_templates(templates)
        self.crop_scale, self.flip, self.seed = crop_scale, flip, seed
        self.workers = min(8, max(1, (os.cpu_count() or 2) - 1)) if workers is None else workers
        self.preprocess = preprocess
        self.needs = needs
        self.class_names: list[str] = []
        self.notes: list[str] = []  # what the user should know of how the data was read
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
        self._name_classes([opened[path] for path in evals])
        if len(Rows(self._splits["train"])) < self.batch_size:
            rows = len(Rows(self._splits["train"]))
            raise DataError(f"batch_size {self.batch_size} is more than the {rows} training rows. Set data.batch_size to {rows} or less.")
        for note in self.notes:
            log.info(note)

    def _open(self, path: str) -> dict[str, Split]:
        tables, note = split_tables(open_source(path), self.split_column, self.split_names, self.seed, path)
        local = Path(path).expanduser()
        root = local if local.is_dir() else local.parent
        columns = find_columns(tables["train"], *self.columns, path=path)
        found = {name: Split(table, columns, root, f"{path}/{name}") for name, table in tables.items()}
        left_out = sum(split.left_out for split in found.values())
        if left_out:
            note = f"{note}; " if note else ""
            note += f"{left_out} rows without an image or without a caption or label are left out"
        if note:
            self.notes.append(f"{path}: {note}")
        empty = [name for name, split in found.items() if not len(split)]
        if empty:
            raise DataError(
                f"data path {path}: the {empty[0]} split has no row with an image and a caption or label. Set splits or caption_column."
            )
        return found

    def _name_classes(self, sources: list[dict[str, Split]]) -> None:
        splits = [split for source in sources for split in source.values()]
        labelled = [split for split in splits if split.columns.label]
        given = _read_names(self.given_class_names)
        if not labelled:
            if given:
                raise DataError("class_names are set, but the data has no label column. Set label_column, or leave class_names out.")
            self.class_number: dict[str, int] = {}
            return
        seen = list(dict.fromkeys(label for split in labelled for label in split.labels()))
        if not all(split.labels_are_text for split in labelled):
            if not given:
                if any(split.columns.caption for split in labelled):  # captions serve; numbers cannot be turned into words
                    self.notes.append("labels are numbers without names: not used; set class_names to use them")
                    self.class_number = {}
                    return
                raise DataError(
                    f"the labels are numbers ({', '.join(sorted(seen)[:5])}) without names. "
                    "Set class_names to a list, or to a file with a name per line."
                )
            odd = [label for label in seen if not label.lstrip("-").isdigit() or not 0 <= int(label) < len(given)]
            if odd:
                raise DataError(f"label {odd[0]} does not count into the {len(given)} class_names. Labels count from 0.")
            self.class_number = {str(i): i for i in range(len(given))}
            self.class_names = given
            return
        ordered = labelled[0].label_names or sorted(seen)
        names = given or ordered
        odd = [label for label in seen if label not in names]
        if odd:
            raise DataError(f"label {odd[0]!r} is not among the class_names. {did_you_mean(odd[0], names)}")
        self.class_number = {name: i for i, name in enumerate(names)}
        self.class_names = [name.replace("_", " ") for name in names]

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

    def fingerprint(self) -> str:
        """Identify the data: sha256 over paths' last parts, counts, columns and up to 64 evenly spaced rows of each split."""
        digest = hashlib.sha256()
        for name, splits in self._splits.items():
            for split in splits:
                digest.update(f"{name}{len(split)}{split.columns}".encode())
                for row in split.read(list(range(0, len(split), max(len(split) // 64, 1)))[:64]):
                    digest.update(repr((row.image[-256:], row.captions, row.label)).encode())
        return digest.hexdigest()[:16]

    def _text_of_labels(self) -> tuple[dict[str, int], list[list[str]]]:
        """Class texts for training; with sources whose classes are not those of evaluation, over all their labels."""
        labels = [label for split in self._splits["train"] for label in split.labels()]
        extra = [label for label in dict.fromkeys(labels) if label not in self.class_number]
        if extra and self.needs == "classes":
            raise DataError(
                f"the training label {extra[0]!r} is no class of {self.eval_path}. Train on the same classes, or with Contrastive."
            )
        names = {**self.class_number, **{label: len(self.class_number) + i for i, label in enumerate(extra)}}
        texts = [[t.replace("{}", label.replace("_", " ")) for t in self.templates] for label in extra]
        return names, self.class_texts + texts

    def eval_view(self) -> EvalView:
        """How evaluation sees rows."""
        return EvalView(self._preprocess(), self.class_number, self.has_captions)

    def _loader(self, split: str, view: Callable[..., Batch], shuffle: bool) -> DataLoader[Any]:
        rows = self.rows(split)
        return DataLoader(
            rows,
            batch_size=None,  # the order gives whole batches, so that a batch is one read
            sampler=Order(len(rows), self.batch_size, shuffle, self.seed),
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


def _checked_templates(templates: str | list[str]) -> list[str]:
    listed = [templates] if isinstance(templates, str) else list(templates)
    for template in listed:
        if "{}" not in template:
            raise ConfigError(f"template {template!r} has no {{}} for the class name. Write it as {TEMPLATE!r}.")
    if not listed:
        raise ConfigError(f"templates is empty. Give at least one, such as {TEMPLATE!r}.")
    return listed


def _read_names(given: str | list[str] | None) -> list[str] | None:
    if not isinstance(given, str):
        return given
    file = Path(given)
    if not file.is_file():
        raise DataError(f"class_names {given}: there is no such file. Give a list, or a file with a name per line.")
    text = file.read_text(encoding="utf-8")
    return list(json.loads(text)) if file.suffix == ".json" else [line.strip() for line in text.splitlines() if line.strip()]
