"""Tests of how a source's splits are named, and held out where it lacks them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from cliptune.data.formats.sources import hold_out, name_splits
from cliptune.errors import DataError


def split_of(
    values: list[Any], names: dict[str, str] | None = None, column: str | None = "auto", name: str = "split"
) -> dict[str, list[int]]:
    tables = DatasetDict(train=Dataset.from_dict({name: values, "row": list(range(len(values)))}))
    named, _ = name_splits(tables, column, names or {}, "PATH")
    return {split: list(table["row"]) for split, table in named.items()}


def test_a_column_names_the_splits_of_its_rows() -> None:
    expected = {"train": [0, 3], "validation": [1], "test": [2]}
    assert split_of(["train", "val", "test", "train"]) == expected
    assert split_of(["Train", "DEV", "Test", "Train"], name="Split") == expected
    korean = {"train": "학습", "validation": "검증", "test": "시험"}
    assert split_of(["학습", "검증", "시험", "학습"], korean, "분할", "분할") == expected
    assert split_of([1, 2, 3, 1], {"train": "1", "validation": "2", "test": "3"}, "fold", "fold") == expected


def test_null_leaves_a_column_called_split_alone() -> None:
    assert split_of(["left", "right"], column=None) == {"train": [0, 1]}


def test_a_split_serves_once_and_one_that_serves_nobody_is_named() -> None:
    tables = DatasetDict({name: Dataset.from_dict({"row": [i]}) for i, name in enumerate(["train", "validation", "unsupervised"])})
    named, note = name_splits(tables, "auto", {"test": "validation"}, "PATH")
    assert {name: list(table["row"]) for name, table in named.items()} == {"train": [0], "test": [1]}  # validation is held out of train
    assert note == "not used: the split unsupervised"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_of(["train"], column="splt"), r"^data path PATH has no column splt \(split_column\)\. Did you mean split\?$"),
        (lambda: split_of(["train", "val"], {"test": "tset"}), r"^data path PATH has no split tset\. There is: train, val\.$"),
        (
            lambda: split_of(["train", "val"], {"test": "train"}),
            r"^data path PATH: splits takes train for test, and trains on nothing\. Set",
        ),
        (lambda: split_of(["a", "b"]), r"^data path PATH has no split called train, but a, b\. Set splits: \{train: NAME\}\.$"),
    ],
)
def test_a_split_or_column_that_is_not_there_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def held(images: list[Any], **others: Dataset) -> tuple[dict[str, list[int]], str]:
    train = Dataset.from_dict({"image": images, "row": list(range(len(images)))})
    found, note = hold_out({"train": train, **others}, "image", "PATH")
    return {name: list(table["row"]) for name, table in found.items()}, note


@pytest.mark.parametrize("kind", [str, str.encode])
def test_held_out_rows_are_disjoint_and_nothing_is_lost(kind: Callable[[str], Any]) -> None:
    found, note = held([kind(f"{i}.png") for i in range(50)])
    assert [len(found[name]) for name in ("train", "validation", "test")] == [40, 5, 5]
    assert sorted(row for rows in found.values() for row in rows) == list(range(50))
    assert note == "no validation and no test split: 5 images of train held out for each, the same for every seed"
    assert held([kind(f"{i}.png") for i in range(50)])[0] == found
    order = np.random.default_rng(0).permutation(50).tolist()
    assert (found["validation"], found["test"], found["train"]) == (order[:5], order[5:10], order[10:])


def test_rows_of_one_image_file_are_held_out_together() -> None:
    images = [f"{i // 5}.png" for i in range(200)]  # a row for each of five captions, as in Flickr8k's own table
    found, _ = held(images)
    seen = {name: {images[row] for row in rows} for name, rows in found.items()}
    assert [len(seen[name]) for name in ("train", "validation", "test")] == [32, 4, 4]
    assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"]


def test_only_the_split_that_is_missing_is_held_out() -> None:
    found, note = held(["a", "b", "c"], test=Dataset.from_dict({"image": ["d"], "row": [9]}))
    assert (found["test"], sorted(found["train"] + found["validation"])) == ([9], [0, 1, 2])
    assert note == "no validation split: 1 image of train held out for each, the same for every seed"


def test_too_few_rows_to_hold_any_out_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^data path PATH: train has 2 images, too few to hold out validation and test\.$"):
        held(["a", "b"])
