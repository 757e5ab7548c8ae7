"""What zero-shot says of classes: how often it is right with each, what it takes each for, and how sure these numbers are."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cliptune.export.intervals import wilson

PAIRS = 50  # confusions that are listed
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassScore:
    """One class in the sample.

    Args:
        name: as it stands in texts.
        images: of the class.
        right: of these, how many zero-shot calls so.
        low: of the 95 % interval of the accuracy.
        high: likewise.
        said: images of any class that zero-shot calls so.
        share: of all labelled rows, not of the sample.
        confused_with: what it takes this class for most, beside itself; "" where it never errs.
        confused: how often.
    """

    name: str
    images: int
    right: int
    low: float
    high: float
    said: int
    share: float
    confused_with: str = ""
    confused: int = 0

    @property
    def accuracy(self) -> float:
        """The share of the class's images that is called right."""
        return self.right / self.images


@dataclass(frozen=True)
class Confusion:
    """A class that is taken for another: `count` of the `images` of `truth` are called `said`."""

    truth: str
    said: str
    count: int
    images: int


@dataclass
class ClassScores:
    """All classes.

    Args:
        classes: those with an image in the sample, in the order of their numbers.
        pairs: confusions, first those whose share of their class is for certain the greatest.
        names: how many classes zero-shot chose from.
        top1: right answers among all rows, each class by its share of them.
        low: of its 95 % interval.
        high: likewise.
        per_class: the mean of the classes' accuracies, in which rare classes count as much.
        largest: the share of the most frequent class, which a model that always says it would have right.
    """

    classes: list[ClassScore] = field(default_factory=list)
    pairs: list[Confusion] = field(default_factory=list)
    names: int = 0
    top1: float = 0.0
    low: float = 0.0
    high: float = 1.0
    per_class: float = 0.0
    largest: float = 0.0

    @property
    def chance(self) -> float:
        """What guessing has right of each class."""
        return 1 / max(self.names, 1)

    @property
    def skill(self) -> float:
        """How far above guessing `per_class` is: 0 for guessing, 1 for never wrong (Cohen 1960's kappa for classes of one size)."""
        return (self.per_class - self.chance) / (1 - self.chance) if self.names > 1 else 0.0


def score_classes(names: list[str], truth: Numbers, said: Numbers, right: npt.NDArray[np.bool_], counts: list[int]) -> ClassScores:
    """Score the answers for a sample.

    A sample has equally many images of each class, as far as there are: `top1` weighs each class by its share of all rows, and its
    interval is that of as many independent answers as such weights leave (Kish 1965, sec. 11.7).

    Args:
        names: of all classes.
        truth: [N], the images' classes.
        said: [N], the answers.
        right: [N], whether each is right; an image with several labels may be called by any of them.
        counts: rows of each class, of which the sample was drawn.
    """
    if not len(truth):
        return ClassScores(names=len(names))
    images, seen = np.bincount(truth, minlength=len(names)), np.unique(truth)
    hits, calls = np.bincount(truth, right, minlength=len(names)), np.bincount(said, minlength=len(names))
    whole = sum(counts[i] for i in seen)
    share = {int(i): counts[i] / whole for i in seen}
    wrong: dict[int, list[tuple[int, int]]] = {}
    for i, (a, b) in enumerate(zip(truth.tolist(), said.tolist(), strict=True)):
        if not right[i]:
            wrong.setdefault(a, []).append((b, i))
    confusions = [Confusion(names[a], names[b], n, int(images[a])) for a, others in wrong.items() for b, n in _counted(others)]
    most = {a: _counted(others)[0] for a, others in wrong.items()}
    classes = []
    for i in map(int, seen):
        low, high = wilson(hits[i] / images[i], int(images[i]))
        other, count = (names[most[i][0]], most[i][1]) if i in most else ("", 0)
        classes.append(ClassScore(names[i], int(images[i]), int(hits[i]), low, high, int(calls[i]), share[i], other, count))
    top1 = sum(one.share * one.accuracy for one in classes)
    low, high = wilson(min(top1, 1.0), max(round(1 / sum(one.share**2 / one.images for one in classes)), 1))
    per_class = float(np.mean([one.accuracy for one in classes]))
    confusions.sort(key=lambda one: (-wilson(one.count / one.images, one.images)[0], one.truth, one.said))  # one of one is no proof
    return ClassScores(classes, confusions[:PAIRS], len(names), top1, low, high, per_class, max(share.values()))


def _counted(others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Classes with how often they are said, the most frequent first."""
    values, counts = np.unique([b for b, _ in others], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(values[i]), int(counts[i])) for i in order]
