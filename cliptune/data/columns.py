"""Which column holds the image, the captions and the label: found from names and types, or as set; and reading rows of them."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from cliptune.data.features import check_vectors, is_vector, read_vectors, vector_column
from cliptune.errors import DataError, did_you_mean
from cliptune.images import SUFFIXES

NAMES = {
    "image": ("image", "images", "img", "picture", "photo", "file_name", "filename", "filepath", "file_path", "image_path", "path", "file"),
    "caption": ("captions", "caption", "text", "texts", "title", "description", "sentences", "sentence", "raw", "prompt"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "fine_label", "species"),
}


class Row(NamedTuple):
    """One example before decoding."""

    image: bytes | str | np.ndarray  # the bytes of a file, or its path; or a vector [D], which a tower gave before
    captions: list[str]
    label: str | None
    key: str  # the same for the same image: its path where there is one
    negatives: list[str] = []  # texts much like its captions that are not its own


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for what the table does not have."""

    image: str
    caption: str | None
    label: str | None
    negative: str | None = None


def find_columns(
    table: Dataset, image: str | None, caption: str | None, label: str | None, path: str, negative: str | None = None
) -> Columns:
    """Choose the columns.

    Args:
        table: any split of the source.
        image: a column's name, or `auto`.
        caption: likewise, or None for "do not use".
        label: likewise.
        path: the source, for messages.
        negative: a column's name, or None.

    Raises:
        DataError: a named column does not exist or holds the wrong type; or there is no image, or no text of any kind.
    """
    wanted = {"image": image, "caption": caption, "label": label, "negative": negative}
    for role, name in wanted.items():
        if name not in (None, "auto") and name not in table.column_names:
            raise DataError(f"data path {path} has no column {name} ({role}_column). {did_you_mean(str(name), table.column_names)}")
    chosen = {role: detect(table, role) if name == "auto" else name for role, name in wanted.items()}
    have = ", ".join(table.column_names)
    if negative is not None and not _is_text(table.features[negative]):
        raise DataError(
            f"data path {path}: the negative column {negative} holds {_type(table, negative)}, not text. "
            "Set negative_column to a column of texts or of lists of them."
        )
    if chosen["image"] is None:
        raise DataError(f"data path {path} has no column of images or of image paths; it has {have}. Set image_column.")
    if not (_may_be_image(table.features[chosen["image"]]) or is_vector(table.features[chosen["image"]])):
        raise DataError(
            f"data path {path}: the image column {chosen['image']} holds {_type(table, chosen['image'])}, not images or their paths. "
            "Set image_column."
        )
    if chosen["caption"] is not None and not _is_text(table.features[chosen["caption"]]):
        raise DataError(
            f"data path {path}: the caption column {chosen['caption']} holds {_type(table, chosen['caption'])}, not text. "
            "Set caption_column to a column of words, or to null for none."
        )
    if chosen["caption"] is None and chosen["label"] is None and label == "auto":  # a label of the wrong type is the likely cause
        chosen["label"] = next((name for name in table.column_names if name.strip().lower() in NAMES["label"]), None)
    if chosen["label"] is not None and not _is_label(table.features[chosen["label"]]):
        raise DataError(
            f"data path {path}: the label column {chosen['label']} holds {_type(table, chosen['label'])}, not words or whole numbers. "
            "Set label_column to such a column, or to null for none; whole numbers with empty cells between them are read as floats."
        )
    if chosen["caption"] is None and chosen["label"] is None:
        way = " Or give the path of the table that holds them." if Path(path).is_dir() else ""
        raise DataError(
            f"data path {path} has neither captions nor labels that could be found; it has {have}. Set caption_column or label_column.{way}"
        )
    return Columns(chosen["image"], chosen["caption"], chosen["label"], negative)


def detect(table: Dataset, role: str) -> str | None:
    """The column of a role, `image`, `caption` or `label`, by type and name; None where there is none."""
    features = table.features
    if role == "image":
        typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        if typed:
            return "image" if "image" in typed else typed[0]
    named = [name for known in NAMES[role] for name in table.column_names if name.strip().lower() == known]
    fits = {"image": _is_image, "caption": lambda t, n: True, "label": lambda t, n: _is_label(t.features[n])}[role]
    found = next((name for name in named if fits(table, name)), None)
    return vector_column(table) if role == "image" and found is None else found


def _is_image(table: Dataset, name: str) -> bool:
    feature = table.features[name]
    if _is_text(feature):
        first = next((value for value in table[name] if value), "")
        return str(first).lower().endswith(SUFFIXES)
    return _may_be_image(feature)


def _may_be_image(feature: Any) -> bool:
    if isinstance(feature, dict):  # what datasets' images are in a parquet file that others wrote
        return "bytes" in feature
    kinds = ("string", "large_string", "binary", "large_binary")
    return isinstance(feature, datasets.Image) or (isinstance(feature, datasets.Value) and feature.dtype in kinds)


def _is_text(feature: Any) -> bool:
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) else inner
    return isinstance(inner, datasets.Value) and inner.dtype in ("string", "large_string")


def _is_label(feature: Any) -> bool:
    kinds = ("string", "large_string", "int", "uint", "bool")
    return isinstance(feature, datasets.ClassLabel) or (isinstance(feature, datasets.Value) and feature.dtype.startswith(kinds))


def _type(table: Dataset, name: str) -> str:
    feature = table.features[name]
    dtype = str(getattr(feature, "dtype", ""))
    if dtype.startswith(("float", "double")):
        return "floats"
    return "numbers" if dtype.startswith(("int", "uint")) else str(feature)


class Split:
    """One split of one source, read by rows, nothing decoded.

    Args:
        table: the rows.
        columns: what is where.
        roots: the folders that image paths may be relative to; the first that has the image.
        name: the source and split, for messages and keys.
    """

    def __init__(self, table: Dataset, columns: Columns, roots: Sequence[Path], name: str) -> None:
        self.columns, self.roots, self.name = columns, roots, name
        self.negative = columns.negative if columns.negative in table.column_names else None  # evaluation may lack it
        kept = [c for c in (columns.image, columns.caption, columns.label, self.negative) if c]
        table = table.select_columns(list(dict.fromkeys(kept)))
        if isinstance(table.features[columns.image], datasets.Image):
            table = table.cast_column(columns.image, datasets.Image(decode=False))
        feature = table.features[columns.label] if columns.label else None
        self.label_names: list[str] | None = [_word(name) for name in feature.names] if isinstance(feature, datasets.ClassLabel) else None
        self.labels_are_text = self.label_names is not None or (feature is not None and _is_text(feature))
        self.table = table
        self.holds_vectors = is_vector(table.features[columns.image])
        others = [c for c in (columns.caption, columns.label, self.negative) if c]
        self._without_images = table.select_columns(others) if others else table
        in_table = self.holds_vectors or (bool(len(table)) and isinstance(self._image(table[0][columns.image]), bytes))
        self._holds_images = bool(others) and in_table

    def __len__(self) -> int:
        return len(self.table)

    def labels(self) -> list[str]:
        """The distinct labels of this split, as names where it has names."""
        if self.columns.label is None:
            return []
        if self.label_names is not None:
            return self.label_names
        values = self.table.with_format("arrow")[self.columns.label][:]
        return list(dict.fromkeys(_word(value) for value in pc.unique(values).to_pylist() if value is not None))

    def label_counts(self) -> dict[str, int]:
        """How many rows have each label."""
        if self.columns.label is None:
            return {}
        counted = pc.value_counts(self.table.with_format("arrow")[self.columns.label][:]).to_pylist()
        named = [(self._label(item["values"]), item["counts"]) for item in counted]
        return {label: count for label, count in named if label is not None}

    def read(self, rows: list[int], images: bool = True) -> list[Row]:
        """Fetch rows by number, in one read.

        Args:
            rows: their numbers.
            images: whether the bytes of images that lie in the table are wanted.
        """
        held = self._holds_images and not images
        part = (self._without_images if held or self.holds_vectors else self.table)[rows]
        captions = part[self.columns.caption] if self.columns.caption else [[]] * len(rows)
        negatives = part[self.negative] if self.negative else [[]] * len(rows)
        labels = part[self.columns.label] if self.columns.label else [None] * len(rows)
        if held:
            found: Sequence[Any] = [b""] * len(rows)
        elif self.holds_vectors:
            found = read_vectors(self.table, self.columns.image, rows)
        else:
            found = [self._image(value) for value in part[self.columns.image]]
        return [
            Row(image, _texts(caption), self._label(label), image if isinstance(image, str) else f"{self.name}:{row}", _texts(negative))
            for image, caption, label, row, negative in zip(found, captions, labels, rows, negatives, strict=True)
        ]

    def _image(self, value: Any) -> bytes | str:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes):
            return value
        paths = [root / os.path.expanduser(value) for root in self.roots]  # noqa: PTH111  # Path's own fails for ~x where there is no user x
        return str(next((path for path in paths[:-1] if path.exists()), paths[-1]))

    def _label(self, value: Any) -> str | None:
        if value is None or (self.label_names is not None and value < 0):  # -1 is how test splits on the hub hide their labels
            return None
        return self.label_names[value] if self.label_names is not None else _word(value)


def _word(label: Any) -> str:
    """A label as text: booleans count as 0 and 1, and the same word is the same, however its accents and syllables are composed."""
    return unicodedata.normalize("NFC", str(int(label) if isinstance(label, bool) else label))


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value or []
    return [text.strip() for text in texts if text and text.strip()]


def check_has(table: Dataset, columns: Columns, what: str) -> None:
    """Raise DataError where a split lacks a column that train has, or holds vectors that cannot be made unit rows."""
    for name in (columns.image, columns.caption, columns.label):
        if name is not None and name not in table.column_names:
            raise DataError(f"data path {what} has no column {name}, which train has. It has {', '.join(table.column_names)}.")
    if is_vector(table.features[columns.image]):
        check_vectors(table, columns.image, what)


def usable_rows(table: Dataset, columns: Columns) -> Dataset:
    """The rows that have an image, and a caption where captions are used, else a label."""
    arrow = table.with_format("arrow")
    image = arrow[columns.image][:]
    mask = _filled(image)
    if columns.caption:
        values = arrow[columns.caption][:]
        if "list" in str(values.type):
            mask = pc.and_(mask, pa.array([bool(_texts(value)) for value in values.to_pylist()], pa.bool_()))
        else:
            mask = pc.and_(mask, _filled(values))
    kept = table.select(np.flatnonzero(mask.to_numpy(zero_copy_only=False))) if not pc.all(mask).as_py() else table
    return labelled_rows(kept, columns.label) if columns.label and not columns.caption else kept


def labelled_rows(table: Dataset, label: str) -> Dataset:
    """The rows that have a label."""
    values = table.with_format("arrow")[label][:]
    named = isinstance(table.features[label], datasets.ClassLabel)
    mask = pc.fill_null(pc.greater_equal(values, 0), False) if named else _filled(values)
    return table if pc.all(mask).as_py() else table.select(np.flatnonzero(mask.to_numpy(zero_copy_only=False)))


def _filled(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which values are there, and are more than blanks; of images, which have bytes or a path."""
    if pa.types.is_struct(values.type):
        given = [pc.is_valid(pc.struct_field(values, field)) for field in ("bytes", "path") if values.type.get_field_index(field) >= 0]
        return pc.or_(given[0], given[-1])
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0), False)
    return pc.is_valid(values)
