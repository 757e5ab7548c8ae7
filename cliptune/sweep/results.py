"""What the cells of a sweep gave: read from their summaries, checked to be comparable, and as means over seeds."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cliptune.errors import TrainingError
from cliptune.metrics.names import higher
from cliptune.sweep.cells import Cell

BASELINE = "linear_probe_zero"  # knows no words
APART = 0.01  # of the width of all shots, between methods
METRICS = ("top1", "map", "recall")  # what cells are compared on, where the recipe monitors no metric of its own: the first there is


@dataclass(frozen=True)
class Result:
    """What is kept of a cell that has ended.

    Args:
        cell: which.
        folder: of its run.
        metric: what it is compared on.
        test: by `zero_shot` and `adapted`, where known.
        validation: likewise.
        images: of validation.
        seconds: of training, and of the whole run.
        parameters: that learned.
        memory: MB at most.
        train: images of training.
        classes: there are.
        data: what identifies the images that training saw, and the test split.
        guards: by name the metric that stands for a guard, before and after.
        losses: cross-entropy on validation by state, where there are classes.
    """

    cell: Cell
    folder: Path
    metric: str
    test: dict[str, float]
    validation: dict[str, float]
    images: int
    seconds: float
    total: float
    parameters: int
    memory: float
    train: int
    classes: int
    data: tuple[str, str]
    guards: dict[str, tuple[float, float]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Args:
        mean: of the values.
        std: sample standard deviation (n - 1); None for one value.
        n: how many values.
    """

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + (f" ± {self.std:.3f}" if self.std is not None else "")


def spread(values: Iterable[float]) -> Spread:
    """Mean and standard deviation.

    Args:
        values: one or more.
    """
    known = list(values)
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def result_of(cell: Cell) -> Result | None:
    """Read a cell's run; None where it has not ended.

    Raises:
        TrainingError: its summary is damaged, or measures nothing that cells are compared on.
    """
    folder, ended = cell.planned.folder()
    if folder is None or not ended:
        return None
    try:
        return _result(cell, folder, json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (KeyError, ValueError, StopIteration) as error:
        raise TrainingError(
            f"{folder}/summary.json is not read: {error!r}. Remove the folder, and the same command runs it again."
        ) from None


def _result(cell: Cell, folder: Path, summary: dict[str, Any]) -> Result:
    adapted, before = summary["adapted"], summary["zero_shot"]
    monitored = summary["best"]["monitor"].removeprefix("val/")  # or `score` or `balanced`, which the test split has not
    wanted = [name for name in (monitored, *METRICS) if higher(name)]
    metric = next(name for name in wanted if f"test/{name}" in adapted and f"val/{name}" in adapted)
    states = {"zero_shot": before, "adapted": adapted}
    counts = summary["counts"]
    return Result(
        cell,
        folder,
        metric,
        {name: state[f"test/{metric}"] for name, state in states.items() if f"test/{metric}" in state},
        {name: state[f"val/{metric}"] for name, state in states.items() if f"val/{metric}" in state},
        summary["evaluated"]["val"]["images"],
        summary["seconds"]["fit"],
        summary["seconds"]["total"],
        counts["parameters_learned"],
        summary["peak_memory_mb"],
        counts["train"],
        counts["classes"],
        (summary.get("few_shot") or f"all {summary['data']['fingerprint']}", summary["data"]["test_fingerprint"]),
        dict(_guards(summary.get("guard") or {})),
        {name: state["val/nll"] for name, state in states.items() if "val/nll" in state},
    )


def _guards(told: dict[str, Any]) -> Iterable[tuple[str, tuple[float, float]]]:
    for name, one in told.items():
        before, after = ((one.get(state) or {}).get(one["metric"]) for state in ("zero_shot", "adapted"))
        if before is not None and after is not None:
            yield name, (before, after)


def check_same_images(results: Sequence[Result]) -> None:
    """Refuse to compare methods that have seen different images.

    Raises:
        TrainingError: naming two cells that differ.
    """
    first: dict[Any, Result] = {}
    for one in results:
        seen = first.setdefault((one.cell.shots, one.cell.seed), one)
        tested = first.setdefault("test", one)
        for other, part, what in ((seen, 0, "trained"), (tested, 1, "was tested")):
            if other.data[part] != one.data[part]:
                raise TrainingError(
                    f"{one.folder} {what} on other images than {other.folder} ({one.data[part][:12]}, {other.data[part][:12]}), and they "
                    "cannot be compared: the data changed between them, or an entry of --methods changes it. Use another --output."
                )


class Table:
    """Means over seeds, by method and shots.

    Args:
        results: of cells that have ended; at least one.
        methods: names, in order.
        shots: asked for, in order.
    """

    def __init__(self, results: Sequence[Result], methods: Sequence[str], shots: Sequence[int | None]) -> None:
        self.results = list(results)
        self.metric = results[0].metric
        self.cells: dict[tuple[str, int | None], list[Result]] = {}
        for one in results:
            self.cells.setdefault((one.cell.method, one.cell.shots), []).append(one)
        self.methods = [name for name in methods if any(key[0] == name for key in self.cells)]
        self.shots = [count for count in shots if any(key[1] == count for key in self.cells)]
        self.seeds = sorted({one.cell.seed for one in results})
        self.classes = results[0].classes

    def at(self, method: str, shots: int | None) -> list[Result]:
        """The results of a method at a number of shots."""
        return self.cells.get((method, shots), [])

    def test(self, method: str, shots: int | None) -> Spread | None:
        """Its scores on the test split."""
        found = self.at(method, shots)
        return spread(one.test["adapted"] for one in found) if found else None

    @property
    def baseline(self) -> str | None:
        """The method that the others are held against: the probe that knows no words, or the first; None where there is one method."""
        return None if len(self.methods) < 2 else BASELINE if BASELINE in self.methods else self.methods[0]

    def above(self, method: str, shots: int | None) -> Spread | None:
        """How far its test scores are above the baseline's: of each seed, which gave both the same images, the difference."""
        base = {one.cell.seed: one.test["adapted"] for one in self.at(self.baseline or "", shots)}
        apart = [one.test["adapted"] - base[one.cell.seed] for one in self.at(method, shots) if one.cell.seed in base]
        return spread(apart) if apart and method != self.baseline else None

    def zero_shot(self, split: str = "test", shots: int | str | None = "any") -> float | None:
        """Of the untouched CLIP, over cells; None where no cell has measured it.

        Args:
            split: `test` or `validation`; of validation, few shots leave a few images only.
            shots: of which cells, where that matters.
        """
        found = [one for one in self.results if shots in ("any", one.cell.shots)]
        known = [getattr(one, split)["zero_shot"] for one in found if "zero_shot" in getattr(one, split)]
        return statistics.fmean(known) if known else None

    def place(self, shots: int | None) -> float:
        """Where a number of shots stands on an axis: images of each class, of all images the mean."""
        if shots is not None:
            return float(shots)
        mean = statistics.fmean(one.train / max(one.classes, 1) for one in self.results if one.cell.shots is None)
        return max(mean, 1.0)

    def beside(self, method: str, shots: int | None) -> float:
        """The same, a little to the side for each method, so that their points do not lie on one another."""
        places = [self.place(count) for count in self.shots]
        width = max(places) / min(places) if len(places) > 1 else 2.0
        aside = self.methods.index(method) - (len(self.methods) - 1) / 2
        return float(self.place(shots) * width ** (APART * aside))

    def guards(self, method: str, shots: int | None) -> dict[str, Spread]:
        """By guard, how its score changed."""
        found = self.at(method, shots)
        names = [name for name in (found[0].guards if found else {}) if all(name in one.guards for one in found)]
        return {name: spread(one.guards[name][1] - one.guards[name][0] for one in found) for name in names}

    def kept(self, method: str, shots: int | None) -> float | None:
        """The share of the untouched CLIP's score that is left on the guard where least is; None without guards."""
        found = self.at(method, shots)
        before, after = (
            {name: statistics.fmean(one.guards[name][i] for one in found) for name in self.guards(method, shots)} for i in (0, 1)
        )
        return min((after[name] / before[name] for name in before if before[name] > 0), default=None)


def standard_error(scores: Sequence[float], images: int) -> float:
    """How sure a mean over seeds is: by its spread over them, or by how few images it was measured on, whichever says less.

    Of a share of few images: Agresti and Coull 1998, "Approximate is better than 'exact' for interval estimation of binomial proportions".

    Args:
        scores: shares, of each seed.
        images: different ones, of all seeds together.
    """
    share = (min(max(statistics.fmean(scores), 0.0), 1.0) * images + 2) / (images + 4)  # or 3 of 3 would be certain
    by_images = math.sqrt(share * (1 - share) / (images + 4))
    return max(by_images, statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0)
