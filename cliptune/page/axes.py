"""An axis of a chart: which values it spans, where its ticks lie, and how they are told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cliptune.page.numbers import duration, percent, points, short

MOST = 6  # ticks, about
TIMES = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000)  # seconds, at which a scale of equal ratios has its ticks


@dataclass(frozen=True)
class Axis:
    """What runs along one side of a chart.

    Args:
        name: of the numbers.
        kind: a plain number, a share told in percent, a change of one told in points, or seconds.
        log: whether equal ratios are equally far apart; values must be above 0.
        low: where it begins; below all values where None.
        high: where it ends.
        ticks: where these are; at round numbers where None.
    """

    name: str
    kind: Literal["number", "share", "points", "seconds"] = "number"
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Sequence[float] | None = None


@dataclass(frozen=True)
class Scale:
    """An axis with the values on it."""

    axis: Axis
    low: float
    high: float
    ticks: list[float]

    def place(self, value: float) -> float:
        """Where a value lies, 0 to 1; what is beyond an end lies there."""
        low, high, value = (math.log10(v) if self.axis.log else v for v in (self.low, self.high, max(value, self.low)))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def told(self, tick: float) -> str:
        """A tick in words."""
        step = 0.0 if self.axis.log or len(self.ticks) < 2 else self.ticks[1] - self.ticks[0]
        if self.axis.kind == "share":
            return short(100 * tick, 100 * step) + "%"
        if self.axis.kind == "points":
            told = short(100 * tick, 100 * step).replace("-", "\N{MINUS SIGN}")
            return f"+{told}" if tick > 0 else told
        return duration(tick) if self.axis.kind == "seconds" and self.axis.log else short(tick, step)

    def exact(self, value: float) -> str:
        """A value in words, with its digits."""
        if self.axis.kind == "share":
            return percent(value)
        if self.axis.kind == "points":
            return points(value)
        return duration(value) if self.axis.kind == "seconds" else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def scale_of(axis: Axis, values: Sequence[float]) -> Scale:
    """The scale that shows all values, with ticks at round numbers or where the axis has them.

    Args:
        axis: where its ends are given, they stay.
        values: at least one, finite.
    """
    least, most = min(values), max(values)
    low, high = axis.low if axis.low is not None else least, axis.high if axis.high is not None else most
    if axis.log:
        return _log(axis, low, high)
    if high <= low:
        around = abs(low) * 0.1 or 0.5
        low, high = low - (around if axis.low is None else 0), low + around
    step = _step((high - low) / (MOST - 1))
    pad = 0.04 * (high - low)
    low = low if axis.low is not None else max(low - pad, 0.0) if least >= 0 else low - pad
    high = high if axis.high is not None else high + pad if axis.kind != "share" or most > 1 else min(high + pad, 1.0)
    if axis.ticks is not None:
        return Scale(axis, low, high, list(axis.ticks))
    first = math.ceil(low / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]
    return Scale(axis, low, high, ticks)


def _step(rough: float) -> float:
    """The round number next to it: 1, 2, 2.5 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(rough))
    return min((1, 2, 2.5, 5, 10), key=lambda lead: abs(lead * power - rough)) * power


def _log(axis: Axis, low: float, high: float) -> Scale:
    spread = max(math.log10(high / low), 0.3)
    low, high = (low / 10 ** (0.05 * spread) if axis.low is None else low), (high * 10 ** (0.05 * spread) if axis.high is None else high)
    if axis.ticks is not None:
        return Scale(axis, low, high, list(axis.ticks))
    leads = (1,) if spread > 2.2 else (1, 2, 5) if spread > 0.7 else (1, 1.5, 2, 3, 4, 5, 7)
    ticks = [lead * 10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for lead in leads]
    if axis.kind == "seconds" and spread > 1:
        ticks = list(TIMES)
    ticks = [tick for tick in ticks if low <= tick <= high]
    return Scale(axis, low, high, ticks[:: math.ceil(len(ticks) / (MOST + 1))] if ticks else [low, high])
