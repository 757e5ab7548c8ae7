"""How sure a share of right answers is."""

from math import sqrt

Z95 = 1.959964  # of the normal distribution, two-sided


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent answers (Wilson 1927).

    Args:
        share: in 0..1.
        count: 1 or more.

    Returns:
        Its least and greatest value.
    """
    middle = share + Z95**2 / (2 * count)
    half = Z95 * sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    whole = 1 + Z95**2 / count
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)
