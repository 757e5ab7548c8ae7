"""Which column holds the image, the captions and the label: found from names and types, or as set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from cliptune.data.formats.features import check_vectors, is_vector, vector_column
from cliptune.data.labels import may_be_label
from cliptune.data.texts.phrases import Phrase
from cliptune.errors import DataError, did_you_mean
from cliptune.images import SUFFIXES

NAMES = {
    "image": ("image", "images", "img", "picture", "photo", "file_name", "filename", "filepath", "file_path", "image_path", "path", "file"),
    "caption": ("captions", "caption", "text", "texts", "title", "description", "sentences", "sentence", "raw", "prompt"),
    "label": ("label", "labels", "class", "class_name", "category", "target", "fine_label", "species"),
}


@dataclass(frozen=True)
class Columns:
    """The names of the columns; None for what the table does not have."""

    image: str
    caption: str | None
    label: str | None
    negative: str | None = None
    weight: str | None = None


def find_columns(
    table: Dataset,
    image: str | None,
    caption: str | None,
    label: str | None,
    path: str,
    negative: str | None = None,
    weight: str | None = None,
    phrase: Phrase | None = None,
) -> Columns:
    """Choose the columns.

    Args:
        table: any split of the source.
        image: a column's name, or `auto`.
        caption: likewise, or None for "do not use".
        label: likewise.
        path: the source, for messages.
        negative: a column's name, or None.
        weight: a column's name, or None.
        phrase: what captions are made by, instead of a column of them that nobody named.

    Raises:
        DataError: a named column does not exist or holds the wrong type; or there is no image, or no text of any kind.
    """
    if phrase is not None and caption == "auto":
        caption = None
    wanted = {"image": image, "caption": caption, "label": label, "negative": negative, "weight": weight}
    for role, name in wanted.items():
        if name not in (None, "auto") and name not in table.column_names:
            raise DataError(f"data path {path} has no column {name} ({role}_column). {did_you_mean(str(name), table.column_names)}")
    chosen = {role: detect(table, role) if name == "auto" else name for role, name in wanted.items()}
    have = ", ".join(table.column_names)
    if negative is not None and not is_text(table.features[negative]):
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
    if chosen["caption"] is not None and not is_text(table.features[chosen["caption"]]):
        raise DataError(
            f"data path {path}: the caption column {chosen['caption']} holds {_type(table, chosen['caption'])}, not text. "
            "Set caption_column to a column of words, or to null for none."
        )
    if phrase is not None:
        phrase.check([*table.column_names, *(["label"] if chosen["label"] else [])])
    if (
        chosen["caption"] is None and phrase is None and chosen["label"] is None and label == "auto"
    ):  # a label of the wrong type is the likely cause
        chosen["label"] = next((name for name in table.column_names if name.strip().lower() in NAMES["label"]), None)
    if chosen["label"] is not None and not may_be_label(table.features[chosen["label"]]):
        raise DataError(
            f"data path {path}: the label column {chosen['label']} holds {_type(table, chosen['label'])}, not words or whole numbers. "
            "Set label_column to such a column, or to null for none; whole numbers with empty cells between them are read as floats."
        )
    if weight is not None and _type(table, weight) not in ("floats", "numbers"):
        raise DataError(f"data path {path}: the weight column {weight} holds {_type(table, weight)}, not numbers. Set weight_column.")
    if chosen["caption"] is None and phrase is None and chosen["label"] is None:
        way = " Or give the path of the table that holds them." if Path(path).is_dir() else ""
        raise DataError(
            f"data path {path} has neither captions nor labels that could be found; it has {have}. Set caption_column or label_column.{way}"
        )
    return Columns(chosen["image"], chosen["caption"], chosen["label"], negative, weight)


def detect(table: Dataset, role: str) -> str | None:
    """The column of a role, `image`, `caption` or `label`, by type and name; None where there is none."""
    features = table.features
    if role == "image":
        typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
        if typed:
            return "image" if "image" in typed else typed[0]
    named = [name for known in NAMES[role] for name in table.column_names if name.strip().lower() == known]
    fits = {"image": _is_image, "caption": lambda t, n: True, "label": lambda t, n: may_be_label(t.features[n])}[role]
    found = next((name for name in named if fits(table, name)), None)
    return vector_column(table) if role == "image" and found is None else found


def _is_image(table: Dataset, name: str) -> bool:
    feature = table.features[name]
    if is_text(feature):
        first = next((value for value in table[name] if value), "")
        return str(first).lower().endswith(SUFFIXES)
    return _may_be_image(feature)


def _may_be_image(feature: Any) -> bool:
    if isinstance(feature, dict):  # what datasets' images are in a parquet file that others wrote
        return "bytes" in feature
    kinds = ("string", "large_string", "binary", "large_binary")
    return isinstance(feature, datasets.Image) or (isinstance(feature, datasets.Value) and feature.dtype in kinds)


def is_text(feature: Any) -> bool:
    """Whether a column of this type holds texts, or lists of them."""
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) else inner
    return isinstance(inner, datasets.Value) and inner.dtype in ("string", "large_string")


def _type(table: Dataset, name: str) -> str:
    feature = table.features[name]
    dtype = str(getattr(feature, "dtype", ""))
    if dtype.startswith(("float", "double")):
        return "floats"
    return "numbers" if dtype.startswith(("int", "uint")) else str(feature)


def check_has(table: Dataset, columns: Columns, what: str) -> None:
    """Raise DataError where a split lacks a column that train has, or holds vectors that cannot be made unit rows."""
    for name in (columns.image, columns.caption, columns.label):
        if name is not None and name not in table.column_names:
            raise DataError(f"data path {what} has no column {name}, which train has. It has {', '.join(table.column_names)}.")
    if is_vector(table.features[columns.image]):
        check_vectors(table, columns.image, what)
