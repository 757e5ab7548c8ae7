"""Bias: means, differences and MaxSkew by hand, intervals and chance against what theory says, and columns that make no groups."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from known_rows import known_rows, pictured

from cliptune.errors import ConfigError, DataError
from cliptune.evaluate import Bias, Evaluate
from cliptune.measures.bias import first_of, max_skew, measure_bias
from cliptune.measures.checking import check_measures
from cliptune.measures.groups import largest_gaps, read_groups

WORDS = ["red", "green"]
MODEL = known_rows({"red": (1, 0, 0), "green": (0, 1, 0)})
CHANCE = 1 / (1 + math.exp(-10 * 0.2))  # that a picture of 20 % more red than green is red: scores are 10 times the colours


def images(group: Any, count: int, red: int = 0, label: str | None = "red") -> list[dict[str, Any]]:
    """So many images, of which the first are red and the others green; 60 % against 40 %, or the other way round."""
    colours = [(153, 102, 0)] * red + [(102, 153, 0)] * (count - red)
    return [{"colour": colour, "group": group, "label": label, "caption": "x"} for colour in colours]


def test_means_shares_and_top1_are_those_of_each_group(tmp_path: Path) -> None:
    rows = [*images("a", 10, red=8), *images("b", 20, red=4, label="green"), *images("few", 3, red=3), *images(None, 2)]
    found = measure_bias(MODEL, pictured(tmp_path, rows), Bias("group", WORDS))
    groups = found.told["groups"]
    assert {name: (one["images"], one["compared"]) for name, one in groups.items()} == {"a": (10, True), "b": (20, True), "few": (3, False)}
    means = {name: red * CHANCE + (1 - red) * (1 - CHANCE) for name, red in (("a", 0.8), ("b", 0.2), ("few", 1.0))}
    for name, mean in means.items():
        assert groups[name]["probability"] == {"red": pytest.approx(mean, abs=1e-4), "green": pytest.approx(1 - mean, abs=1e-4)}
    assert [groups[name]["chosen"]["red"] for name in means] == [pytest.approx(share) for share in (0.8, 0.2, 1.0)]
    assert [groups[name]["top1"] for name in means] == [pytest.approx(share) for share in (0.8, 0.8, 1.0)]
    assert (found.told["images"], found.told["without"]) == (35, 2)
    assert found.shared["groups"] == {"a": 10, "b": 20, "few": 3}
    red = found.told["differences"]["red"]
    assert (red["most"], red["least"]) == ("a", "b")  # and not `few`, of which there are few
    assert red["difference"] == pytest.approx(means["a"] - means["b"], abs=1e-4)
    assert red["low"] < red["difference"] < red["high"]
    assert found.told["top1"]["difference"] == pytest.approx(0)
    assert float(found.items["red: a - b"].mean()) == pytest.approx(red["difference"], abs=1e-6)


def test_images_without_a_label_count_for_no_top1(tmp_path: Path) -> None:
    rows = [*images("a", 10, red=10), *images("a", 10, label=None), *images("b", 12, label="green")]
    found = measure_bias(MODEL, pictured(tmp_path, rows), Bias("group", WORDS)).told
    assert (found["groups"]["a"]["images"], found["groups"]["a"]["top1"], found["groups"]["b"]["top1"]) == (20, 1.0, 1.0)
    assert found["top1"]["difference"] == 0


def test_the_words_of_no_words_are_the_classes_under_their_templates(tmp_path: Path) -> None:
    rows = [*images("a", 10, red=8), *images("b", 10, label="green")]
    assert measure_bias(MODEL, pictured(tmp_path, rows), Bias("group")).told["words"] == ["green", "red"]
    known = known_rows({"a red one": (1, 0, 0), "a green one": (0, 1, 0)})
    found = measure_bias(known, pictured(tmp_path, rows), Bias("group", WORDS, "a {} one"))
    assert found.told["groups"]["a"]["chosen"]["red"] == pytest.approx(0.8)


def test_the_interval_of_a_difference_is_as_wide_as_theory_says() -> None:
    random = np.random.default_rng(0)
    values = torch.from_numpy(np.r_[random.normal(1.0, 1.0, 200), random.normal(0.5, 2.0, 400)])[:, None]
    (found,) = largest_gaps(values, torch.tensor([0] * 200 + [1] * 400), ["a", "b"])
    error = math.sqrt(float(values[:200].var()) / 200 + float(values[200:].var()) / 400)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert found.difference == pytest.approx(float(values[:200].mean() - values[200:].mean()))


def test_of_many_groups_that_are_alike_the_most_different_ones_are_told_to_be_chance() -> None:
    random = torch.Generator().manual_seed(0)
    values, of = torch.randn(300, 20, generator=random), torch.arange(300) % 10
    found = largest_gaps(values, of, [str(i) for i in range(10)], resamples=200)
    assert sum(gap.low > 0 for gap in found) > 10  # the two were chosen for their difference, which their interval knows nothing of
    assert sum(gap.p < 0.05 for gap in found) <= 3
    values[of == 3] += 1.5
    assert all(gap.p < 0.05 and gap.most == "3" for gap in largest_gaps(values, of, [str(i) for i in range(10)], resamples=200))


def test_max_skew_is_the_greatest_log_ratio_of_shares() -> None:
    found, group = max_skew(np.array([[6, 4], [5, 5]]), np.array([30, 70]))
    assert found.tolist() == [pytest.approx(math.log(0.6 / 0.3)), pytest.approx(math.log(0.5 / 0.3))]
    assert group.tolist() == [0, 0]


def test_images_that_a_word_finds_first_are_counted_by_group() -> None:
    of = torch.arange(100) % 2
    scores = torch.where(of == 0, 1.0, 0.0) + torch.linspace(0, 0.5, 100)
    found = first_of(scores, of, ["a", "b"])
    assert found["shares"] == {"a": 1.0, "b": 0.0}  # a tenth of them
    assert found["max_skew"] == pytest.approx(math.log(2))
    assert (found["group"], found["p"] < 0.01) == ("a", True)
    assert 0.1 < found["expected"] < 0.4  # of ten in random order


def test_equal_scores_share_the_places_that_there_are() -> None:
    of = torch.tensor([0] * 50 + [1] * 50)
    found = first_of(torch.zeros(100), of, ["a", "b"])
    assert found["shares"] == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}  # whatever their order
    assert (found["max_skew"], found["p"]) == (pytest.approx(0), 1.0)


def test_numbers_of_many_values_are_cut_into_thirds(tmp_path: Path) -> None:
    ages = [str(age) for age in range(10, 70)]  # as words, which a table made of a CSV may have
    rows = [row for age in ages for row in images(age, 1)]
    found = read_groups(pictured(tmp_path, [*rows, *images("", 1)]), "group")
    assert found.names == ["10 to 29", "30 to 49", "50 to 69"]
    assert found.of.tolist() == [i // 20 for i in range(60)] + [-1]
    few = read_groups(pictured(tmp_path, [*images(2.5, 10), *images(10, 10), *images(None, 1)]), "group")
    assert few.names == ["2.5", "10"]
    assert few.of.tolist() == [0] * 10 + [1] * 10 + [-1]


@pytest.mark.parametrize(
    ("groups", "column", "said"),
    [
        (["a", "b"], "grup", r"has no column grup\. Did you mean group\?"),
        (["a", "b"], "image", r"image holds the images, and cannot group them"),
        (["a"], "group", r"has a \(12\): two groups of 10 images are needed"),
        (["a", "b", "c"], "group", r"has a \(1\), b \(1\), c \(1\): two groups of 10 images"),
        ([None], "group", r"has no value: two groups"),
        ([["a"], ["b"]], "group", r"holds list values, and an image is of one group"),
        ([f"g{i}" for i in range(51)], "group", r"makes 51 groups, and at most 50"),
    ],
)
def test_a_column_that_makes_no_groups_is_refused(tmp_path: Path, groups: list[Any], column: str, said: str) -> None:
    made = pictured(tmp_path, [row for group in groups for row in images(group, 1 if len(groups) > 2 else 12)])
    with pytest.raises(DataError, match=said):
        check_measures(Evaluate(bias=Bias(column, WORDS)), made)


@pytest.mark.parametrize(
    ("bias", "said"),
    [
        (Bias("group", ["one"]), "words has 1. A word is compared"),
        (Bias("group", ["one", "two", "one"]), "words has 'one' twice"),
        (Bias("group", WORDS, "a photo"), r"has no \{\} for the word"),
        (Bias("group"), "words is empty, and the data has no classes"),
    ],
)
def test_words_that_cannot_be_compared_are_refused(tmp_path: Path, bias: Bias, said: str) -> None:
    rows = [{"colour": "red", "group": "ab"[i % 2], "caption": "x"} for i in range(20)]
    with pytest.raises(ConfigError, match=said):
        check_measures(Evaluate(bias=bias), pictured(tmp_path, rows))
