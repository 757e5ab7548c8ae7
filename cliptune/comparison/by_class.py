"""Who wins on which class: accuracy of each row on each class's images, with exact paired tests."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cliptune.comparison.pairing import Paired
from cliptune.comparison.significance import LEVEL, Counts, Floats, holm, mcnemar_exact
from cliptune.metrics.answers import ClassAnswers

MOST = 2**25  # tests of all pairs on all classes
Where = dict[tuple[int, int], list[int]]  # by two rows, the classes on which the first is better for certain, most certain first


@dataclass(frozen=True)
class ByClass:
    """R rows on C classes.

    Args:
        names: of the classes.
        images: [C], of each.
        accuracy: [R, C], the share of its images that are right; nan for a class without any.
        won: [R, C], images that the row has right and the reference has not.
        lost: [R, C], the other way round.
        p: [R, C], of McNemar's exact test against the reference, corrected for all classes; nan where nothing was tested.
        better: for each pair of rows.
    """

    names: list[str]
    images: Counts
    accuracy: Floats
    won: Counts
    lost: Counts
    p: Floats
    better: Where

    def winners(self, number: int) -> list[int]:
        """The rows that are best on a class."""
        own = self.accuracy[:, number]
        return [] if np.isnan(own).any() else [int(i) for i in np.flatnonzero(own == own.max())]

    def mark(self, row: int, number: int) -> int:
        """1 where a row is better than the reference on a class for certain, -1 where it is worse, else 0."""
        return int(np.sign(self.won[row, number] - self.lost[row, number])) if self.p[row, number] < LEVEL else 0


def by_class(paired: Paired) -> ByClass | None:
    """Compare rows class by class; None where there are no classes."""
    answers = paired.rows[0].answers
    if paired.part != "classes" or answers is None or answers.classes is None:
        return None
    said, rows, first = answers.classes, paired.right, paired.right[0]
    images = _per_class(np.ones(paired.images, dtype=bool), said)
    right = np.stack([_per_class(mine, said) for mine in rows])
    accuracy = np.where(images > 0, right / np.maximum(images, 1), np.nan)
    won = np.stack([_per_class(mine & ~first, said) for mine in rows])
    lost = np.stack([_per_class(first & ~mine, said) for mine in rows])
    p = np.stack([_tested(up, down, images) for up, down in zip(won, lost, strict=True)])
    better: Where = {}
    if len(rows) ** 2 * said.classes < MOST:
        for i in range(len(rows)):
            for j in range(i):
                _note(better, i, j, paired, said, images)
    names = paired.rows[0].class_names
    told = [names[i] if i < len(names) else f"class {i}" for i in range(said.classes)]
    return ByClass(told, images, accuracy, won, lost, p, better)


def _note(better: Where, i: int, j: int, paired: Paired, said: ClassAnswers, images: Counts) -> None:
    """Enter the classes on which two rows differ."""
    mine, theirs = paired.right[i], paired.right[j]
    won, lost = _per_class(mine & ~theirs, said), _per_class(theirs & ~mine, said)
    p = _tested(won, lost, images)
    certain = [int(c) for c in np.argsort(p, kind="stable") if p[c] < LEVEL]
    better[i, j] = [c for c in certain if won[c] > lost[c]]
    better[j, i] = [c for c in certain if won[c] < lost[c]]


def _tested(won: Counts, lost: Counts, images: Counts) -> Floats:
    return holm(np.where(images > 0, mcnemar_exact(won, lost), np.nan))


def _per_class(chosen: NDArray[np.bool_], said: ClassAnswers) -> Counts:
    """[C]: how many of the chosen images are of each class."""
    if said.several is not None:
        return said.several[torch.from_numpy(chosen)].sum(dim=0).numpy().astype(np.int64)
    return np.bincount(said.label.numpy()[chosen], minlength=said.classes).astype(np.int64)
