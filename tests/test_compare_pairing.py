"""Paired tests: against statsmodels' and scipy's definitions, by hand, and what they must not claim."""

from pathlib import Path

import numpy as np
import pytest
import torch
from compared import by_accuracy, class_answers, made, retrieval_answers
from scipy.stats import binomtest

from cliptune.comparison.comparing import Comparison, compare
from cliptune.comparison.names import beside, choose, short
from cliptune.comparison.significance import holm, mcnemar_exact
from cliptune.metrics.answers import Answers
from cliptune.metrics.bootstrap import mcnemar


def test_mcnemars_p_is_that_of_a_fair_coin() -> None:
    won, lost = np.array([[0, 3, 9], [20, 1, 5]]), np.array([[0, 3, 1], [4, 0, 6]])
    expected = [
        [1.0 if not w + n else binomtest(int(w), int(w + n)).pvalue for w, n in zip(*rows, strict=True)]
        for rows in zip(won, lost, strict=True)
    ]
    np.testing.assert_allclose(mcnemar_exact(won, lost), expected, rtol=1e-12)
    before, after = torch.tensor([True] * 1 + [False] * 9 + [True]), torch.tensor([False] + [True] * 9 + [True])
    assert mcnemar(before, after).p == pytest.approx(float(mcnemar_exact(np.array(9), np.array(1))))


def test_holm_by_hand_and_what_was_not_tested_does_not_count() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, each at least the one before
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04, 0.03, 0.005])), [0.03, np.nan, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])
    assert len(holm(np.array([]))) == 0


def _two(tmp_path: Path, accuracy: tuple[float, float], each: int = 200, metric: str | None = None) -> Comparison:
    for i, share in enumerate(accuracy):
        answers, top1 = by_accuracy(torch.full((3,), share), each, i)
        made(tmp_path / f"run{i}", adapted=Answers(answers, None), metrics={"test/top1": top1, "test/mean_per_class": top1})
    return compare([tmp_path / "run0", tmp_path / "run1"], metric)


def test_a_clear_difference_is_one_and_a_small_one_may_be_chance(tmp_path: Path) -> None:
    clear = _two(tmp_path / "clear", (0.8, 0.5))
    assert clear.best is not None
    assert clear.best.name == "run0"
    other = clear.against(clear.rows[1])
    assert other is not None
    assert other.differs
    assert other.low is not None
    assert other.high is not None
    assert other.low < other.change < other.high < 0
    assert clear.as_good() == []
    close = _two(tmp_path / "close", (0.6, 0.59), each=20)
    assert [row.name for row in close.as_good()] == [row.name for row in close.rows if row.kind == "run" and row is not close.best]


def test_a_metric_without_an_exact_test_is_tested_by_the_bootstrap(tmp_path: Path) -> None:
    found = _two(tmp_path, (0.8, 0.5), metric="mean_per_class")
    other = found.against(found.rows[1])
    assert other is not None
    assert other.p is not None
    assert other.p == pytest.approx(2 / 1001)  # the least that a thousand resamples can say


def test_top1_is_tested_exactly_on_the_same_images_and_corrected(tmp_path: Path) -> None:
    label = torch.zeros(40, dtype=torch.long)
    said = {"best": [0] * 38 + [1] * 2, "mid": [0] * 30 + [1] * 8 + [0, 1], "low": [0] * 20 + [1] * 20}
    for name, classes in said.items():
        answers = Answers(class_answers(torch.tensor(classes), label, 2), None)
        made(tmp_path / name, adapted=answers, metrics={"test/top1": classes.count(0) / 40})
    found = compare([tmp_path])
    assert found.paired is not None
    raw = {"mid": binomtest(1, 9).pvalue, "low": binomtest(0, 18).pvalue}  # mid wins one image and loses eight
    assert {name: one.p for name, one in found.paired.against.items()} == pytest.approx({"mid": raw["mid"], "low": 2 * raw["low"]})
    assert found.paired.won.tolist() == [[0, 8, 18], [1, 0, 11], [0, 0, 0]]
    expected = holm(np.array([raw["mid"], raw["low"], binomtest(0, 11).pvalue]))
    np.testing.assert_allclose(found.paired.p[np.triu_indices(3, 1)], expected)


def test_images_that_are_not_the_same_are_not_paired(tmp_path: Path) -> None:
    label = torch.tensor([0, 1] * 20)
    for name, count in (("a", 40), ("b", 40), ("short", 20)):
        made(tmp_path / name, adapted=Answers(class_answers(label[:count], label[:count], 2), None), metrics={"test/top1": 1.0})
    made(tmp_path / "relabelled", adapted=Answers(class_answers(label, 1 - label, 2), None), metrics={"test/top1": 0.0})
    found = compare([tmp_path])
    assert found.paired is not None
    assert [row.name for row in found.paired.rows] == ["a", "b"]
    assert "not paired, since they were tested on other images of the same data: short, relabelled" in found.notes


def test_classes_that_one_wins_are_found_and_no_others(tmp_path: Path) -> None:
    label = torch.arange(4).repeat_interleave(30)
    first, second = label.clone(), label.clone()
    first[:24] = 3  # of class 0 the first has 6 of 30 right
    second[30:54] = 3  # of class 1 the second
    second[60:63] = 3  # of class 2 three are wrong, which may be chance
    for name, said in (("first", first), ("second", second)):
        top1 = float((said == label).float().mean())
        made(tmp_path / name, adapted=Answers(class_answers(said, label, 5), None), metrics={"test/top1": top1}, class_names=list("abcde"))
    found = compare([tmp_path])
    classes = found.classes
    assert classes is not None
    assert [row.name for row in found.rows][:2] == ["first", "second"]
    np.testing.assert_allclose(classes.accuracy, [[0.2, 1, 1, 1, np.nan], [1, 0.2, 0.9, 1, np.nan]])
    assert classes.images.tolist() == [30, 30, 30, 30, 0]
    assert [classes.mark(1, c) for c in range(5)] == [1, -1, 0, 0, 0]
    raw = mcnemar_exact(np.array([24, 0, 0, 0]), np.array([0, 24, 3, 0]))
    np.testing.assert_allclose(classes.p[1], [*holm(raw), np.nan])
    assert classes.better == {(1, 0): [0], (0, 1): [1]}
    assert [classes.winners(c) for c in range(5)] == [[1], [0], [0], [0, 1], []]


def test_images_of_several_classes_count_for_each_of_them(tmp_path: Path) -> None:
    several = torch.tensor([[True, True, False], [False, True, True]] * 10)
    for name, said in (("a", [1, 1] * 10), ("b", [0, 0] * 10)):
        answers = class_answers(torch.tensor(said), torch.tensor([0, 1] * 10), 3, several)
        made(tmp_path / name, adapted=Answers(answers, None), metrics={"test/top1": 1.0 if name == "a" else 0.5, "test/map": 0.7})
    found = compare([tmp_path], "top1")
    assert found.classes is not None
    assert found.classes.images.tolist() == [10, 20, 10]
    assert found.classes.accuracy.tolist() == [[1, 1, 1], [1, 0.5, 0]]
    noted = compare([tmp_path], "map")
    assert noted.paired is not None
    assert not noted.paired.tested


def test_retrieval_is_paired_by_image(tmp_path: Path) -> None:
    ranks = {"a": torch.tensor([0] * 30 + [3] * 10), "b": torch.tensor([0] * 12 + [7] * 28)}
    for name, rank in ranks.items():
        share = float((rank == 0).float().mean())
        made(
            tmp_path / name,
            adapted=Answers(None, retrieval_answers(rank)),
            metrics={"test/recall": share, "test/recall@1_image_to_text": share},
            before={"test/recall": 0.1},
        )
    found = compare([tmp_path])
    assert found.metric == "test/recall"
    assert found.classes is None
    assert found.paired is not None
    assert found.paired.images == 40
    assert found.paired.won.tolist() == [[0, 18], [0, 0]]
    other = found.against(found.rows[1])
    assert other is not None
    assert other.differs


def test_less_is_better_for_errors(tmp_path: Path) -> None:
    for name, error in (("a", 0.3), ("b", 0.1)):
        made(tmp_path / name, metrics={"test/ece": error}, before={"test/ece": 0.2})
    found = compare([tmp_path], "ece")
    assert [row.name for row in found.rows] == ["b", "zero-shot", "a"]


def test_metrics_have_names_for_people() -> None:
    assert short("test/recall@5_text_to_image") == "R@5 text to image"
    assert short("test/ece_calibrated") == "ECE, calibrated"
    assert short("val/top1") == "top-1 (val)"
    assert beside("test/top1", ["test/top1", "test/macro_f1", "val/macro_f1"]) == ["test/macro_f1"]
    assert choose(None, [["test/recall", "test/top1"], ["test/recall"]]) == "test/recall"
