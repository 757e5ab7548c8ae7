"""What became of each class: right answers before and after, what was won and lost, and what it is taken for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers
from cliptune.metrics.classes import right_of
from cliptune.page.markup import Markup, bar, el, join, table
from cliptune.page.numbers import percent, points
from cliptune.page.pictures import Pictures
from cliptune.report.choosing import comparable
from cliptune.report.reading import RunRead

Counts = npt.NDArray[np.int64]
LISTED = 12  # classes in a list of those that won or lost most


@dataclass(frozen=True)
class ByClass:
    """Counts of each class, [C].

    Args:
        images: of the test split.
        before: right ones of the untouched model; None where it was not scored.
        after: right ones of the last model.
        won: images that are newly right; None as above.
        lost: images that are newly wrong.
        taken: the class that most of the others are taken for; -1 where all are right.
        times: how many are.
    """

    images: Counts
    before: Counts | None
    after: Counts
    won: Counts | None
    lost: Counts | None
    taken: Counts
    times: Counts


def by_class(before: ClassAnswers | None, after: ClassAnswers) -> ByClass:
    """Count by class; where images may have several, by the first of each."""
    label, good = _array(after.label), _array(right_of(after)).astype(bool)

    def count(wanted: npt.NDArray[np.bool_]) -> Counts:
        return np.bincount(label[wanted], minlength=after.classes)

    known = before is not None and comparable(before, after)
    was = _array(right_of(before)).astype(bool) if known and before is not None else None
    said, taken, times = _array(after.top[:, 0]), np.full(after.classes, -1), np.zeros(after.classes, dtype=np.int64)
    pairs, counts = np.unique(label[~good] * after.classes + said[~good], return_counts=True)
    for pair, n in sorted(zip(pairs.tolist(), counts.tolist(), strict=True), key=lambda one: one[1]):
        taken[pair // after.classes], times[pair // after.classes] = pair % after.classes, n
    return ByClass(
        count(np.ones(len(label), dtype=bool)),
        count(was) if was is not None else None,
        count(good),
        count(good & ~was) if was is not None else None,
        count(~good & was) if was is not None else None,
        taken,
        times,
    )


def _array(values: Tensor) -> npt.NDArray[np.int64]:
    return np.asarray(values.numpy()).astype(np.int64)


def classes(run: RunRead, pictures: Pictures) -> Markup | None:
    """The table of classes, those that won the most first; above it the extremes."""
    after = run.last.classes
    if after is None or not len(after):
        return None
    found = by_class(run.before.classes if run.last is run.after else None, after)
    several = " Images of several classes count for their first." if after.several is not None else ""
    shown = [label for label in range(after.classes) if found.images[label]]
    change = (found.after - found.before) / np.maximum(found.images, 1) if found.before is not None else np.zeros(after.classes)
    shown.sort(key=lambda label: (-change[label], found.after[label] / found.images[label]))
    trained = run.examples.train_counts if len(run.examples.train_counts) == after.classes else None
    head = ["class"] + (["zero-shot"] if found.before is not None else []) + ["adapted" if run.last is run.after else "zero-shot", ""]
    head += ["change", "answers"] if found.before is not None else []
    head += ["taken most for", "test images"] + (["in training"] if trained else [])
    rows = [_row(run, label, found, float(change[label]), trained) for label in shown]
    numeric = [i for i, name in enumerate(head) if name in ("test images", "in training", "zero-shot", "adapted", "change")]
    said = f"Those that won the most first; click a column's head to sort.{several}"
    return join([_extremes(found, change, shown), el("p", said, class_="pale"), table(head, rows, True, numeric, "find a class")])


def _extremes(found: ByClass, change: npt.NDArray[np.float64], shown: list[int]) -> Markup | None:
    """How many classes won and lost."""
    if found.before is None:
        return None
    up, down = sum(change[label] > 0 for label in shown), sum(change[label] < 0 for label in shown)
    return el("p", f"Of {len(shown):,} classes {up:,} won, {down:,} lost, and {len(shown) - up - down:,} are as before.")


def _row(run: RunRead, label: int, found: ByClass, change: float, trained: list[int] | None) -> list[object]:
    images = int(found.images[label])
    share, name = found.after[label] / images, run.examples.name
    cells: list[object] = [name(label)]
    was = found.before[label] / images if found.before is not None else None
    cells += [(was, percent(was, 0))] if was is not None else []
    cells += [(share, percent(share, 0)), (share, _change_bar(was, share))]
    if found.won is not None and found.lost is not None:
        won, lost = int(found.won[label]), int(found.lost[label])
        cells += [(change, el("b", points(change, 0))), (won - lost, f"{won:,} won, {lost:,} lost")]
    taken = f"{name(int(found.taken[label]))} ({percent(found.times[label] / images, 0)})" if found.times[label] else ""
    cells += [(found.times[label] / images, taken), (images, f"{images:,}")]
    return cells + ([(trained[label], f"{trained[label]:,}")] if trained else [])


def _change_bar(before: float | None, after: float) -> Markup:
    """A bar as long as the share that is right, on which what was won or lost is marked."""
    if before is None:
        return bar(after)
    low, high = sorted((before, after))
    style = "won" if after > before else "lost"
    inner = el("i", style=f"width:{100 * low:.1f}%"), el("u", style=f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%", class_=style)
    return el("span", inner, class_="bar")
