"""What is reported of a model's choice among classes.

torchmetrics has all of these, but for images that count once each; a bootstrap's resamples are weights, and the value and its interval
should be one computation. Tests hold it against torchmetrics and scikit-learn.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from cliptune.metrics.answers import TOP, ClassAnswers
from cliptune.metrics.areas import areas, areas_of
from cliptune.metrics.calibration import BINS, LEAST, bins_of
from cliptune.metrics.weighted import by_group

AREAS = ("auroc", "map")
HELD = 2**24  # numbers of a resample's sums at a time, 128 MB
RESAMPLES, NUMBERS = 1000, 4e10  # of so many resamples those are taken for the areas that come to so many weights: see `area_resamples`


def class_metrics(answers: ClassAnswers, names: Collection[str] | None = None) -> dict[str, float]:
    """The metrics by name, nothing where there are no answers; see `weighted_class_metrics`."""
    if not len(answers):
        return {}
    whole = weighted_class_metrics(answers, torch.ones(1, len(answers), dtype=torch.float64), names)
    return {name: float(value) for name, value in whole.items()}


def weighted_class_metrics(answers: ClassAnswers, weights: Tensor, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Metrics where each image counts some number of times.

    - `top1`, and `top5` where there are more classes: the share of images whose class is the best, or among the five best ones.
    - `mean_per_class`: the mean of the classes' own top1; `macro_f1`: of their F1. Both over the classes that images are of.
    - `auroc`, `map`: the mean of each class's area under its ROC and its average precision, over the classes that some images are of
      and others are not. Left out where probabilities were not kept; of fewer resamples where these cost most, see `area_resamples`.
    - `ece`: the expected calibration error of the best class, in 15 bins; `nll`: the mean negative log-likelihood of the labels.

    Where images may have several classes these are `top1`, the share whose best class is one of theirs, `auroc` and `map`.

    Args:
        answers: of N images.
        weights: [R, N].
        names: those that are asked for; all where not given.

    Returns:
        [R] each.
    """
    parts = [_weighted(answers, part, names) for part in weights.split(max(1, HELD // max(len(answers), answers.classes)))]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def area_resamples(answers: ClassAnswers, resamples: int) -> int:
    """How many of the resamples `auroc` and `map` are computed for: all, but for some 40 million probabilities and more."""
    return -(-resamples * min(len(answers) * answers.classes * RESAMPLES, int(NUMBERS)) // (len(answers) * answers.classes * RESAMPLES))


def _weighted(answers: ClassAnswers, weights: Tensor, names: Collection[str] | None) -> dict[str, Tensor]:
    def asked(*some: str) -> bool:
        return names is None or any(name in names for name in some)

    found: dict[str, Tensor] = {}
    each = weights.double().T.contiguous()  # [N, R]
    if asked("top1"):
        found["top1"] = _mean(right_of(answers), each)
    if answers.several is None:
        if asked("top5") and answers.classes > TOP:
            found["top5"] = _mean((answers.top == answers.label[:, None]).any(dim=1), each)
        if asked("mean_per_class", "macro_f1"):
            found |= _macro(answers, each)
    if answers.probabilities is not None and asked(*AREAS):
        few = weights[: area_resamples(answers, len(weights))]
        few = (few if few.is_floating_point() else few.float()).T.contiguous()  # float32 will do: counts are exact in it
        found |= dict(zip(AREAS, areas(answers.probabilities, answers.label, answers.several, few), strict=True))
    if answers.several is None:
        if asked("ece"):
            gap = answers.top_probability[:, 0].double() - right_of(answers).double()
            found["ece"] = by_group(bins_of(answers.top_probability[:, 0]), BINS, each, value=gap).abs().sum(dim=0) / each.sum(dim=0)
        if asked("nll"):
            found["nll"] = _mean(-answers.label_probability.double().clamp(min=LEAST).log(), each)
    return {name: value for name, value in found.items() if asked(name)}


def _mean(value: Tensor, weights: Tensor) -> Tensor:
    return value.double() @ weights / weights.sum(dim=0)


def _macro(answers: ClassAnswers, weights: Tensor) -> dict[str, Tensor]:
    images = by_group(answers.label, answers.classes, weights)
    said = by_group(answers.top[:, 0], answers.classes, weights)
    right = by_group(answers.label, answers.classes, weights, value=right_of(answers))
    there = images > 0
    recall, f1 = right / images.clamp(min=1), 2 * right / (images + said).clamp(min=1)
    return {"mean_per_class": recall.sum(dim=0) / there.sum(dim=0), "macro_f1": f1.sum(dim=0) / there.sum(dim=0)}


def right_of(answers: ClassAnswers) -> Tensor:
    """[N], whether the best class is the image's, or one of these."""
    best = answers.top[:, 0]
    return best == answers.label if answers.several is None else answers.several.gather(1, best[:, None])[:, 0]


@dataclass
class PerClass:
    """A number for each of C classes; not a number where there is nothing to divide by.

    Args:
        images: that are of it.
        said: for how many it was the best class.
        right: of those, the ones that are of it.
        average_precision: of it against the others, where probabilities were kept.
    """

    images: Tensor
    said: Tensor
    right: Tensor
    average_precision: Tensor | None

    @property
    def recall(self) -> Tensor:
        """The share of its images for which it was said."""
        return self.right / self.images

    @property
    def precision(self) -> Tensor:
        """The share of its answers that are right."""
        return self.right / self.said

    @property
    def f1(self) -> Tensor:
        """The harmonic mean of both."""
        return 2 * self.right / (self.images + self.said)


def per_class(answers: ClassAnswers) -> PerClass:
    """What became of each class."""
    best, right = answers.top[:, 0], right_of(answers)
    of = torch.nn.functional.one_hot(answers.label, answers.classes).bool() if answers.several is None else answers.several
    precision = None
    if answers.probabilities is not None:
        one = torch.ones(len(answers), 1, dtype=torch.float64)
        columns = [areas_of(answers.probabilities[:, c].contiguous(), of[:, c].nonzero()[:, 0], one)[1] for c in range(answers.classes)]
        precision = torch.cat(columns)
    said, hits = (torch.bincount(best[part], minlength=answers.classes) for part in (slice(None), right))
    return PerClass(of.sum(dim=0), said, hits, precision)


def confusion(answers: ClassAnswers) -> Tensor:
    """[C, C], how many images of each class (row) were said to be of each (column)."""
    pairs = answers.label * answers.classes + answers.top[:, 0]
    return torch.bincount(pairs, minlength=answers.classes**2).view(answers.classes, answers.classes)
