"""Which method a sweep speaks for: of those that are as good on validation as the best and keep the guards, the cheapest.

Few images of validation are soon all right by every method; then cross-entropy chooses among those as good as the best, whatever they cost.
The test split has no say, so that its scores stay honest. The rule of one standard error is Breiman et al. 1984, "Classification and
Regression Trees", sec. 3.4.3.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cliptune.metrics.names import short
from cliptune.page.numbers import duration
from cliptune.sweep.cells import told_shots
from cliptune.sweep.results import Result, Spread, Table, spread, standard_error

ZERO_SHOT = "zero_shot"
ALIKE = 2  # times of training that differ by less than this factor count as one: they are those of one machine and its load
KEEP = 0.9  # of the untouched CLIP's score on each guard: what forgets more is left out where something as good does not
KEEPS, KEEPING = f"keeps {KEEP:.0%} of each guard", f"keep {KEEP:.0%} of each guard"
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
        kept: the share of the untouched CLIP's score that is left on the guard where least is; None without guards.
    """

    name: str
    validation: Spread
    error: float
    seconds: float
    parameters: int
    loss: float = math.inf
    kept: float | None = None

    @property
    def holds(self) -> bool:
        """Whether it keeps the guards, or there are none."""
        return self.kept is None or self.kept >= KEEP


@dataclass(frozen=True)
class Recommendation:
    """What a sweep speaks for.

    Args:
        name: a method's, or `zero_shot`.
        shots: at which it was chosen.
        best: the name of what is best on validation.
        by_loss: whether cross-entropy chose among those that are as good, and not the time of training.
        sentence: what is told of it.
        candidates: all, the best first.
    """

    name: str
    shots: int | None
    best: str
    by_loss: bool
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
                "kept": one.kept,
            }
            for one in self.candidates
        ]
        return {
            "method": self.name,
            "shots": self.shots,
            "best": self.best,
            "chosen_by": "cross_entropy" if self.by_loss else "training_time",
            "sentence": self.sentence,
            "candidates": candidates,
        }


def told_method(name: str) -> str:
    """A candidate's name for people."""
    return "zero-shot" if name == ZERO_SHOT else name


def recommend(table: Table) -> Recommendation:
    """Choose at the largest number of shots that most methods have results for.

    Args:
        table: with one result or more.
    """
    shots = _largest(table)
    found = [_candidate(table, name, shots) for name in table.methods if table.at(name, shots)]
    if (zero := _zero_shot(table, shots)) is not None:
        found.append(zero)
    found.sort(key=lambda one: (-one.validation.mean, one.seconds))
    best = found[0]
    good = [one for one in found if one.validation.mean >= best.validation.mean - best.error]
    holding = [one for one in good if one.holds] or good
    by_loss, alone, forgetful = _few(table, shots), len(holding) == 1, len(holding) < len(good)
    chosen = _surest(holding) if by_loss else _cheapest(holding)
    why = _by_loss if by_loss and not alone else _by_time
    at = f"At {told_shots(shots)}" if shots is not None else "With all images"
    what = "no training, the untouched CLIP" if chosen.name == ZERO_SHOT else chosen.name
    said = [f"Recommended: {what}. {at} {why(table.metric, chosen, best, alone, forgetful)}."]
    said += [_measured(table, shots, by_loss and not alone), *_costs(table, shots, chosen, found)]
    return Recommendation(chosen.name, shots, best.name, by_loss, " ".join(said), found)


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


def _candidate(table: Table, name: str, shots: int | None) -> Candidate:
    results = table.at(name, shots)
    scores = [one.validation["adapted"] for one in results]
    error = standard_error(scores, _images(results))
    seconds = statistics.fmean(one.seconds for one in results)
    return Candidate(name, spread(scores), error, seconds, results[0].parameters, _loss(results, "adapted"), table.kept(name, shots))


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


def _by_loss(metric: str, chosen: Candidate, best: Candidate, alone: bool, forgetful: bool) -> str:
    """Why it is the surest of those that are as good as the best; forgetful: others as good were left out, since they forget."""
    first, own = f"{best.validation.mean:.3f}", f"{chosen.validation.mean:.3f}"
    whose = "its own" if chosen.name == best.name else told_method(best.name)
    beside = "" if chosen.name == best.name else "; its own is the same" if own == first else f"; its own is {own}"
    of = f"of all that {KEEPING} and whose" if forgetful else "of all whose"
    return (
        f"its cross-entropy on validation is the lowest ({chosen.loss:.3f}) {of} {short(metric)} there is the best "
        f"({whose}, {first}) or within one standard error of it ({best.error:.3f}){beside}"
    )


def _by_time(metric: str, chosen: Candidate, best: Candidate, alone: bool, forgetful: bool) -> str:
    """Why it is the best, or the cheapest of those that are as good, and do not forget."""
    own = f"its {short(metric)} on validation"
    near = f"within one standard error ({best.error:.3f}) of"
    if chosen.name != best.name:
        less = "costs nothing" if chosen.name == ZERO_SHOT else f"trains in {duration(chosen.seconds)} instead of {duration(best.seconds)}"
        the_best = f"the best ({told_method(best.name)}, {best.validation.mean:.3f})"
        why = [f"keeps {chosen.kept or 1:.0%} of the guards where that keeps {best.kept:.0%}"] if forgetful and not best.holds else []
        why += [less] if not why or ALIKE * chosen.seconds < best.seconds else []
        return f"{own} ({chosen.validation.mean:.3f}) is {near} {the_best}, and it {', and '.join(why)}"
    first = f"{own} is the best ({best.validation.mean:.3f}), and"
    if alone:
        return f"{first} no other that is {near} it {KEEPS}" if forgetful else f"{first} no other is {near} it"
    kept = f" and {KEEPS}" if forgetful else ""
    none = f"none that is {near} it{kept} trains in less than half its time"
    return f"{first} " + ("it costs nothing" if best.name == ZERO_SHOT else none)


def _measured(table: Table, shots: int | None, by_loss: bool) -> str:
    """On how many images and by how many seeds it was chosen, and what that means."""
    found = next(table.at(name, shots) for name in table.methods if table.at(name, shots))
    counts = sorted({one.images for one in found})
    images = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    several = len(found) > 1
    seeds = f"These are means over {len(found)} seeds." if several else "This is one seed, so trust it little."
    few = ""
    if _images(found) < FEW:
        few = ": too few to tell methods apart by accuracy alone, so cross-entropy chose" if by_loss else ": too few to be sure"
    return f"{seeds} Validation has {images} images{' for each' if several else ''}{few}."


def _costs(table: Table, shots: int | None, chosen: Candidate, found: Sequence[Candidate]) -> list[str]:
    """What it comes to on the test split, takes, and makes forget; and what would forget less."""
    if chosen.name == ZERO_SHOT:
        return []
    test, zero = table.test(chosen.name, shots), table.zero_shot()
    told = f"On test it scores {test}" + (f", zero-shot {zero:.3f}" if zero is not None else "")
    costs = f"it learns {chosen.parameters:,} parameters" + (f" in {duration(chosen.seconds)}" if chosen.name == found[0].name else "")
    lines = [f"{told}; {costs}."]
    if guards := table.guards(chosen.name, shots):
        changes = ", ".join(f"{name} {change.mean:+.3f}" for name, change in guards.items())
        lines.append(f"It changes the guards: {changes}" + ("." if chosen.holds else f", so that it keeps {chosen.kept:.0%}."))
    if not chosen.holds:
        holding = [one for one in found if one.holds and one.name != ZERO_SHOT]
        first = max(holding, key=lambda one: (one.validation.mean, -one.loss), default=None)
        best = f"Of what {KEEPS} {first.name} is the best on validation" if first else f"Nothing that was trained {KEEPS}"
        lines.append(f"{best} ({first.validation.mean:.3f}; on test {table.test(first.name, shots)})." if first else f"{best}.")
    return lines
