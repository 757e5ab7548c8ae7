"""Intervals and paired changes: how often they are right on data whose truth is known, and against scipy."""

from functools import partial

import numpy as np
import pytest
import torch
from answered import drawn, said, searched
from scipy import stats
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers, RetrievalAnswers
from cliptune.metrics.bootstrap import Interval, Weighted, intervals, mcnemar, paired, resample
from cliptune.metrics.classes import class_metrics, weighted_class_metrics
from cliptune.metrics.retrieval import weighted_retrieval_metrics

SIMULATED = 200  # of which 95 % is known to 1.5 % (one standard error)


def top1(right: Tensor) -> Weighted:
    """Of answers that are right here [N]."""
    answers = said(torch.tensor([[0.8, 0.2]]).expand(len(right), -1), (~right).long())
    return partial(weighted_class_metrics, answers, names=["top1"])


def captions(generator: torch.Generator, images: int) -> RetrievalAnswers:
    """Five captions each, of images some of which are hard: a caption is found with its image's chance, on average 0.5."""
    chance = torch.rand(images, generator=generator) ** 2 * 1.5
    owner = torch.arange(images).repeat_interleave(5)
    found = torch.rand(len(owner), generator=generator) < chance[owner].clamp(max=1)
    return searched(torch.zeros(images, dtype=torch.long), (~found).long() * 50, owner)


def covered(found: list[Interval], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high, _ in found]))


def test_intervals_of_top1_hold_the_truth_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [intervals(top1(torch.rand(200, generator=generator) < 0.7), 200, 400, i)["top1"] for i in range(SIMULATED)]
    assert 0.92 <= covered(found, 0.7) <= 0.98
    assert 0.1 < np.mean([high - low for low, high, _ in found]) < 0.15  # four standard errors of 0.032


def test_captions_of_one_image_stand_or_fall_together() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = float((torch.linspace(0, 1, 100_001) ** 2 * 1.5).clamp(max=1).mean())
    name, by_image, by_caption = "recall@1_text_to_image", [], []
    for i in range(SIMULATED):
        answers = captions(generator, 80)
        by_image.append(intervals(partial(weighted_retrieval_metrics, answers), 80, 200, i)[name])
        by_caption.append(intervals(top1(answers.text_rank == 0), 400, 200, i)["top1"])
    assert 0.92 <= covered(by_image, truth) <= 0.98
    assert covered(by_caption, truth) < 0.88  # as if captions were drawn one by one: too sure


def test_an_end_equals_scipy() -> None:
    right = torch.rand(150, generator=torch.Generator().manual_seed(0)) < 0.6
    ours = intervals(top1(right), 150, 20_000)["top1"]
    theirs = stats.bootstrap((right.double().numpy(),), np.mean, method="percentile", n_resamples=20_000, rng=0).confidence_interval
    assert ours[:2] == pytest.approx([theirs.low, theirs.high], abs=0.007)  # one answer in 150
    assert ours.resamples == 20_000


def test_every_metric_lies_within_its_interval() -> None:
    """Average precision and the calibration error are greater in resamples than in any sample, and that is taken off."""
    answers = drawn(600, 60, seed=2)  # ten images of a class
    found, whole = intervals(partial(weighted_class_metrics, answers), 600, 300), class_metrics(answers)
    assert found.keys() == whole.keys()
    for name, (low, high, _) in found.items():
        assert low < whole[name] < high, name
        assert low >= 0, name
    drawn_ones = resample(partial(weighted_class_metrics, answers), 600, 300).drawn
    assert drawn_ones["map"].quantile(0.2) > whole["map"]
    assert drawn_ones["ece"].quantile(0.5) > whole["ece"]


def test_average_precision_is_as_uncertain_as_it_is() -> None:
    """Its interval against those of samples that are drawn from the model itself."""
    truth = np.mean([class_metrics(drawn(300, 6, seed), ["map"])["map"] for seed in range(1000, 1040)])
    found = [intervals(partial(weighted_class_metrics, drawn(300, 6, seed), names=["map"]), 300, 200)["map"] for seed in range(40)]
    assert 0.85 <= covered(found, truth) <= 1  # of 40: 0.95, give or take three standard errors of 0.034


def test_without_a_change_p_is_as_often_small_as_it_says() -> None:
    """Two models that are right as often, each in its own way; a third of the answers they share."""
    generator, found = torch.Generator().manual_seed(3), []
    for i in range(SIMULATED):
        shared, one, other = (torch.rand(300, generator=generator) < 0.6 for _ in range(3))
        same = torch.rand(300, generator=generator) < 1 / 3
        found.append(paired(top1(shared.where(same, one)), top1(shared.where(same, other)), 300, 400, i)["top1"].p)
    shares = [np.mean(np.array(found) < level) for level in (0.05, 0.2, 0.5)]
    assert 0.02 <= shares[0] <= 0.085
    assert 0.14 <= shares[1] <= 0.26
    assert 0.4 <= shares[2] <= 0.6


def test_a_change_that_is_there_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(400, generator=generator) < 0.6
    after = before | (torch.rand(400, generator=generator) < 0.2)
    found = paired(top1(before), top1(after), 400)["top1"]
    assert found.change == pytest.approx((after.float().mean() - before.float().mean()).item(), abs=1e-6)
    assert 0 < found.low < found.change < found.high
    assert found.p == pytest.approx(2 / 1001)  # none of a thousand resamples says otherwise


def test_the_same_images_tell_more_than_two_intervals_do() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(400, generator=generator) < 0.6
    after = before | (torch.rand(400, generator=generator) < 0.08)
    apart = [intervals(top1(right), 400)["top1"] for right in (before, after)]
    assert apart[0].high > apart[1].low
    assert paired(top1(before), top1(after), 400)["top1"].p < 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    weighted = partial(weighted_class_metrics, drawn(100, 7))
    for change in paired(weighted, weighted, 100, 50).values():
        assert change == (0, 0, 0, 1)


def test_a_seed_draws_the_same_again() -> None:
    weighted = top1(torch.arange(50) % 3 > 0)
    assert intervals(weighted, 50, 200, seed=5) == intervals(weighted, 50, 200, seed=5)
    assert intervals(weighted, 50, 200, seed=5) != intervals(weighted, 50, 200, seed=6)


def test_resamples_are_drawn_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    from cliptune.metrics import bootstrap

    seen: list[tuple[int, ...]] = []

    def weighted(weights: Tensor) -> dict[str, Tensor]:
        seen.append(tuple(weights.shape))
        assert (weights.sum(dim=1) == 10).all()
        return {"first": weights[:, 0]}

    monkeypatch.setattr(bootstrap, "HELD", 40)
    found = resample(weighted, 10, 11)
    assert seen == [(4, 10), (4, 10), (3, 10), (1, 10)]
    assert found.whole == {"first": 1}
    assert len(found.drawn["first"]) == 11


def test_resamples_without_a_value_are_left_out() -> None:
    def weighted(weights: Tensor) -> dict[str, Tensor]:
        return {"never": weights[:, 0] * torch.nan, "seldom": torch.where(weights[:, 0] > 0, weights[:, 0], torch.nan)}

    found = intervals(weighted, 5, 100)
    assert list(found) == ["seldom"]
    assert found["seldom"].resamples < 100
    assert list(paired(weighted, weighted, 5, 100)) == ["seldom"]


def test_flips_are_tested_as_by_hand() -> None:
    before, after = torch.tensor([False] * 8 + [True] * 2 + [True] * 5), torch.tensor([True] * 8 + [False] * 2 + [True] * 5)
    expected = 2 * sum(stats.binom.pmf(k, 10, 0.5) for k in range(3))  # two or fewer of ten, either way
    assert mcnemar(before, after) == (8, 2, pytest.approx(expected))
    assert mcnemar(before, before) == (0, 0, 1)


def test_a_change_of_either_sign_has_the_same_p() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.rand(60, generator=generator) < share for share in (0.5, 0.6))
    there, back = (paired(top1(a), top1(b), 60)["top1"] for a, b in ((before, after), (after, before)))
    assert (back.change, back.low, back.high, back.p) == pytest.approx((-there.change, -there.high, -there.low, there.p))


def test_answers_are_drawn_from_those_of_the_split() -> None:
    answers: ClassAnswers = drawn(30, 4)
    found = resample(partial(weighted_class_metrics, answers), 30, 20)
    assert found.whole == pytest.approx(class_metrics(answers), abs=1e-5)
