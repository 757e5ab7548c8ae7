"""Rows are chosen and columns read in the order of a table of chosen rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets

from cliptune.data.chosen import column_of, each_row, image_numbers, select_rows


def table_of(values: list[Any], name: str = "label") -> Dataset:
    """In two pieces, as files of several row groups are."""
    half = len(values) // 2
    return concatenate_datasets([Dataset.from_dict({name: part}) for part in (values[:half], values[half:])])


def test_rows_that_lie_together_need_no_index() -> None:
    table = table_of(list(range(10)))
    assert select_rows(table, np.arange(10)) is table
    part = select_rows(table, np.arange(3, 8))
    assert part._indices is None
    assert list(part["label"]) == [3, 4, 5, 6, 7]
    assert list(select_rows(table, np.array([7, 2, 2]))["label"]) == [7, 2, 2]
    assert len(select_rows(table, np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize("values", [["a", None, "c", "a", "e", "f"], [1, 2, None, 4, 5, 6], [["a"], [], ["b", "c"], None, ["d"], ["e"]]])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [2, 3, 4], [5, 0, 3, 3], []])
def test_a_column_comes_in_the_order_of_the_chosen_rows(values: list[Any], rows: list[int]) -> None:
    chosen = select_rows(table_of(values), np.array(rows, dtype=np.int64))
    found = column_of(chosen, "label")
    assert isinstance(found, pa.Array)
    assert found.to_pylist() == [values[row] for row in rows]
    again = select_rows(chosen, np.arange(len(rows))[::-1])  # chosen of chosen rows
    assert column_of(again, "label").to_pylist() == [values[row] for row in rows[::-1]]


def test_a_rule_is_asked_of_the_column_as_it_lies_and_answers_for_the_chosen_rows() -> None:
    asked = []

    def rule(values: pa.ChunkedArray) -> np.ndarray:
        asked.append(len(values))
        return values.to_numpy() * 10

    assert each_row(select_rows(table_of(list(range(6))), np.array([5, 1])), "label", rule).tolist() == [50, 10]
    assert asked == [6]


def test_rows_of_a_path_are_of_one_image_and_those_of_bytes_each_of_its_own() -> None:
    numbers = image_numbers(select_rows(table_of(["a.png", "b.png", "a.png", "c.png"], "image"), np.array([3, 2, 0, 1])), "image")
    assert numbers[1] == numbers[2]
    assert len(set(numbers.tolist())) == 3
    assert image_numbers(table_of([b"a", b"a", b"b"], "image"), "image").tolist() == [0, 1, 2]


def test_a_table_on_disk_is_read_as_one_in_memory(tmp_path: Path) -> None:
    table_of(["a", "b", "c", "d"]).to_parquet(tmp_path / "a.parquet")
    table = select_rows(Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path)), np.array([3, 0]))
    assert column_of(table, "label").to_pylist() == ["d", "a"]
