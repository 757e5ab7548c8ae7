"""How numbers are spread, drawn for the page."""

from collections.abc import Sequence
from itertools import pairwise

from cliptune.doctor.places import Spread
from cliptune.page.markup import Markup, el


def histogram(spread: Spread, title: str, unit: str = "", mark: float | None = None, mark_name: str = "") -> Markup | None:
    """How numbers are spread, as columns; with a line at `mark`."""
    if not spread.counts or not spread.quantiles:
        return None
    if spread.quantiles[0] == spread.quantiles[-1]:
        return el("figure", el("figcaption", title), el("p", f"all {_n(spread.median)}{unit}"))
    most, edges = max(spread.counts), spread.edges
    columns = [
        el("i", style=f"height:{100 * count / most:.1f}%" if count else "height:0", title=f"{_n(a)} to {_n(b)}{unit}: {count:,}")
        for count, a, b in zip(spread.counts, edges, edges[1:], strict=False)
    ]
    line = None
    if mark is not None and edges[0] <= mark <= edges[-1]:
        line = el("b", el("em", mark_name), style=f"left:{_place(mark, edges):.2f}%")
    ends = el("div", el("span", _n(edges[0])), el("span", f"median {_n(spread.median)}{unit}"), el("span", _n(edges[-1])), class_="ends")
    return el("figure", el("figcaption", title), el("div", columns, line, class_="hist"), ends)


def _place(value: float, edges: Sequence[float]) -> float:
    """Where a value lies among bins of equal drawn width, in percent."""
    for i, (a, b) in enumerate(pairwise(edges)):
        if a <= value <= b:
            return 100 * (i + (value - a) / max(b - a, 1e-12)) / (len(edges) - 1)
    return 0.0


def _n(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.1f}M"
    if value >= 1e4:
        return f"{value / 1e3:,.0f}k"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
