"""What was won on the target against what was lost on the guards, and the curve between the untouched and the adapted weights."""

from collections.abc import Sequence
from typing import Any

from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import points
from cliptune.page.pictures import Pictures
from cliptune.report.judging import chip, judged
from cliptune.report.names import metric
from cliptune.report.reading import RunRead

TARGET = 1  # the colour of what was to be learned; guards have the next ones


def forgetting(run: RunRead, pictures: Pictures) -> Markup | None:
    """Guards before and after, and the curve over alpha."""
    curve, guards = run.part("curve"), run.part("guard")
    drawn = [one for one in (_curve(curve), _trade(curve)) if one is not None] if curve.get("shares") else []
    if not drawn and not guards:
        return None
    return join([el("p", _said(curve, bool(guards)), class_="pale"), el("div", drawn, class_="charts") if drawn else None, _guards(guards)])


def _said(curve: dict[str, Any], guards: bool) -> str:
    said = ["A guard is data that the model was not adapted to: what falls there was forgotten."] if guards else []
    if curve.get("shares"):
        counts = ", ".join(f"{count:,} of {name}" for name, count in (curve.get("images") or {}).items())
        said.append(
            "Alpha is the share of what was learned that is kept: 0 is the untouched model, 1 the adapted one (WiSE-FT)."
            + (f" Measured on {counts} images; the test split has no part in it." if counts else "")
        )
    if curve.get("chosen") is not None:
        said.append(f"Chosen: alpha {curve['chosen']:g}" + (f", by {curve['rule']}." if curve.get("rule") else "."))
    return " ".join(said)


def _curve(curve: dict[str, Any]) -> Markup | None:
    shares, chosen, monitor = curve["shares"], curve.get("chosen"), metric(str(curve.get("monitor", "top1")))
    series = [_over(shares, curve.get("validation") or [], f"target: {monitor.name} on validation", TARGET, chosen)]
    for i, (name, values) in enumerate((curve.get("guards") or {}).items()):
        series.append(_over(shares, values, f"guard {name}", TARGET + 1 + i, chosen))
    marks = [(float(chosen), f"alpha {chosen:g}")] if chosen is not None else []
    return chart("Between untouched and adapted", series, Axis("alpha", low=0, high=1), Axis("score", "share"), marks=marks)


def _over(shares: Sequence[float], values: Sequence[float], name: str, tone: int, chosen: float | None) -> Series:
    return Series(name, [Point(s, v, chosen=s == chosen) for s, v in zip(shares, values, strict=False)], tone)


def _trade(curve: dict[str, Any]) -> Markup | None:
    """Gain upwards, what is left on each guard along; each point is an alpha."""
    shares, target, guards = curve["shares"], curve.get("validation") or [], curve.get("guards") or {}
    if not guards or len(target) != len(shares):
        return None
    series = []
    for i, (name, values) in enumerate(guards.items()):
        found = [
            Point(
                v - values[0],
                t - target[0],
                name=f"alpha {s:g}: target {points(t - target[0])}, {name} {points(v - values[0])}",
                chosen=s == curve.get("chosen"),
            )
            for s, t, v in zip(shares, target, values, strict=False)
        ]
        series.append(Series(f"guard {name}", found, TARGET + 1 + i))
    says = "Up is won, left is lost; the best place is the upper right corner."
    return chart(
        "Gain against forgetting",
        series,
        Axis("change on the guard, in points", "points"),
        Axis("change on the target, in points", "points"),
        says,
    )


def _guards(guards: dict[str, Any]) -> Markup | None:
    rows = []
    for name, guard in guards.items():
        one = metric(str(guard.get("metric", "top1")))
        before, after = guard.get("zero_shot", {}).get(one.key), guard.get("adapted", {}).get(one.key)
        change = guard.get("changes", {}).get(one.key, {})
        moved = after - before if before is not None and after is not None else None
        sure = [one.change(0.0), chip("as before")] if guard.get("unchanged") else judged(one, moved, change, "forgotten")
        rows.append(
            [
                el("span", name, [el("br"), el("small", guard["path"])] if guard.get("path") else None),
                f"{guard.get('images', 0):,}",
                one.name,
                one.told(before) if before is not None else "",
                one.told(after) if after is not None else "",
                *sure,
            ]
        )
    head = ("guard", "images", "metric", "zero-shot", "adapted", "change", "")
    return table(head, rows, sortable=True, numeric=(1, 3, 4, 5)) if rows else None
