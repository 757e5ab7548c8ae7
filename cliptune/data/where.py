"""Rows by what their columns say: those that `where` asks for, and which rows belong together, such as one patient's."""

from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict

from cliptune.data.chosen import column_of, select_rows
from cliptune.errors import DataError, did_you_mean

Where = Mapping[str, str | list[str]]


def rows_where(tables: DatasetDict, where: Where, path: str) -> tuple[DatasetDict, str]:
    """Keep the rows whose columns hold one of the wanted values.

    Args:
        tables: by split.
        where: from a column to a value or several; all columns have to agree. `""` stands for an empty cell, `"*"` for any other.
        path: the source, for messages.

    Returns:
        The tables, and a sentence on how many rows are left, empty where nothing is asked for.

    Raises:
        DataError: there is no such column, or no row with such a value in any split.
    """
    if not where:
        return tables, ""
    masks = {name: np.ones(len(table), dtype=bool) for name, table in tables.items()}
    for column, given in where.items():
        wanted = [given] if isinstance(given, str) else [str(value) for value in given]
        seen: set[str] = set()
        for name, table in tables.items():
            cells = words_of(table, column, f"{path}: where")
            seen |= set(cells.tolist())
            masks[name] &= np.isin(cells, wanted) | ((cells != "") & ("*" in wanted))
        odd = next((value for value in wanted if value not in ("", "*") and value not in seen), None)
        if odd is not None:
            raise DataError(f"data path {path}: where asks for {column} {odd}, which no row has. {did_you_mean(odd, sorted(seen - {''}))}")
    left, whole = sum(int(mask.sum()) for mask in masks.values()), sum(map(len, masks.values()))
    kept = {name: select_rows(tables[name], np.flatnonzero(mask)) for name, mask in masks.items() if mask.any()}
    if not kept:
        raise DataError(f"data path {path}: where leaves no row of {whole}. Ask for fewer columns, or for more values of one.")
    return DatasetDict(kept), f"{left:,} of {whole:,} rows are where they are asked for"


def group_numbers(table: Dataset, column: str, path: str) -> np.ndarray:
    """[N]: which group each row is of, a number from 0; a row with an empty cell is a group of its own.

    Raises:
        DataError: see `words_of`.
    """
    words = words_of(table, column, f"{path}: group_column").astype(str)
    names, numbers = np.unique(words, return_inverse=True)
    own = np.flatnonzero(words == "")
    numbers[own] = len(names) + np.arange(len(own))
    return np.unique(numbers, return_inverse=True)[1]


def words_of(table: Dataset, column: str, what: str) -> np.ndarray:
    """[N]: the cells of a column as words; a named class by its name, an empty cell as "".

    Raises:
        DataError: there is no such column, or it holds no plain values.
    """
    if column not in table.column_names:
        raise DataError(f"data path {what} names no column {column}. {did_you_mean(column, table.column_names)}")
    feature = table.features[column]
    if not isinstance(feature, (datasets.Value, datasets.ClassLabel)):
        raise DataError(f"data path {what} names the column {column}, which holds lists or images. Take one of words or numbers.")
    encoded = column_of(table, column).dictionary_encode()
    names = [_word(value, feature) for value in encoded.dictionary.to_pylist()]
    return np.array([*names, ""], dtype=object)[encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]


def _word(value: Any, feature: Any) -> str:
    return str(feature.int2str(value) if isinstance(feature, datasets.ClassLabel) and value is not None else value).strip()
