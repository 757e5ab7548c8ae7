"""Lines and points as inline SVG, in the page's colours, with axes as HTML, so that letters keep their size at any width."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cliptune.page.axes import Axis, Scale, scale_of
from cliptune.page.markup import Markup, el

TONES = 8  # colours there are; further series take them again


@dataclass(frozen=True)
class Point:
    """A point of a series.

    Args:
        x: along.
        y: up; a line is broken where it is not a number.
        low: where its interval begins; none is drawn where None.
        high: where it ends.
        name: what is shown when one points at it; its numbers where empty.
        label: what is written beside it.
        chosen: whether a ring marks it.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    name: str = ""
    label: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class Series:
    """Points that belong together.

    Args:
        name: in the legend; none there where empty, or where each point has a label.
        points: in order.
        tone: its colour, 0 to 7.
        style: a line with its points, a line alone, a dashed line alone, or points alone.
    """

    name: str
    points: Sequence[Point]
    tone: int = 0
    style: Literal["both", "line", "dashed", "points"] = "both"


def chart(
    title: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    says: str = "",
    marks: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
) -> Markup | None:
    """A figure; None where there is no point to draw.

    Args:
        title: above it.
        series: what is drawn, the last on top.
        x: the axis along.
        y: the axis up.
        says: what is to be seen, for those who do not see it, and below the figure.
        marks: places along x with a dashed line and its name.
        diagonal: whether to draw where x and y are equal.
    """
    drawn = [point for one in series for point in one.points if _usable(point, x, y)]
    if not drawn:
        return None
    across = scale_of(x, [point.x for point in drawn] + [place for place, _ in marks])
    up = scale_of(y, [value for point in drawn for value in (point.y, point.low, point.high) if value is not None and math.isfinite(value)])
    key = hashlib.sha256(f"{title}{says}{[one.name for one in series]}".encode("utf-8", "replace")).hexdigest()[:10]
    inner: list[object] = [el("desc", says, id=f"d{key}") if says else None]
    inner += [_path(f"M0 {1000 - 1000 * up.place(tick):.1f}H1000", "grid") for tick in up.ticks]
    if diagonal:
        low, high = max(across.low, up.low), min(across.high, up.high)
        inner.append(_path(_line([(across.place(value), up.place(value)) for value in (low, high)]), "equal"))
    inner += [_path(f"M{1000 * across.place(place):.1f} 0V1000", "mark") for place, _ in marks]
    for one in series:
        inner += _draw(one, across, up)
    picture = el(
        "svg",
        inner,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        role="img",
        aria_label=title,
        aria_describedby=f"d{key}" if says else None,
    )
    named = [one for one in series if one.name and not all(point.label for point in one.points)]
    legend = [el("span", el("i", class_=f"key t{one.tone % TONES} {one.style}"), one.name) for one in named]
    return el(
        "figure",
        el("figcaption", title),
        el("div", legend, class_="legend") if len(named) > 1 else None,
        el("small", y.name, class_="yname"),
        el(
            "div",
            el("div", [el("span", up.told(tick), style=f"top:{100 - 100 * up.place(tick):.2f}%") for tick in up.ticks], **_ticks("ys", up)),
            el("div", picture, _names(marks, across), _labels(series, across, up), class_="area"),
            el("div", [el("span", across.told(tick), style=f"left:{100 * across.place(tick):.2f}%") for tick in across.ticks], class_="xs"),
            el("small", x.name, class_="xname"),
            class_="plot",
        ),
        el("p", el("small", says)) if says else None,
        class_="chart",
    )


def _usable(point: Point, x: Axis, y: Axis) -> bool:
    return all(math.isfinite(value) and (value > 0 or not axis.log) for value, axis in ((point.x, x), (point.y, y)))


def _ticks(name: str, scale: Scale) -> dict[str, str]:
    """The column of ticks is as wide as its longest."""
    return {"class_": name, "style": f"width:{max((len(scale.told(tick)) for tick in scale.ticks), default=0) + 1}ch"}


def _draw(one: Series, across: Scale, up: Scale) -> Iterator[Markup]:
    tone = f"t{one.tone % TONES}"
    runs: list[list[tuple[float, float]]] = [[]]
    for point in one.points:
        if _usable(point, across.axis, up.axis):
            runs[-1].append((across.place(point.x), up.place(point.y)))
        else:
            runs.append([])
    if one.style != "points":
        yield _path("".join(_line(run) for run in runs if len(run) > 1), f"line {tone} {one.style}")
    seen = [point for point in one.points if _usable(point, across.axis, up.axis)]
    for point in seen:
        if point.low is not None and point.high is not None and math.isfinite(point.low) and math.isfinite(point.high):
            ends = [(across.place(point.x), up.place(value)) for value in (point.low, point.high)]
            yield _path(_line(ends), f"interval {tone}")
    for point in seen:
        place = f"M{1000 * across.place(point.x):.1f} {1000 - 1000 * up.place(point.y):.1f}h.1"
        if point.chosen:
            yield _path(place, f"ring {tone}")
            yield _path(place, "hole")
        tip = point.name or f"{one.name + ': ' if one.name else ''}{across.exact(point.x)}, {up.exact(point.y)}"
        yield _path(place, f"point {tone}" if one.style in ("both", "points") or point.chosen else "touch", tip)


def _line(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{1000 * x:.1f} {1000 - 1000 * y:.1f}" for x, y in places)


def _path(line: str, style: str, tip: str | None = None) -> Markup:
    return el("path", d=line, class_=style, data_tip=tip)


def _names(marks: Sequence[tuple[float, str]], across: Scale) -> list[Markup]:
    return [
        el("em", name, class_="left" if across.place(place) > 0.5 else None, style=f"left:{100 * across.place(place):.2f}%")
        for place, name in marks
    ]


def _labels(series: Sequence[Series], across: Scale, up: Scale) -> list[Markup]:
    """Words beside points, moved down where they would stand on one another."""
    found = [point for one in series for point in one.points if point.label and _usable(point, across.axis, up.axis)]
    taken: list[tuple[float, float, float]] = []
    made = []
    for point in sorted(found, key=lambda point: -point.y):
        x, y, room = across.place(point.x), 1 - up.place(point.y), min(0.03 + 0.02 * len(point.label), 0.3)
        while any(abs(x - a) < max(room, other) and abs(y - b) < 0.07 for a, b, other in taken):
            y += 0.02
        taken.append((x, y, room))
        made.append(el("span", point.label, class_="label left" if x > 0.6 else "label", style=f"left:{100 * x:.2f}%;top:{100 * y:.2f}%"))
    return made
