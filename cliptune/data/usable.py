"""Which rows of a table can be used, and why others cannot; and whether image paths stay where they may."""

import os
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from cliptune.data.chosen import column_of, each_row, select_rows
from cliptune.data.columns import Columns
from cliptune.data.labels import LabelRules, Labels
from cliptune.data.texts.phrases import Phrase, written
from cliptune.errors import DataError


class LeftOut(NamedTuple):
    """Rows that are not used."""

    split: str
    reason: str
    rows: int


def usable_rows(table: Dataset, columns: Columns, rules: LabelRules = LabelRules(), phrase: Phrase | None = None) -> Dataset:  # noqa: B008
    """The rows that have an image, and a caption where captions are used, else a label."""
    return select_rows(table, np.flatnonzero(_usable(table, columns, rules, phrase)[0]))


def chosen_rows(table: Dataset, columns: Columns, rules: LabelRules, phrase: Phrase | None, split: str) -> tuple[Dataset, list[LeftOut]]:
    """As `usable_rows`, with why the others are left out.

    Args:
        table: of a split.
        columns: what is where.
        rules: what labels mean.
        phrase: what captions are made by, of columns.
        split: its name.
    """
    mask, reasons = _usable(table, columns, rules, phrase)
    kept = table if mask.all() else select_rows(table, np.flatnonzero(mask))
    return kept, [LeftOut(split, reason, count) for reason, count in reasons.items() if count]


def _usable(table: Dataset, columns: Columns, rules: LabelRules, phrase: Phrase | None) -> tuple[np.ndarray, dict[str, int]]:
    pictured = each_row(table, columns.image, _filled)
    reasons = {"without an image": int((~pictured).sum())}
    if phrase is not None:
        said = _says(table, columns, rules, phrase)
        if columns.caption:
            said |= each_row(table, columns.caption, _has_text)
        return pictured & said, {**reasons, "without any value that the caption is made of": int((pictured & ~said).sum())}
    if columns.caption:
        said = each_row(table, columns.caption, _has_text)
        return pictured & said, {**reasons, "without a caption": int((pictured & ~said).sum())}
    labelled = labelled_rows(table, columns, rules)
    return pictured & labelled, {**reasons, "without a label that counts": int((pictured & ~labelled).sum())}


def labelled_rows(table: Dataset, columns: Columns, rules: LabelRules) -> np.ndarray:
    """[N], bool: which rows have a label that counts."""
    labels = Labels(table, str(columns.label), rules)
    counts = labels.mask()
    return counts if labels.several or labels.names else counts & each_row(table, str(columns.label), _filled)


def _says(table: Dataset, columns: Columns, rules: LabelRules, phrase: Phrase) -> np.ndarray:
    """Which rows have a value that a phrase can be made of."""
    names = [name for name in phrase.fields if name in table.column_names and name not in ("label", columns.label)]
    found = np.zeros(len(table), dtype=bool)
    for name in names:
        values = column_of(table, name)
        if pa.types.is_nested(values.type):
            found |= np.array([written(value) is not None for value in values.to_pylist()], dtype=bool)
            continue
        encoded = values.dictionary_encode()
        given = [written(value) is not None for value in encoded.dictionary.to_pylist()]
        found |= np.array([*given, False])[encoded.indices.fill_null(len(given)).to_numpy(zero_copy_only=False)]
    if columns.label and len(names) < len(phrase.fields):
        found |= Labels(table, columns.label, rules).mask()
    return found


def _has_text(values: pa.ChunkedArray) -> np.ndarray:
    """Which texts, or lists of them, are more than blanks."""
    if "list" not in str(values.type):
        return _filled(values)
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    parents = pc.list_parent_indices(whole).to_numpy()
    found = np.zeros(len(whole), dtype=bool)
    found[parents[_filled(pc.list_flatten(whole))]] = True
    return found


def _filled(values: Any) -> np.ndarray:
    """[N], bool: which values are there, and are more than blanks; of images, which have bytes or a path."""
    if pa.types.is_struct(values.type):
        given = [pc.is_valid(pc.struct_field(values, field)) for field in ("bytes", "path") if values.type.get_field_index(field) >= 0]
        return _array(pc.and_(pc.is_valid(values), pc.or_(given[0], given[-1])))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _array(pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0), False))
    return _array(pc.is_valid(values))


def _array(mask: Any) -> np.ndarray:
    return np.asarray(mask.to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else mask.to_numpy(), dtype=bool)


def check_inside(table: Dataset, column: str, roots: list[Path], what: str) -> None:
    """Refuse image paths that lead out of their folders, as a table that somebody else wrote may have them.

    Args:
        table: of a split.
        column: of images.
        roots: the folders that paths are relative to, and may lead into.
        what: the source and split, for messages.

    Raises:
        DataError: naming the first such path.
    """
    values = table.data.column(column)  # with what lies between chosen rows, which is of the same source
    if pa.types.is_struct(values.type):
        if values.type.get_field_index("path") < 0:
            return
        held = pc.is_valid(pc.struct_field(values, "bytes")) if values.type.get_field_index("bytes") >= 0 else None
        values = pc.struct_field(values, "path")
        values = values if held is None else values.filter(pc.invert(held))
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return
    inside = [Path(os.path.abspath(root.expanduser())) for root in [*roots, Path(datasets.config.HF_CACHE_HOME)]]  # noqa: PTH100  # links stay
    begins = [pc.starts_with(values, os.path.join(root, "")) for root in inside]  # noqa: PTH118
    elsewhere = pc.and_not(pc.match_substring_regex(values, r"^([/\\~]|[A-Za-z]:)"), reduce(pc.or_, begins))
    suspect = values.filter(pc.fill_null(pc.or_(elsewhere, pc.match_substring_regex(values, r"(^|[/\\])\.\.([/\\]|$)")), False))
    for value in pc.unique(suspect).to_pylist():
        tried = [root / os.path.expanduser(value) for root in roots]  # noqa: PTH111
        path = Path(os.path.abspath(next((path for path in tried[:-1] if path.exists()), tried[-1])))  # noqa: PTH100  # as `image_of`
        if not any(path.is_relative_to(root) for root in inside):
            raise DataError(
                f"data path {what}: the image path {value} leads out of {roots[-1] if str(roots[-1]) != '.' else 'this folder'}. "
                "Take it out if you do not know the file; else set data.allow_outside: true."
            )
