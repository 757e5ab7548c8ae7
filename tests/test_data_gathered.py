"""Several sources together, each with its own columns, texts and weight; and halves of the classes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_data import data, texts_of

from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError, DataError

pytest_plugins = ["made_data"]


def all_rows(made: ImageTextData, split: str = "train") -> list[Any]:
    rows = made.rows(split)
    return [row for _, _, row in rows[[(0, i) for i in range(len(rows))]]]


def test_each_source_has_columns_and_texts_of_its_own(write: Callable[..., Path]) -> None:
    one = write([f"a {i}" for i in range(12)], "said", name="one.jsonl")
    two = write(["cat", "dog"] * 6, "kind", name="two.jsonl", place=["home", None] * 6)
    made = data(
        sources=[
            {"path": str(one), "caption_column": "said"},
            {"path": str(two), "label_column": "kind", "text": "a {kind} at {place}"},
        ]
    )
    assert {row.captions[0] for row in all_rows(made)[10:]} == {"a cat at home", "a dog"}
    assert all(row.captions[0].startswith("a ") and row.labels == () for row in all_rows(made)[:10])


def test_a_source_may_have_templates_of_its_own(write: Callable[..., Path]) -> None:
    photos, drawings = (write(["cat", "dog"] * 6, "label", name=f"{name}.jsonl") for name in ("photos", "drawings"))
    made = data(sources=[{"path": str(photos)}, {"path": str(drawings), "templates": "a drawing of a {}."}])
    batch = made.train_view()([(0, number, row) for number, row in [(0, all_rows(made)[0]), (15, all_rows(made)[15])]])
    assert [text.split(" of ")[0] for text in texts_of(batch["tokens"][batch["text"]])] == ["a photo", "a drawing"]
    assert made.class_texts[0] == ["a photo of a cat."]  # of evaluation


def test_sources_are_seen_by_weight(write: Callable[..., Path]) -> None:
    one, two = (write([f"{name} {i}" for i in range(12)], name=f"{name}.jsonl") for name in ("one", "two"))
    made = data(sources=[{"path": str(one), "weight": 3}, {"path": str(two), "weight": 1}], batch_size=4)
    seen = Counter(int(row) < 10 for batch in made.train_dataloader() for row in batch["row"])
    assert seen == {True: 15, False: 5}


def test_a_weight_for_some_sources_only_is_refused(write: Callable[..., Path]) -> None:
    one, two = (write([f"{name} {i}" for i in range(12)], name=f"{name}.jsonl") for name in ("one", "two"))
    with pytest.raises(DataError, match=r"some sources have a weight, and others none\. Give each one"):
        data(sources=[{"path": str(one), "weight": 3}, {"path": str(two)}])


def test_a_caption_made_of_columns_leaves_out_what_is_missing(write: Callable[..., Path]) -> None:
    made = data(
        write(["nevus"] * 12 + ["mole"] * 12, "label", place=["back", None] * 12, age=[45.0, None, 60.0] * 8),
        text="a dermoscopic image of a {label} on the {place} of a {age} year old",
    )
    said = {row.captions[0] for row in all_rows(made)}
    assert "a dermoscopic image of a nevus on the back of a 45 year old" in said
    assert not any("None" in text or "{" in text for text in said)
    assert made.has_captions


def test_a_phrase_of_a_column_that_is_not_there_says_what_there_is(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="plase"):
        data(write(["a"] * 12, "label", place=["x"] * 12), text="a {label} at {plase}")


# Base and new classes


NAMES = ["ant", "bee", "cat", "dog", "eel"]


def test_base_and_new_are_the_halves_of_the_classes_in_all_splits(write: Callable[..., Path]) -> None:
    table = write(NAMES * 10, "label")
    for which, names in (("base", NAMES[:3]), ("new", NAMES[3:])):
        made = data(table, classes=which, needs="classes")
        assert made.class_names == names
        for split in ("train", "validation", "test"):
            assert {row.label for row in all_rows(made, split)} <= set(names)
    both = [len(data(table, classes=which).rows("test")) for which in ("base", "new", "all")]
    assert both[0] + both[1] == both[2]  # the test split of all, in two


def test_halves_need_classes(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="classes: base keeps half of the classes, and there are 0"):
        data(write([f"a {i}" for i in range(12)]), classes="base")


def test_testing_on_what_a_model_is_chosen_by_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"splits takes val for validation and test\. .*held out of train"):
        ImageTextData(splits={"validation": "val", "test": "val"})


def test_a_split_that_is_validation_by_its_given_name_is_not_test_as_well(write: Callable[..., Path]) -> None:
    made = data(write([f"a {i}" for i in range(24)], split=["train"] * 16 + ["test"] * 8), splits={"validation": "test"})
    held = [{row.captions[0] for row in all_rows(made, split)} for split in ("train", "validation", "test")]
    assert not held[1] & held[2]
    assert not held[0] & held[2]


def test_a_phrase_writes_the_names_of_labels_that_are_numbers(write: Callable[..., Path]) -> None:
    made = data(write([0, 1] * 8, "label", place=["park"] * 16), class_names=["cat", "red_dog"], text="a photo of a {label} at the {place}")
    assert {row.captions[0] for row in all_rows(made)} == {"a photo of a cat at the park", "a photo of a red dog at the park"}


def test_a_phrase_may_be_of_a_column_of_lists(write: Callable[..., Path]) -> None:
    made = data(write([["red", "round"], []] * 8, "traits"), text="a thing that is {traits}")
    assert {row.captions[0] for row in all_rows(made)} == {"a thing that is red, round"}


def test_a_phrase_beside_captions_loses_no_row_that_has_one_of_them(write: Callable[..., Path]) -> None:
    made = data(write(["said", ""] * 8, "caption", place=[None, "home"] * 8), text="at {place}", caption_column="caption")
    assert {tuple(row.captions) for row in all_rows(made)} == {("said",), ("at home",)}
    assert sum(made.counts.values()) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore_classes": ["kat"]}, r"ignore_classes has 'kat', which is no label of the data\. Did you mean cat\?"),
        ({"label_map": {"kat": "x"}}, r"label_map has 'kat', which is no label of the data\. Did you mean cat\?"),
    ],
)
def test_rules_for_labels_that_are_not_there_are_refused(write: Callable[..., Path], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data(write(["cat", "dog"] * 8, "label"), **options)


def test_a_half_of_one_class_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"classes: base is one class of 2: there is nothing to tell apart"):
        data(write(["cat", "dog"] * 8, "label"), classes="base")
