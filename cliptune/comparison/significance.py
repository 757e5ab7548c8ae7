"""Exact paired tests, many at once, and their correction for how many they are."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

LEVEL = 0.05  # below it a difference is not taken for chance

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


def mcnemar_exact(won: Counts, lost: Counts) -> Floats:
    """McNemar's exact test, two-sided: whether those who differ do so one way more often than a fair coin would fall.

    Args:
        won: how often only the first was right, of any shape.
        lost: how often only the second was.

    Returns:
        p, of the same shape; 1 where they never differ.
    """
    return np.minimum(1.0, 2 * binom.cdf(np.minimum(won, lost), won + lost, 0.5))


def holm(p: Floats) -> Floats:
    """Correct for several tests, so that one false alarm among all of them has the stated probability (Holm 1979).

    Args:
        p: [n]; what is not a number was not tested, and does not count.

    Returns:
        [n], adjusted: to be compared with the level itself.
    """
    adjusted = np.array(p, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(adjusted))
    order = tested[np.argsort(adjusted[tested], kind="stable")]
    steps = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted
