"""Which rows answered the same images, and whether they differ by more than chance on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cliptune.comparison.entries import Entry
from cliptune.comparison.significance import LEVEL, Counts, Floats, holm, mcnemar_exact
from cliptune.metrics.answers import Answers, ClassAnswers, RetrievalAnswers
from cliptune.metrics.bootstrap import changes_of
from cliptune.metrics.names import higher
from cliptune.uncertainty import resampled

RESAMPLES = 1000
EXACT = ("test/top1", "test/recall@1_image_to_text")  # an image is right or wrong, and nothing between
RETRIEVAL = ("recall", "median_rank", "map@")


@dataclass(frozen=True)
class Against:
    """A row compared with the reference on the same images.

    Args:
        change: of the metric, from the reference to the row.
        low: where its 95 % interval begins, by the paired bootstrap; None where the metric cannot be computed from what runs keep.
        high: where it ends.
        p: of a paired test, corrected for all rows.
    """

    change: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def differs(self) -> bool:
        """Whether this is more than chance."""
        return self.p is not None and self.p < LEVEL


@dataclass(frozen=True)
class Paired:
    """R rows that answered the same N images.

    Args:
        rows: best first.
        reference: that the others are compared with: the best of them.
        against: by the names of the others.
        part: what was asked: `classes` or `retrieval`.
        right: [R, N], whose best answer was right.
        won: [R, R], on how many images the first was right and the second was not.
        p: [R, R] of McNemar's test, corrected for all pairs.
    """

    rows: list[Entry]
    reference: Entry
    against: dict[str, Against]
    part: str
    right: NDArray[np.bool_]
    won: Counts
    p: Floats

    @property
    def images(self) -> int:
        """N."""
        return int(self.right.shape[1])

    @property
    def tested(self) -> bool:
        """Whether the metric itself could be tested."""
        return any(one.p is not None for one in self.against.values())


def pair(rows: Sequence[Entry], metric: str) -> tuple[Paired | None, list[str]]:
    """Compare rows on the images that they all answered.

    Args:
        rows: of the same test data, best first.
        metric: that decides which is best.

    Returns:
        The comparison, of those that can be compared; and what is to be said of the others.
    """
    notes = []
    without = [row.name for row in rows if row.kind != "seeds" and row.answers is None]
    if without:
        notes.append(f"not paired, since their answers were not kept (runs before that; cliptune test keeps them): {', '.join(without)}")
    if seeds := [row.name for row in rows if row.kind == "seeds"]:
        notes.append(f"not paired, since they are means over seeds: {', '.join(seeds)}; give single seeds' runs for that")
    kept = [row for row in rows if row.answers is not None and metric in row.metrics]
    part = _part(kept, metric)
    kept = [row for row in kept if getattr(row.answers, part) is not None]
    alike = _most_alike(kept, part)
    others = [row.name for row in kept if row not in alike]
    if others:
        notes.append(f"not paired, since they were tested on other images of the same data: {', '.join(others)}")
    if len(alike) < 2:
        return None, notes
    right = np.stack([_right(getattr(row.answers, part)) for row in alike])
    won = np.array([[int((mine & ~theirs).sum()) for theirs in right] for mine in right], dtype=np.int64)
    return Paired(alike, alike[0], _against(alike, metric, part, won), part, right, won, _all_pairs(won)), notes


def _part(rows: Sequence[Entry], metric: str) -> str:
    """What of the answers the metric is made of, or, of other splits' metrics, what most rows have."""
    if metric.startswith("test/"):
        return "retrieval" if metric.removeprefix("test/").startswith(RETRIEVAL) else "classes"
    return "classes" if any(row.answers is not None and row.answers.classes is not None for row in rows) else "retrieval"


def _most_alike(rows: Sequence[Entry], part: str) -> list[Entry]:
    """The most rows whose images, and what is right for them, are the same."""
    groups: list[list[Entry]] = []
    for row in rows:
        own = getattr(row.answers, part)
        for group in groups:
            if _same(getattr(group[0].answers, part), own):
                group.append(row)
                break
        else:
            groups.append([row])
    return max(groups, key=len, default=[])


def _same(one: ClassAnswers | RetrievalAnswers, other: ClassAnswers | RetrievalAnswers) -> bool:
    if not torch.equal(one.number, other.number):
        return False
    if isinstance(one, ClassAnswers) and isinstance(other, ClassAnswers):
        several = (one.several, other.several)
        equal = several[0] is several[1] or (all(s is not None for s in several) and torch.equal(*several))  # type: ignore[arg-type]
        return one.classes == other.classes and torch.equal(one.label, other.label) and equal
    return isinstance(one, RetrievalAnswers) and isinstance(other, RetrievalAnswers) and torch.equal(one.owner, other.owner)


def _right(answers: ClassAnswers | RetrievalAnswers) -> NDArray[np.bool_]:
    """[N]: whether the class that was said is one of the image's, or the text found first one of its texts."""
    if isinstance(answers, RetrievalAnswers):
        return (answers.image_rank == 0).numpy()
    if answers.several is not None:
        return answers.several.gather(1, answers.top[:, :1])[:, 0].bool().numpy()
    return (answers.top[:, 0] == answers.label).numpy()


def _against(rows: Sequence[Entry], metric: str, part: str, won: Counts) -> dict[str, Against]:
    """All others compared with the first."""
    name, first, others = metric.removeprefix("test/"), rows[0], list(enumerate(rows))[1:]
    drawn = {row.name: resampled(_only(row, part), RESAMPLES, 0, [name]) for row in rows} if metric.startswith("test/") else {}
    changes = {row.name: changes_of(drawn[first.name], drawn[row.name]).get(name) if drawn else None for _, row in others}
    p = [float("nan") if (found := changes[row.name]) is None else found.p for _, row in others]
    if metric in EXACT:
        p = [float(mcnemar_exact(won[i, 0], won[0, i])) for i, _ in others]
    against = {}
    for (_, row), adjusted in zip(others, holm(np.array(p)), strict=True):
        ends, change = changes[row.name], row.metrics[metric] - first.metrics[metric]
        low, high = (ends.low, ends.high) if ends is not None else (None, None)
        against[row.name] = Against(change, low, high, None if np.isnan(adjusted) else float(adjusted))
    return against


def _only(row: Entry, part: str) -> Answers:
    """The answers of one part, so that the other's metrics are not computed for nothing."""
    answers = row.answers
    assert answers is not None
    return Answers(answers.classes, None) if part == "classes" else Answers(None, answers.retrieval)


def _all_pairs(won: Counts) -> Floats:
    """[R, R], symmetric, 1 on the diagonal."""
    above = np.triu_indices(len(won), 1)
    p = np.ones(won.shape)
    p[above] = holm(mcnemar_exact(won[above], won.T[above]))
    return np.minimum(p, p.T)


def best_first(rows: Sequence[Entry], metric: str) -> list[Entry]:
    """Rows by the metric; those without it last."""
    sign = -1 if higher(metric) else 1
    return sorted(rows, key=lambda row: sign * row.metrics[metric] if metric in row.metrics else float("inf"))
