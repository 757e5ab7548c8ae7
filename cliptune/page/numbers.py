"""Numbers as people read them."""

import math


def percent(value: float, digits: int = 1) -> str:
    """A share: 0.824 is 82.4%."""
    return f"{100 * value:.{digits}f}%" if math.isfinite(value) else "unknown"


def points(change: float, digits: int = 1) -> str:
    """A change of a share, in percentage points, with its sign: 0.031 is +3.1."""
    told = f"{100 * change:+.{digits}f}"
    return (told[1:] if not float(told) else told.replace("-", "\N{MINUS SIGN}")) if math.isfinite(change) else "unknown"


def signed(change: float, digits: int = 3) -> str:
    """A change of any other number, with its sign."""
    told = f"{change:+.{digits}f}"
    return (told[1:] if not float(told) else told.replace("-", "\N{MINUS SIGN}")) if math.isfinite(change) else "unknown"


def probability(p: float) -> str:
    """Of a test: small ones are named by what they are below."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def short(value: float, step: float = 0.0) -> str:
    """Any number in a few letters: 151,000,000 is 151M.

    Args:
        value: the number.
        step: between neighbours on a scale, which must be told apart.
    """
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit and (unit > 1e3 or abs(value) >= 1e4 or step >= 1e3):
            return f"{_decimal(value / unit, step / unit)}{name}"
    return _decimal(value, step)


def _decimal(value: float, step: float) -> str:
    if step > 0:
        return f"{value:,.{min(max(math.ceil(-math.log10(step) - 1e-9), 0) + (_finer(step)), 12)}f}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _finer(step: float) -> bool:
    """Whether a step such as 2.5 needs a digit more than its size."""
    lead = step / 10 ** math.floor(math.log10(step) + 1e-9)
    return step < 10 and abs(lead - round(lead)) > 1e-6
