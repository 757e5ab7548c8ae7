"""What label columns mean: renamed, ignored, several in a cell; and what is counted and chosen by them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value
from made_data import data

from cliptune.data.labels import LabelRules, Labels, may_be_label, read_map
from cliptune.errors import DataError

pytest_plugins = ["made_data"]


def labels(values: list[Any], feature: Any = None, **rules: Any) -> Labels:
    features = Features({"label": feature}) if feature is not None else None
    return Labels(Dataset.from_dict({"label": values}, features=features), "label", LabelRules(**rules))


def test_labels_get_other_names_and_those_that_share_one_are_one() -> None:
    found = labels(["tabby", "siamese", "poodle"], renamed={"tabby": "cat", "siamese": "cat"})
    assert found.distinct() == ["cat", "poodle"]
    assert found.counts() == {"cat": 2, "poodle": 1}
    assert [found.of(value) for value in ("tabby", "poodle", None)] == [("cat",), ("poodle",), ()]


def test_numbers_that_are_renamed_are_words() -> None:
    found = labels([0, 1, 1], renamed={"0": "cat", "1": "dog"})
    assert found.are_text
    assert found.counts() == {"cat": 1, "dog": 2}


def test_a_label_that_does_not_count_leaves_its_images_without_one() -> None:
    found = labels(["cat", "unknown", "dog"], ignored=frozenset(["unknown"]))
    assert found.mask().tolist() == [True, False, True]
    assert found.codes({"cat": 0, "dog": 1}).tolist() == [0, -1, 1]  # type: ignore[union-attr]


CELLS = [["cat", "dog"], ["dog"], [], None, ["owl", "cat", "cat"]]


@pytest.mark.parametrize(
    ("values", "feature", "separator"),
    [
        (CELLS, Sequence(Value("string")), None),
        (["cat|dog", "dog", "", None, "owl | cat|cat"], Value("string"), "|"),
        ([[0, 1], [1], [], None, [2, 0, 0]], Sequence(ClassLabel(names=["cat", "dog", "owl"])), None),
    ],
)
def test_a_cell_may_hold_several_labels(values: list[Any], feature: Any, separator: str | None) -> None:
    found = labels(values, feature, separator=separator)
    assert found.several
    assert [found.of(value) for value in values] == [("cat", "dog"), ("dog",), (), (), ("owl", "cat")]
    assert sorted(found.distinct()) == ["cat", "dog", "owl"]
    assert found.mask().tolist() == [True, True, False, False, True]
    assert found.mask({"owl"}).tolist() == [False, False, False, False, True]
    codes = found.codes({"cat": 0, "dog": 1, "owl": 2})
    assert [row.tolist() for row in codes] == [[0, 1], [1], [], [], [0, 2]]


def test_counts_are_of_images_also_where_a_cell_names_a_label_twice() -> None:
    assert labels(CELLS, Sequence(Value("string"))).counts() == {"cat": 2, "dog": 2, "owl": 1}


def test_labels_of_classes_keep_their_order_and_hidden_ones_are_none() -> None:
    found = labels([1, -1, 0], ClassLabel(names=["zebra", "ant"]))
    assert found.distinct() == ["zebra", "ant"]
    assert found.codes({"zebra": 0, "ant": 1}).tolist() == [1, -1, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (Value("string"), True),
        (Value("int32"), True),
        (Value("bool"), True),
        (Value("float32"), False),
        (ClassLabel(names=["a"]), True),
        (Sequence(Value("string")), True),
        ([Value("int64")], True),
        (Sequence(Value("float32")), False),
        (Sequence(Sequence(Value("string"))), False),
    ],
)
def test_which_columns_may_hold_labels(feature: Any, expected: bool) -> None:
    assert may_be_label(feature) is expected


def test_a_map_comes_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"mel": "melanoma", "고양이": "cat"}), encoding="utf-8")
    assert read_map(str(file)) == {"mel": "melanoma", "고양이": "cat"}
    assert read_map(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"label_map .*map\.json: No such file"),
        ("{", r"it is no JSON"),
        ('["a"]', r"no map from labels to names"),
        ('{"a": 1}', r"no map"),
    ],
)
def test_a_file_that_is_no_map_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "map.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DataError, match=message):
        read_map(str(file))


# In the data


def test_renamed_and_ignored_labels_are_the_datas_classes(write: Callable[..., Path]) -> None:
    table = write(["tabby", "siamese", "poodle", "junk"] * 6, "label")
    made = data(table, label_map={"tabby": "cat", "siamese": "cat", "poodle": "dog"}, ignore_classes=["junk"], caption_column=None)
    assert made.class_names == ["cat", "dog"]
    assert sum(len(made.rows(split)) for split in ("train", "validation", "test")) == 18
    assert [(one.reason, one.rows) for one in made.left_out] == [("without a label that counts", 6)]


def test_an_image_of_several_classes_is_marked_with_all_of_them(write: Callable[..., Path]) -> None:
    made = data(write([["cat", "dog"], ["dog"], ["cat"], ["owl"]] * 6, "label"), needs="classes")
    assert made.several
    batch = next(iter(made.train_dataloader()))
    for row, marked in zip(batch["row"].tolist(), batch["labels"].tolist(), strict=True):
        known = made.rows("train")[[(0, row)]][0][2].labels
        assert [name for name, one in zip(made.class_names, marked, strict=True) if one] == sorted(known)


def test_an_image_of_several_classes_has_the_texts_of_each(write: Callable[..., Path]) -> None:
    made = data(write([["cat", "dog"], ["owl"]] * 10, "label"))
    rows = made.rows("train")
    row = next(row for _, _, row in rows[[(0, i) for i in range(len(rows))]] if len(row.labels) == 2)
    assert made.train_view().options(row) == ["a photo of a cat.", "a photo of a dog."]


def test_an_image_whose_two_labels_get_one_name_counts_once() -> None:
    found = labels([["a", "b"], ["a"], ["c"]], Sequence(Value("string")), renamed={"a": "z", "b": "z"})
    assert found.counts() == {"z": 2, "c": 1}
