"""Intervals and changes of everything that a pass measures."""

import pytest
import torch
from answers import guesses, heard

from cliptune.measures.base import Measured
from cliptune.metrics.answers import Answers
from cliptune.metrics.classes import class_metrics
from cliptune.uncertainty import renamed, resampled, told_changes, told_intervals


def test_every_metric_of_classes_and_captions_lies_in_its_interval() -> None:
    logits, label = guesses(200, 6, 0.6)
    images = torch.randn(200, 8)
    answers = heard(logits, label, images, images + 0.8 * torch.randn(200, 8), torch.arange(200))
    found = told_intervals(resampled(answers, 200, seed=0))
    assert answers.classes is not None
    for name, value in class_metrics(answers.classes).items():
        assert found[name][0] <= value <= found[name][1], name
        if name != "ece":  # a bootstrap's errors of calibration are greater than the sample's own
            assert found[name][0] < found[name][1], name
    assert {"recall@1_image_to_text", "recall@1_text_to_image", "median_rank_text_to_image", "map@10_image_to_text"} <= set(found)


def test_the_same_model_has_not_changed_and_a_better_one_has() -> None:
    (weak, label), (strong, same) = guesses(300, 5, 0.5), guesses(300, 5, 0.9)
    assert torch.equal(label, same)
    before, after = heard(weak, label), heard(strong, label)
    drawn = {name: resampled(answers, 200, seed=0) for name, answers in {"before": before, "after": after}.items()}
    still = told_changes(drawn["before"], drawn["before"])["top1"]
    assert (still["change"], still["low"], still["high"]) == (0, 0, 0)
    assert still["p"] == 1
    better = told_changes(drawn["before"], drawn["after"])["top1"]
    expected = float((strong.argmax(1) == label).float().mean() - (weak.argmax(1) == label).float().mean())
    assert better["change"] == pytest.approx(expected, abs=1e-6)
    assert 0 < better["low"] <= better["change"] <= better["high"]
    assert better["p"] < 0.05


def test_items_of_one_unit_stand_or_fall_together() -> None:
    items = torch.tensor([1.0, 0.0]).repeat_interleave(50)
    alone = told_intervals(resampled(Measured(items={"accuracy": items}), 500, seed=0))["accuracy"]
    units = {"accuracy": torch.arange(100) // 50}
    pairs = told_intervals(resampled(Measured(items={"accuracy": items}, units=units), 500, seed=0))["accuracy"]
    assert pairs == [0.0, 1.0]  # two units, of which a resample may draw one twice
    assert 0.3 < alone[0] < 0.5 < alone[1] < 0.7


def test_nothing_has_no_intervals() -> None:
    nothing = resampled(Answers(None, None), 100, seed=0)
    assert told_intervals(nothing) == {}
    assert told_changes(nothing, nothing) == {}


def test_names_get_the_split_in_front_and_more_behind() -> None:
    assert renamed({"ece": [0, 1]}, "test/", "_calibrated") == {"test/ece_calibrated": [0, 1]}
