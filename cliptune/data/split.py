"""One split of one source, read by rows: images as bytes or paths, captions, labels; nothing is decoded here."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
from datasets import Dataset

from cliptune.data.chosen import column_of, select_rows
from cliptune.data.columns import Columns
from cliptune.data.formats.features import is_vector, read_vectors
from cliptune.data.labels import LabelRules, Labels
from cliptune.data.texts.phrases import Phrase

PLAIN = re.compile(r"/?[^/.\\][^/\\]*(?:/[^/.\\][^/\\]*)*")  # paths that pathlib leaves as they are


class Row(NamedTuple):
    """One example before decoding."""

    image: bytes | str | np.ndarray  # the bytes of a file, or its path; or a vector [D], which a tower gave before
    captions: list[str]
    labels: tuple[str, ...]
    key: str  # the same for the same image: its path where there is one
    negatives: list[str] = []  # texts much like its captions that are not its own
    templates: tuple[str, ...] = ()  # its source's own, around class names

    @property
    def label(self) -> str | None:
        """The first label, if there is any."""
        return self.labels[0] if self.labels else None


class Reading(NamedTuple):
    """How cells become rows, beside which column is which."""

    labels: LabelRules = LabelRules()
    phrase: Phrase | None = None  # what captions are made by, of columns
    templates: tuple[str, ...] = ()  # the source's own
    words: Mapping[str, str] = {}  # the names of labels that are numbers


class Split:
    """One split of one source.

    Args:
        table: the rows.
        columns: what is where.
        roots: the folders that image paths may be relative to; the first that has the image.
        name: the source and split, for messages and keys.
        reading: how cells become rows.
    """

    def __init__(self, table: Dataset, columns: Columns, roots: Sequence[Path], name: str, reading: Reading = Reading()) -> None:  # noqa: B008
        self.columns, self.roots, self.name, self.reading = columns, roots, name, reading
        self._folders = ["" if root == Path() else str(root) for root in roots]
        self.whole = table  # with the columns that no row has
        self.negative = columns.negative if columns.negative in table.column_names else None  # evaluation may lack it
        self.weight = columns.weight if columns.weight in table.column_names else None
        fields = [name for name in (reading.phrase.fields if reading.phrase else ()) if name in table.column_names]
        others = [c for c in (columns.caption, columns.label, self.negative, self.weight, *fields) if c and c != columns.image]
        table = table.select_columns(list(dict.fromkeys([columns.image, *others])))
        if isinstance(table.features[columns.image], datasets.Image):
            table = table.cast_column(columns.image, datasets.Image(decode=False))
        self.table = table
        self.labels = Labels(table, columns.label, reading.labels) if columns.label else None
        self.holds_vectors = is_vector(table.features[columns.image])
        self._without_images = table.select_columns(list(dict.fromkeys(others))) if others else table
        in_table = self.holds_vectors or (bool(len(table)) and isinstance(self.image_of(table[0][columns.image]), bytes))
        self._holds_images = bool(others) and in_table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def has_captions(self) -> bool:
        """Whether rows have texts of their own."""
        return self.columns.caption is not None or self.reading.phrase is not None

    def select(self, rows: np.ndarray, reading: Reading | None = None) -> "Split":
        """The split of these rows, by number, alone; perhaps read in another way."""
        return Split(select_rows(self.whole, rows), self.columns, self.roots, self.name, reading or self.reading)

    def weights(self) -> np.ndarray | None:
        """[N], what the weight column says; None without one."""
        return None if self.weight is None else np.asarray(column_of(self.table, self.weight), dtype=np.float64)

    def values(self, column: str) -> list[Any]:
        """The cells of any column of the source, row by row, those it has no use for included; a named class by its name. Not of images."""
        cells = column_of(self.whole, column).to_pylist()
        feature = self.whole.features[column]
        named = isinstance(feature, datasets.ClassLabel)
        return [feature.int2str(cell) if named and cell is not None else cell for cell in cells]

    def read(self, rows: list[int], images: bool = True) -> list[Row]:
        """Fetch rows by number, in one read.

        Args:
            rows: their numbers.
            images: whether the bytes of images that lie in the table are wanted.
        """
        held = self._holds_images and not images
        part = (self._without_images if held or self.holds_vectors else self.table)[_slice_of(rows)]
        if held:
            found: Sequence[Any] = [b""] * len(rows)
        elif self.holds_vectors:
            found = read_vectors(self.table, self.columns.image, rows)
        else:
            found = [self.image_of(value) for value in part[self.columns.image]]
        return self.rows_of(part, found, rows)

    def rows_of(self, part: Mapping[str, list[Any]], images: Sequence[Any], numbers: Sequence[int]) -> list[Row]:
        """Make rows of cells.

        Args:
            part: the cells, by column.
            images: bytes, paths or vectors.
            numbers: of the rows.
        """
        none: list[Any] = [None] * len(numbers)
        captions = [_texts(value) for value in (part[self.columns.caption] if self.columns.caption else none)]
        labels = [self.labels.of(value) if self.labels else () for value in (part[self.columns.label] if self.columns.label else none)]
        negatives = [_texts(value) for value in (part[self.negative] if self.negative else none)]
        if self.reading.phrase is not None:
            made = self.reading.phrase.fill_columns(self._cells(part, labels))
            captions = [[*said, text] if text else said for said, text in zip(captions, made, strict=True)]
        keys = [image if isinstance(image, str) else f"{self.name}:{number}" for image, number in zip(images, numbers, strict=True)]
        return [
            Row(image, *texts, key, wrong, self.reading.templates)
            for image, texts, key, wrong in zip(images, zip(captions, labels, strict=True), keys, negatives, strict=True)
        ]

    def _cells(self, part: Mapping[str, list[Any]], labels: list[tuple[str, ...]]) -> dict[str, list[Any]]:
        """What a phrase is made of: labels as the words they stand for, under their column's name and as `label`."""
        words = [", ".join(self.reading.words.get(label, label) for label in each).replace("_", " ") for each in labels]
        named: dict[str, list[Any]] = {"label": words, str(self.columns.label): words} if self.columns.label else {}
        own = {name: values for name, values in part.items() if name != self.columns.image and name not in named}
        return {**own, **named}

    def image_of(self, value: Any) -> bytes | str:
        """The bytes of an image that lies in the table, or its path."""
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return value
        value = os.path.expanduser(value)  # noqa: PTH111  # Path's own fails for ~x where there is no user x
        if not PLAIN.fullmatch(value):
            value = str(Path(value))
        paths = [os.path.join(folder, value) for folder in self._folders]  # noqa: PTH118  # a Path takes as long to make as a row to read
        return next((path for path in paths[:-1] if os.path.exists(path)), paths[-1])  # noqa: PTH110


def _slice_of(rows: list[int]) -> list[int] | slice:
    """Rows that follow one another are read several times as fast."""
    return slice(rows[0], rows[-1] + 1) if rows and rows == list(range(rows[0], rows[-1] + 1)) else rows


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value or []
    return [text.strip() for text in texts if text and text.strip()]
