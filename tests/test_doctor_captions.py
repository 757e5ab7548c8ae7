"""Captions, classes and languages as the doctor sees them; false negatives against counting real batches."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import made_data
import numpy as np
import pytest
from made_data import data

from cliptune.doctor.captions import false_negatives, kind_of
from cliptune.doctor.findings import Findings
from cliptune.doctor.gathered import SplitRows
from cliptune.doctor.scan import scan

Write = Callable[..., Path]
write = made_data.write  # a fixture


def told(path: Any, **options: Any) -> Findings:
    return scan(data(path, **{"batch_size": 2, **options}), 0, progress=False)


def train(captions: list[list[str]], labels: list[str | None] | None = None, keys: list[str] | None = None) -> SplitRows:
    labels = labels or [None] * len(captions)
    return SplitRows("train", keys or [str(i) for i in range(len(captions))], captions, [(one,) if one else () for one in labels])


def counted(rows: SplitRows, batch: int) -> float:
    """The mean over all batches, and over all draws of captions, of ordered pairs that share anything."""
    total, n = 0.0, 0
    for chosen in combinations(range(len(rows)), batch):
        n += 1
        for i in chosen:
            for j in chosen:
                if i != j:
                    same = rows.keys[i] == rows.keys[j] or (rows.label(i) is not None and rows.label(i) == rows.label(j))
                    draws = [(a, b) for a in rows.captions[i] or [f"of {i}"] for b in rows.captions[j] or [f"of {j}"]]
                    total += np.mean([same or a == b for a, b in draws])
    return total / n


@pytest.mark.parametrize(
    "rows",
    [
        train([["a"], ["a"], ["b"], ["c"], ["a"]]),
        train([["a", "b"], ["a"], ["b", "c", "c"], ["c"]]),
        train([["a"], ["a"], ["b"], ["c"]], ["x", "x", "x", None]),
        train([["a"], ["b"], ["a"], ["b"], ["b"]], ["x", "y", "y", None, "x"], ["1", "1", "2", "2", "3"]),
        train([[], [], [], []], ["x", "x", "y", "y"]),
    ],
)
def test_false_negatives_are_those_of_all_batches(rows: SplitRows) -> None:
    found = false_negatives(rows, 3)
    assert found.per_batch == pytest.approx(counted(rows, 3))
    assert found.per_image == pytest.approx(found.per_batch / 3)
    assert found.share == pytest.approx(found.per_batch / 6)


def test_false_negatives_by_reason() -> None:
    rows = train([["a"], ["a"], ["b"], ["c"]], ["x", "y", "y", "y"], ["1", "1", "1", "2"])
    found = false_negatives(rows, 2)
    assert found.by == pytest.approx({"caption": 2 / 12, "label": 6 / 12, "image": 6 / 12})


def test_one_row_has_no_false_negatives() -> None:
    assert false_negatives(train([["a"]]), 4).per_batch == 0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12345", "number"),
        ("3.5 %", "number"),
        ("https://example.org/a.jpg", "url"),
        ("www.example.org", "url"),
        ("IMG_2041", "file_name"),
        ("holiday-12.JPG", "file_name"),
        ("a dog <br> on a lawn", "html"),
        ("salt &amp; pepper", "html"),
        ("a dog on a lawn", ""),
        ("salt & pepper", ""),
        ("5 dogs", ""),
        ("a < b and c > d", ""),
        ("I love dogs <3", ""),
        ("...", ""),
    ],
)
def test_what_is_no_caption_is_told_by_its_kind(text: str, kind: str) -> None:
    assert kind_of(text, False) == kind


def test_captions_of_one_token_are_told_of(write: Write) -> None:
    found = told(write(["cat", "a cat", "dog", *(f"a thing number {i}" for i in range(17))]), eval_path=None)
    kind = found.captions.odd["single_token"]
    assert sorted(place.detail for place in kind.places) == ["cat", "dog"]


def test_lengths_and_truncation_are_those_of_the_tokenizer(write: Write) -> None:
    texts = ["a cat"] * 18 + ["cat " * 90, "cat " * 75]
    found = told(write(texts)).captions
    assert found.context_length == 77
    assert found.tokens.quantiles[0] == 4  # start, two words, end
    assert found.tokens.quantiles[-1] == 92
    assert (found.truncated, found.truncated_share) == (1, 1 / 20)
    assert found.truncated_words == pytest.approx((92 - 77) / (18 * 4 + 92 + 77))


def test_captions_that_repeat_are_listed_with_their_counts(write: Write) -> None:
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    found = told(write(["a", "a", "a", "b", "b", "c", "a", "a", "d", "e"], split=splits)).captions
    assert [(one.text, one.count) for one in found.repeated] == [("a", 3), ("b", 2)]
    assert found.repeated_rows == 5
    assert (found.count, found.distinct) == (10, 5)


def test_a_language_that_comes_as_bytes_names_other_backbones(write: Write) -> None:
    found = told(write([f"กระต่ายสีขาว {i}" for i in range(10)] + [f"a white rabbit {i}" for i in range(10)])).languages
    assert found.broken == pytest.approx(0.5)
    assert found.scripts == pytest.approx({"Thai": 0.5, "Latin": 0.5})
    assert any("xlm-roberta" in name for name in found.backbones)
    assert all(":" in name for name in found.backbones)


def test_english_names_no_other_backbones(write: Write) -> None:
    found = told(write([f"a white rabbit {i}" for i in range(20)])).languages
    assert (found.broken, found.backbones, found.example) == (0, [], "")


def test_class_names_that_are_cut_are_listed(write: Write) -> None:
    found = told(write(["melanocytic nevus", "cat"] * 10, "label"), needs="classes").classes
    assert [cut.name for cut in found.cut] == ["melanocytic nevus"]


def test_classes_that_a_split_lacks_are_named(write: Write) -> None:
    splits = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    found = told(write(["a", "a", "a", "a", "b", "b", "a", "c", "b", "a"], "label", split=splits)).classes
    assert found.absent == {"train": ["c"], "validation": ["b"], "test": ["c"]}
    assert found.only_in == {"validation": ["c"]}
    assert (found.imbalance, found.largest_share) == (2.0, pytest.approx(4 / 6))
