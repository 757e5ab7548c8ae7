"""How sure metrics are: percentile intervals and paired changes by the bootstrap (Efron and Tibshirani 1993, ch. 13), McNemar's exact test.

What is drawn anew are units, which may bring several answers each: an image brings its captions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.95
BIAS = 0.25  # standard errors, above which the resamples are moved back: Efron and Tibshirani 1993, sec. 10.3
HELD = 2**23  # weights that are drawn at a time, 64 MB
Weighted = Callable[[Tensor], dict[str, Tensor]]  # from weights [R, N] of units to a value of each metric for each of R resamples, or some


class Interval(NamedTuple):
    """Where a metric lies with a certainty of `LEVEL`, by so many resamples."""

    low: float
    high: float
    resamples: int


class Change(NamedTuple):
    """After less before, its interval, and how often a change so far from none would come by chance."""

    change: float
    low: float
    high: float
    p: float


class Flips(NamedTuple):
    """Answers that became right, that became wrong, and how often as uneven a split would come by chance."""

    won: int
    lost: int
    p: float


class Resamples(NamedTuple):
    """What metrics are, and what they would have been of other samples."""

    whole: dict[str, float]
    drawn: dict[str, Tensor]  # [R] each, or fewer


def resample(weighted: Weighted, count: int, resamples: int = 1000, seed: int = 0) -> Resamples:
    """Compute metrics of samples of as many units, drawn with repeats; the same ones for the same count, number and seed.

    Args:
        weighted: computes them from weights.
        count: units, N.
        resamples: R.
        seed: of what is drawn.
    """
    generator, parts = torch.Generator().manual_seed(seed), []
    for first in range(0, resamples, step := max(1, HELD // count)):
        drawn = torch.randint(count, (min(step, resamples - first), count), generator=generator)
        parts.append(weighted(torch.zeros(drawn.shape).scatter_add_(1, drawn, torch.ones(1, 1).expand(drawn.shape))))
    whole = weighted(torch.ones(1, count))
    return Resamples(
        {name: float(value) for name, value in whole.items()}, {name: torch.cat([part[name] for part in parts]).double() for name in whole}
    )


def intervals_of(found: Resamples) -> dict[str, Interval]:
    """The interval of each metric, of the resamples in which there is a value; none where there is in none.

    A sample that holds an image twice has ties and looks less calibrated than it is: average precision rises by some percent, and so
    does the calibration error. Where resamples are on average that far off the metric, they are moved back by it.
    """
    known = {name: values for name, drawn in found.drawn.items() if len(values := drawn[~drawn.isnan()])}
    return {name: _interval(values, found.whole[name]) for name, values in known.items()}


def changes_of(before: Resamples, after: Resamples) -> dict[str, Change]:
    """The change of each metric that both have, from the same resamples of both.

    `p` is twice the smaller share of resamples in which the change is not above, or not below, nothing; that of the sample itself is
    counted with them, so that it is never 0.
    """
    found = {}
    for name in before.drawn.keys() & after.drawn.keys():
        drawn, whole = after.drawn[name] - before.drawn[name], after.whole[name] - before.whole[name]
        drawn = drawn[~drawn.isnan()]
        if len(drawn):
            change = _unbiased(drawn, whole)
            rarer = min(int((change <= 0).sum()), int((change >= 0).sum()))
            p = min(1.0, 2 * (rarer + 1) / (len(change) + 1))
            found[name] = Change(whole, *_ends(change), p)
    return {name: found[name] for name in before.drawn if name in found}


def intervals(weighted: Weighted, count: int, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """The interval of each metric; see `resample`."""
    return intervals_of(resample(weighted, count, resamples, seed))


def paired(before: Weighted, after: Weighted, count: int, resamples: int = 1000, seed: int = 0) -> dict[str, Change]:
    """The change of each metric from one model to another on the same units; see `resample` and `changes_of`."""
    return changes_of(resample(before, count, resamples, seed), resample(after, count, resamples, seed))


def mcnemar(before: Tensor, after: Tensor) -> Flips:
    """Compare which answers are right, [N] each, by McNemar's exact test: of those that flipped, half should by chance have been won."""
    from scipy.stats import binomtest

    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return Flips(won, lost, float(binomtest(won, won + lost).pvalue) if won + lost else 1.0)


def _interval(values: Tensor, whole: float) -> Interval:
    low, high = _ends(_unbiased(values, whole))
    return Interval(max(low, 0.0) if bool((values >= 0).all()) else low, high, len(values))


def _unbiased(values: Tensor, whole: float) -> Tensor:
    bias, error = values.mean() - whole, values.std(correction=0)
    return values - bias if bool(bias.abs() > BIAS * error) else values


def _ends(values: Tensor) -> tuple[float, float]:
    low, high = values.quantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype)).tolist()
    return low, high
