"""What changed between the two states of a model, and how sure that is, as plain data for `summary.json`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cliptune.guards import GuardResult
from cliptune.metrics.answers import Answers, ClassAnswers
from cliptune.metrics.bootstrap import LEVEL
from cliptune.metrics.calibration import fit_temperature, with_temperature
from cliptune.metrics.classes import class_metrics
from cliptune.scores import NOTHING, Scores, State
from cliptune.uncertainty import renamed, resampled, told_changes, told_intervals

CALIBRATED = ("ece", "nll")  # what a temperature changes


def uncertain(scores: Scores, guards: dict[str, GuardResult], resamples: int, seed: int) -> dict[str, Any]:
    """What is known of the test split, the guards and the extra measures: calibrated metrics join the states' own.

    Args:
        scores: of one state or both.
        guards: by name.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of it.

    Returns:
        `temperature`, `intervals`, `changes`, `guard`, `templates`, and a part for each extra measure; what is not known is not there.
    """
    found: dict[str, Any] = {}
    calibrated = {name: calibrate(state, found, name) for name, state in scores.states.items()}
    if resamples:
        found["intervals"] = {"level": LEVEL, "resamples": resamples}
        tests = between({name: state.test for name, state in scores.states.items()}, resamples, seed)
        sharper = between(calibrated, resamples, seed, CALIBRATED)
        for name in scores.states:
            own = {**renamed(tests["intervals"][name], "test/"), **renamed(sharper["intervals"][name], "test/", "_calibrated")}
            found["intervals"][name] = own
        found["changes"] = {**renamed(tests["changes"], "test/"), **renamed(sharper["changes"], "test/", "_calibrated")}
    found["guard"] = {name: of_guard(result, resamples, seed) for name, result in guards.items()}
    found["templates"] = of_templates(scores)
    found.update(of_measures(scores, resamples, seed))
    return {name: value for name, value in found.items() if value}


def between(states: dict[str, Any], resamples: int, seed: int, names: Collection[str] | None = None) -> dict[str, Any]:
    """The intervals of two states' metrics, and what changed from the first to the second: see `uncertainty`."""
    drawn = {name: resampled(answers, resamples, seed, names) for name, answers in states.items()}
    intervals = {name: told_intervals(one) for name, one in drawn.items()}
    return {"intervals": intervals, "changes": told_changes(*drawn.values()) if len(drawn) == 2 else {}}


def of_guard(result: GuardResult, resamples: int, seed: int) -> dict[str, Any]:
    """What is known of a guard."""
    told = {key: getattr(result, key) for key in ("path", "images", "texts", "metric", "unchanged", "zero_shot", "adapted")}
    states = {"zero_shot": result.zero_shot_answers, "adapted": result.adapted_answers}
    known = {name: answers for name, answers in states.items() if answers is not None}
    return {**told, **between(known, resamples, seed)} if resamples else told


def of_templates(scores: Scores) -> list[dict[str, Any]]:
    """Top-1 of each template, in both states."""
    known = {name: state.templates for name, state in scores.states.items() if state.templates}
    rows: dict[str | None, dict[str, Any]] = {}
    for name, templates in known.items():
        for one in templates:
            rows.setdefault(one["template"], {"template": one["template"]})[name] = one["top1"]
    return list(rows.values())


def of_measures(scores: Scores, resamples: int, seed: int) -> dict[str, Any]:
    """Each extra measure: what it says of both states, what is the same for both, how sure, and what changed."""
    found: dict[str, Any] = {}
    for measure in dict.fromkeys(name for state in scores.states.values() for name in state.measured):
        known = {name: state.measured[measure] for name, state in scores.states.items() if measure in state.measured}
        told: dict[str, Any] = {name: one.told for name, one in known.items()}
        told["shared"] = next(iter(known.values())).shared
        found[measure] = {**told, **between(known, resamples, seed)} if resamples else told
    return found


def calibrate(state: State, found: dict[str, Any], name: str) -> Answers:
    """The test answers under the temperature that suits validation best; none where classes or probabilities are not known."""
    validation, test = state.validation.classes, state.test.classes
    if validation is None or test is None or not _calibrates(validation) or not _calibrates(test):
        return NOTHING
    found.setdefault("temperature", {})[name] = temperature = fit_temperature(validation)
    calibrated = with_temperature(test, temperature)
    state.metrics.update(renamed(class_metrics(calibrated, CALIBRATED), "test/", "_calibrated"))
    return Answers(calibrated, None)


def _calibrates(answers: ClassAnswers) -> bool:
    """Whether these say what a temperature needs to know."""
    return len(answers) > 0 and answers.probabilities is not None and answers.several is None
