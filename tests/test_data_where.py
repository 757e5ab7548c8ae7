"""Rows by what their columns say: `where`, splits put together, and groups that are held out whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from made_data import data, names_of

from cliptune.data.formats.sources import hold_out, name_splits
from cliptune.data.where import rows_where
from cliptune.errors import ConfigError, DataError

pytest_plugins = ["made_data"]
VIEWS: dict[str, list[Any]] = {"view": ["PA", "AP", "Axial", "PA", None], "day": [1, 2, 1, 1, 2]}


def rows_of(where: dict[str, Any], columns: dict[str, list[Any]] = VIEWS) -> list[int]:
    table = Dataset.from_dict({**columns, "row": list(range(len(next(iter(columns.values())))))})
    return list(rows_where(DatasetDict(train=table), where, "PATH")[0]["train"]["row"])


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ({"view": "PA"}, [0, 3]),
        ({"view": ["PA", "AP"]}, [0, 1, 3]),
        ({"view": ["PA", "AP"], "day": "2"}, [1]),  # numbers as words, and all columns agree
        ({"view": "*"}, [0, 1, 2, 3]),
        ({"view": ""}, [4]),
        ({}, [0, 1, 2, 3, 4]),
    ],
)
def test_where_keeps_the_rows_with_a_wanted_value(where: dict[str, Any], rows: list[int]) -> None:
    assert rows_of(where) == rows


def test_where_names_a_class_that_is_a_number_in_the_table() -> None:
    features = Features({"style": ClassLabel(names=["Baroque", "Cubism"]), "row": Value("int64")})
    table = Dataset.from_dict({"style": [0, 1, 0], "row": [0, 1, 2]}, features=features)
    tables, note = rows_where(DatasetDict(train=table), {"style": "Baroque"}, "PATH")
    assert list(tables["train"]["row"]) == [0, 2]
    assert note == "2 of 3 rows are where they are asked for"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"veiw": "PA"}, r"^data path PATH: where names no column veiw\. Did you mean view\?$"),
        ({"view": ["PA", "PB"]}, r"^data path PATH: where asks for view PB, which no row has\. There is: AP, Axial, PA\.$"),
        ({"view": "PA", "day": "2"}, r"^data path PATH: where leaves no row of 5\."),
    ],
)
def test_where_that_cannot_be_is_one_line(where: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(where)
    with pytest.raises(DataError, match="holds lists or images"):
        rows_of({"tags": "a"}, {"tags": [["a"], ["b"]]})


def test_a_split_may_be_several_of_the_sources() -> None:
    table = Dataset.from_dict({"style": ["line", "flat", "noto", "flat", "blob"], "row": list(range(5))})
    names: dict[str, str | list[str]] = {"train": ["noto", "flat"], "test": ["line"]}
    named, note = name_splits(DatasetDict(train=table), "style", names, "PATH")
    assert {name: list(part["row"]) for name, part in named.items()} == {"train": [2, 1, 3], "test": [0]}
    assert note == "not used: the split blob"
    with pytest.raises(DataError, match=r"^data path PATH has no split flta\. Did you mean flat\?$"):
        name_splits(DatasetDict(train=table), "style", {"train": ["noto", "flta"]}, "PATH")


def test_groups_are_held_out_whole_and_an_empty_cell_is_a_group_of_its_own() -> None:
    patients = [*[str(i // 4) for i in range(80)], *[None] * 20]
    table = Dataset.from_dict({"image": [f"{i}.png" for i in range(100)], "patient": patients, "row": list(range(100))})
    held, _ = hold_out({"train": table}, "image", "PATH", group="patient")
    found = {name: {patient for patient in part["patient"] if patient} for name, part in held.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert found[one].isdisjoint(found[other])
    assert sum(map(len, held.values())) == 100
    alone = {name: [patient for patient in part["patient"] if patient is None] for name, part in held.items()}
    assert all(len(alone[name]) < 20 for name in alone)
    plain, _ = hold_out({"train": table}, "image", "PATH")
    assert np.isin(plain["validation"]["patient"], plain["train"]["patient"]).any()  # without it patients are in several


def test_data_goes_by_where_and_by_groups(write: Callable[..., Path]) -> None:
    path = write(["cat", "dog"] * 12, column="label", style=["a", "b", "c"] * 8, mood=["gay"] * 12 + ["sad"] * 12)
    made = data(path, split_column="style", splits={"train": ["a", "b"], "test": "c"}, where={"mood": "gay"})
    assert names_of(made, "test") == ["2.png", "5.png", "8.png", "11.png"]
    assert {name for split in ("train", "validation") for name in names_of(made, split)} == {f"{i}.png" for i in (0, 1, 3, 4, 6, 7, 9, 10)}
    assert any("12 of 24 rows are where they are asked for" in note for note in made.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": {"train": ["a", "b"], "test": "b"}}, r"^data: splits takes b for train and test\."),
        ({"splits": {"train": []}}, r"^data: splits names \[\] for train\. Name one or more, each once\.$"),
        ({"splits": {"train": ["a", "a"]}}, r"^data: splits names \['a', 'a'\] for train\."),
        ({"streaming": True, "where": {"a": "b"}}, r"^data: where needs to know all rows"),
    ],
)
def test_wrong_splits_and_streams_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data("a.parquet", **options)
