"""Choosing rows of a table without a Python value per row, and without touching the images that lie in it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset


def select_rows(table: Dataset, numbers: np.ndarray) -> Dataset:
    """The rows of these numbers, in their order; without an index where they lie together; the table itself where they are all."""
    together = len(numbers) > 0 and bool((np.diff(numbers) == 1).all())
    if together and len(numbers) == len(table):
        return table
    if together:
        return table.select(range(int(numbers[0]), int(numbers[-1]) + 1))
    return table.select(numbers)


def each_row(table: Dataset, column: str, rule: Callable[[Any], np.ndarray]) -> np.ndarray:
    """What a rule says of each row's cell.

    It is asked of the column as it lies on disk, once, and its answers are put into the table's order: with a table of chosen rows Arrow
    would otherwise copy every cell, images and all, before the rule is asked.

    Args:
        table: perhaps of chosen rows.
        column: its name.
        rule: from an Arrow column of M cells to [M].

    Returns:
        [N].
    """
    found = rule(table.data.column(column))
    return found if table._indices is None else found[table._indices.column(0).to_numpy()]


def image_numbers(table: Dataset, image: str) -> np.ndarray:
    """[N]: which image each row is of: the same for the same path; each row its own where images lie in the table."""
    numbers = each_row(table, image, _numbered)
    return np.unique(numbers, return_inverse=True)[1] if len(numbers) and numbers[0] >= 0 else np.arange(len(table))


def _numbered(values: pa.ChunkedArray) -> np.ndarray:
    """A number for each path, the same for the same; -1 where images lie in the table."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return np.full(len(values), -1)
    return values.combine_chunks().dictionary_encode().indices.fill_null(0).to_numpy(zero_copy_only=False)


def column_of(table: Dataset, column: str) -> pa.Array:
    """The cells of a column in the order of the table's rows, in one array; not for images, which it would copy.

    Asked for a column of chosen rows, datasets slices it row by row, which takes tens of seconds for a million.
    """
    values = table.data.column(column).combine_chunks()
    return values if table._indices is None else values.take(table._indices.column(0).combine_chunks())
