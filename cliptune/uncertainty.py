"""How sure the metrics of a pass are, and whether two states of a model differ on the same images: `metrics.bootstrap` over answers."""

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cliptune.measures.base import Measured
from cliptune.metrics.answers import Answers
from cliptune.metrics.bootstrap import Change, Resamples, Weighted, changes_of, intervals_of, resample
from cliptune.metrics.classes import weighted_class_metrics
from cliptune.metrics.retrieval import weighted_retrieval_metrics


def resampled(answers: Answers | Measured, resamples: int, seed: int, names: Collection[str] | None = None) -> Resamples:
    """All metrics, and what they would be of other images: these are drawn anew, each with all that belongs to it.

    Args:
        answers: to all questions of a pass or an extra measure.
        resamples: how many; the same images are drawn for the same number, seed and count of images.
        seed: of what is drawn.
        names: of the metrics of classes that are asked for; all where not given.
    """
    whole: dict[str, float] = {}
    drawn: dict[str, Tensor] = {}
    for weighted, count in _weighted(answers, names):
        found = resample(weighted, count, resamples, seed)
        whole.update(found.whole)
        drawn.update(found.drawn)
    return Resamples(whole, drawn)


def told_intervals(found: Resamples) -> dict[str, list[float]]:
    """[low, high] of each metric, as plain data."""
    return {name: [one.low, one.high] for name, one in intervals_of(found).items()}


def told_changes(before: Resamples, after: Resamples) -> dict[str, dict[str, float]]:
    """What changed from one state to the other on the same images, as plain data: see `metrics.bootstrap.Change`."""
    return {name: _plain(change) for name, change in changes_of(before, after).items()}


def _plain(change: Change) -> dict[str, float]:
    return {key: float(value) for key, value in change._asdict().items()}


def renamed(found: dict[str, Any], before: str = "", behind: str = "") -> dict[str, Any]:
    """The same under longer names."""
    return {f"{before}{name}{behind}": value for name, value in found.items()}


def _weighted(answers: Answers | Measured, names: Collection[str] | None) -> list[tuple[Weighted, int]]:
    if isinstance(answers, Measured):
        return [_of_items(name, items, answers.units.get(name)) for name, items in answers.items.items() if len(items)]
    made: list[tuple[Weighted, int]] = []
    if answers.classes is not None and len(answers.classes):
        made.append((partial(weighted_class_metrics, answers.classes, names=names), len(answers.classes)))
    if answers.retrieval is not None and len(answers.retrieval):
        made.append((partial(weighted_retrieval_metrics, answers.retrieval), len(answers.retrieval)))
    return made


def _of_items(name: str, items: Tensor, units: Tensor | None) -> tuple[Weighted, int]:
    """The weighted mean of items, of which those of one unit are drawn together; those that are not known do not count."""
    numbers = torch.arange(len(items)) if units is None else units.unique(return_inverse=True)[1]
    known = ~items.isnan()

    def weighted(weights: Tensor) -> dict[str, Tensor]:
        each = weights[:, numbers[known]].float()
        return {name: (each @ items[known].float()) / each.sum(dim=1)}

    return weighted, int(numbers.max()) + 1
