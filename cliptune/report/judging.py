"""A change and its interval as cells of a table, with a word for what they say."""

from collections.abc import Mapping
from typing import Any

from cliptune.page.markup import Markup, el, join
from cliptune.page.numbers import probability
from cliptune.report.names import Metric

STATES = {"zero_shot": "zero-shot", "adapted": "adapted"}
TONES = {"zero_shot": "t0", "adapted": "t1"}


def judged(one: Metric, value: float | None, change: Mapping[str, Any] | None, worse: str = "worse") -> list[object]:
    """Two cells: the change with its interval below, and better or worse where 0 is outside of that, else that it may be chance.

    Args:
        one: the metric, which says whether more is better.
        value: the change; None where one of the states was not scored.
        change: `low`, `high` and perhaps `p`; None where they are not known.
        worse: the word for a change to the worse.
    """
    if value is None:
        return ["", ""]
    shown = el("b", one.change(value))
    if not change:
        return [(value, shown), ""]
    up, down = change["low"] > 0, change["high"] < 0
    word, level = ("better", "good") if (up if one.more else down) else (worse, "stop") if up or down else ("may be chance", "")
    if change["low"] == change["high"] == 0:
        word = "as before"
    return [(value, with_interval(shown, one, change["low"], change["high"], change=True)), chip(word, level, change.get("p"))]


def with_interval(shown: object, one: Metric, low: float, high: float, change: bool = False) -> Markup:
    """A value with its interval below."""
    told = one.change if change else one.told
    return join([shown, el("br"), el("small", f"{told(low)} to {told(high)}")])


def chip(word: str, level: str = "", p: float | None = None) -> Markup:
    """A word in a box; p is told when one points at it."""
    return el("span", word, class_=f"chip {level}".strip(), data_tip=probability(p) if p is not None else None)
