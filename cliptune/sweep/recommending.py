"""Which method a sweep speaks for: of those that are as good on validation as the best, the cheapest.

Few images of validation are soon all right by every method; of those as good as the best the surest is taken there, by cross-entropy.
The test split has no say, so that its scores stay honest. The rule of one standard error is Breiman et al. 1984, "Classification and
Regression Trees", sec. 3.4.3.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cliptune.page.numbers import duration
from cliptune.sweep.cells import told_shots
from cliptune.sweep.results import Result, Spread, Table, spread, standard_error

ZERO_SHOT = "zero_shot"
ALIKE = 2  # times of training that differ by less than this factor count as one: they are those of one machine and its load
FEW = 200  # images of validation, of all seeds together, which cannot tell methods apart by accuracy


@dataclass(frozen=True)
class Candidate:
    """A method, or none at all, at the largest number of shots.

    Args:
        name: the method's, or `zero_shot`.
        validation: its scores.
        error: how sure their mean is.
        seconds: of training, a mean.
        parameters: that learn.
        loss: mean cross-entropy on validation; infinite where it is not known.
    """

    name: str
    validation: Spread
    error: float
    seconds: float
    parameters: int
    loss: float = math.inf


@dataclass(frozen=True)
class Recommendation:
    """What a sweep speaks for.

    Args:
        name: a method's, or `zero_shot`.
        shots: at which it was chosen.
        best: the name of what is best on validation.
        sentence: what is told of it.
        candidates: all, the best first.
    """

    name: str
    shots: int | None
    best: str
    sentence: str
    candidates: list[Candidate]

    def told(self) -> dict[str, Any]:
        """As plain data."""
        candidates = [
            {
                "method": one.name,
                "validation": one.validation.mean,
                "standard_error": one.error,
                "seconds": one.seconds,
                "parameters": one.parameters,
                "cross_entropy": one.loss if math.isfinite(one.loss) else None,
            }
            for one in self.candidates
        ]
        return {"method": self.name, "shots": self.shots, "best": self.best, "sentence": self.sentence, "candidates": candidates}


def recommend(table: Table) -> Recommendation:
    """Choose at the largest number of shots that most methods have results for.

    Args:
        table: with one result or more.
    """
    shots = _largest(table)
    found = [_candidate(name, table.at(name, shots)) for name in table.methods if table.at(name, shots)]
    if (zero := _zero_shot(table, shots)) is not None:
        found.append(zero)
    found.sort(key=lambda one: (-one.validation.mean, one.seconds))
    best = found[0]
    good = [one for one in found if one.validation.mean >= best.validation.mean - best.error]
    chosen = _surest(good) if _few(table, shots) else _cheapest(good)
    return Recommendation(chosen.name, shots, best.name, _sentence(table, shots, chosen, best), found)


def _surest(good: Sequence[Candidate]) -> Candidate:
    return min(good, key=lambda one: (one.loss, -one.validation.mean))


def _cheapest(good: Sequence[Candidate]) -> Candidate:
    cheapest = min(one.seconds for one in good)
    return max((one for one in good if one.seconds <= ALIKE * cheapest), key=lambda one: (one.validation.mean, -one.seconds))


def _few(table: Table, shots: int | None) -> bool:
    """Whether validation is too small for accuracy alone, and all know how sure they were."""
    found = [one for one in table.results if one.cell.shots == shots]
    return all(one.losses for one in found) and _images(table.at(found[0].cell.method, shots)) < FEW


def _largest(table: Table) -> int | None:
    """The most shots; those at which a cell failed count too, unless another number has more methods."""
    counts = [sum(bool(table.at(name, shots)) for name in table.methods) for shots in table.shots]
    return table.shots[max(i for i, count in enumerate(counts) if count == max(counts))]


def _candidate(name: str, results: Sequence[Result]) -> Candidate:
    scores = [one.validation["adapted"] for one in results]
    error = standard_error(scores, _images(results))
    seconds = statistics.fmean(one.seconds for one in results)
    return Candidate(name, spread(scores), error, seconds, results[0].parameters, _loss(results, "adapted"))


def _loss(results: Sequence[Result], state: str) -> float:
    return statistics.fmean(one.losses.get(state, math.inf) for one in results)


def _zero_shot(table: Table, shots: int | None) -> Candidate | None:
    results = [one for one in table.results if one.cell.shots == shots and ZERO_SHOT in one.validation]
    of_seed = list({one.cell.seed: one for one in results}.values())
    if not of_seed:
        return None
    scores = [one.validation[ZERO_SHOT] for one in of_seed]
    return Candidate(ZERO_SHOT, spread(scores), standard_error(scores, _images(of_seed)), 0.0, 0, _loss(of_seed, ZERO_SHOT))


def _images(results: Sequence[Result]) -> int:
    """Different images of validation: few shots draw their own for each seed."""
    return sum(one.images for one in results) if results[0].cell.shots is not None else results[0].images


def _sentence(table: Table, shots: int | None, chosen: Candidate, best: Candidate) -> str:
    at = f"at {told_shots(shots)}" if shots is not None else "with all images"
    seeds = f"mean of {chosen.validation.n} seeds" if chosen.validation.n > 1 else "one seed, so trust it little"
    how = f"{chosen.validation.mean:.3f} on validation {at} ({seeds})"
    if _few(table, shots):
        near = (
            ""
            if chosen.validation.mean == best.validation.mean
            else f", within one standard error ({best.error:.3f}) of {best.name}'s {best.validation.mean:.3f}"
        )
        why = f"the surest there: cross-entropy {chosen.loss:.3f}, {how}{near}"
    elif chosen.name == best.name:
        why = f"the best there: {how}"
    else:
        less = "costs nothing" if chosen.name == ZERO_SHOT else f"trains in {duration(chosen.seconds)} instead of {duration(best.seconds)}"
        near = f"within one standard error ({best.error:.3f}) of {best.name}, the best there with {best.validation.mean:.3f}"
        why = f"{how}, {near}, and {less}"
    if chosen.name == ZERO_SHOT:
        return f"Recommended: no training, the untouched CLIP is as good: {why}."
    return " ".join([f"Recommended: {chosen.name}, {why}.", *_costs(table, shots, chosen, best)])


def _costs(table: Table, shots: int | None, chosen: Candidate, best: Candidate) -> list[str]:
    """What it comes to on the test split, takes, and makes forget."""
    test, zero = table.test(chosen.name, shots), table.zero_shot()
    told = f"On test it scores {test}" + (f", zero-shot {zero:.3f}" if zero is not None else "")
    costs = f"it learns {chosen.parameters:,} parameters" + (f" in {duration(chosen.seconds)}" if chosen.name == best.name else "")
    lines = [f"{told}; {costs}."]
    if guards := table.guards(chosen.name, shots):
        changes = ", ".join(f"{name} {change.mean:+.3f}" for name, change in guards.items())
        lines.append(f"It changes the guards: {changes}.")
    images = _images(table.at(chosen.name, shots))
    if images < FEW:
        lines.append(f"Validation has {images} images: too few to be sure.")
    return lines
