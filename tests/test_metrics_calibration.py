"""Calibration: models of known miscalibration, scikit-learn's curve, and temperatures that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from answered import drawn, said
from sklearn.calibration import calibration_curve
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers
from cliptune.metrics.calibration import NUMBERS, TEMPERATURES, bins_of, fit_temperature, reliability, with_temperature
from cliptune.metrics.classes import class_metrics, weighted_class_metrics


def sure(confidence: list[float], right: list[bool]) -> ClassAnswers:
    """Answers among two classes, the first of which is always said, with these probabilities."""
    own = torch.tensor(confidence)
    return said(torch.stack([own, 1 - own], dim=1), (~torch.tensor(right)).long())


def test_a_model_of_known_miscalibration_has_the_known_error() -> None:
    answers = sure([0.9] * 10 + [0.6] * 30, [True] * 7 + [False] * 3 + [True] * 24 + [False] * 6)
    # a quarter of the answers is sure of 0.9 and right in 0.7; the others are sure of 0.6 and right in 0.8
    assert reliability(answers).error == pytest.approx(0.25 * 0.2 + 0.75 * 0.2, abs=1e-6)
    assert class_metrics(answers)["ece"] == pytest.approx(0.2, abs=1e-6)


def test_errors_of_both_signs_in_one_bin_cancel() -> None:
    answers = sure([0.61, 0.65], [False, True])
    assert class_metrics(answers)["ece"] == pytest.approx(abs(0.63 - 0.5), abs=1e-6)


def test_weights_count_in_the_error() -> None:
    answers = sure([0.9, 0.9, 0.7], [True, False, True])
    found = weighted_class_metrics(answers, torch.tensor([[3.0, 1.0, 4.0], [0.0, 0.0, 1.0]]))["ece"]
    assert found.tolist() == pytest.approx([0.5 * (0.9 - 0.75) + 0.5 * 0.3, 0.3], abs=1e-6)


def test_answers_as_sure_as_they_are_right_have_next_to_no_error() -> None:
    assert class_metrics(drawn(20_000, 10))["ece"] < 0.01
    assert class_metrics(drawn(20_000, 10, temperature=0.4))["ece"] > 0.1


def test_the_curve_equals_scikit_learn() -> None:
    answers = drawn(2000, 6, temperature=0.6)
    found = reliability(answers)
    right = (answers.top[:, 0] == answers.label).numpy()
    accuracy, confidence = calibration_curve(right, answers.top_probability[:, 0].double().numpy(), n_bins=15)
    there = found.images > 0
    np.testing.assert_allclose(found.accuracy[there], accuracy, atol=1e-12)
    np.testing.assert_allclose(found.confidence[there], confidence, atol=1e-12)
    assert int(found.images.sum()) == 2000
    assert found.accuracy[~there].isnan().all()


def test_a_bin_holds_its_upper_end() -> None:
    assert bins_of(torch.tensor([0.0, 0.25, 0.26, 0.5, 0.51, 1.0]), 4).tolist() == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    """Labels come from logits that were divided by it: to be as sure as it is right, the model must be undone."""
    answers = drawn(20_000, 10, temperature=1 / temperature)
    assert fit_temperature(answers) == pytest.approx(temperature, rel=0.03)


def test_the_fitted_temperature_has_the_least_loss() -> None:
    answers = drawn(300, 7, temperature=0.5)
    best = fit_temperature(answers)

    def loss(temperature: float) -> float:
        return class_metrics(with_temperature(answers, temperature), ["nll"])["nll"]

    assert loss(best) < min(loss(best * 1.02), loss(best / 1.02), loss(1.0))


def test_a_few_images_that_are_all_right_ask_for_no_certainty() -> None:
    """Platt's target for 2 of 2 is 3 in 4: of a margin log(0.6 / 0.4) it makes log(3)."""
    chances = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert fit_temperature(said(chances, torch.tensor([0, 1]))) == pytest.approx(np.log(1.5) / np.log(3), rel=1e-4)
    many = said(chances.repeat(500, 1), torch.tensor([0, 1] * 500))
    assert fit_temperature(many) == pytest.approx(np.log(1.5) / np.log(1001), rel=1e-4)


def test_temperatures_stay_within_bounds() -> None:
    coldest, hottest = TEMPERATURES
    chances = torch.tensor([[0.5001, 0.4999], [0.4999, 0.5001]])
    assert fit_temperature(said(chances, torch.tensor([0, 1]))) == coldest  # always right, and hardly sure
    assert fit_temperature(said(chances, torch.tensor([1, 0]))) == hottest  # always wrong


def test_of_very_many_probabilities_images_at_even_distances_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from cliptune.metrics import calibration

    answers = drawn(1000, 8, temperature=0.5)
    assert answers.probabilities is not None
    assert NUMBERS >= 8000
    monkeypatch.setattr(calibration, "NUMBERS", 4000)
    assert fit_temperature(answers) == fit_temperature(said(answers.probabilities[::2], answers.label[::2]))


def test_a_temperature_is_that_of_the_logits() -> None:
    logits: Tensor = 3 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    label = logits.argsort(dim=1)[:, 3]
    found, expected = with_temperature(said(logits.softmax(dim=1), label), 2.0), said((logits / 2).softmax(dim=1), label)
    assert torch.equal(found.top, expected.top)
    for ours, theirs in (
        (found.probabilities, expected.probabilities),
        (found.top_probability, expected.top_probability),
        (found.label_probability, expected.label_probability),
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_class_without_any_probability_stays_a_number() -> None:
    found = with_temperature(said(torch.tensor([[1.0, 0.0]]), torch.tensor([1])), 50.0)
    assert found.label_probability.item() == pytest.approx(1 / (1 + np.exp(87.34 / 50)), rel=1e-3)


def test_answers_without_probabilities_are_refused() -> None:
    answers = replace(drawn(10, 6), probabilities=None)
    with pytest.raises(ValueError, match="kept none"):
        fit_temperature(answers)
    with pytest.raises(ValueError, match="kept none"):
        with_temperature(answers, 2.0)
