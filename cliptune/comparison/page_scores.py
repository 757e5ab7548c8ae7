"""The page's tables of scores, costs and settings, and the charts of one against the other."""

from collections.abc import Callable, Sequence

from cliptune.comparison.comparing import Comparison
from cliptune.comparison.entries import Entry
from cliptune.comparison.names import is_share, short
from cliptune.comparison.reading import Forgotten
from cliptune.comparison.said import duration, learned, memory, part_of, tested
from cliptune.comparison.settings import differing
from cliptune.comparison.significance import LEVEL
from cliptune.metrics.names import higher
from cliptune.page.axes import Axis
from cliptune.page.charts import TONES, Point, Series, chart
from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import percent, points, probability, signed

LABELS = 8  # rows that are named in charts; of more the numbers of the table stand there
LETTERS = 22  # of a name in a chart
KEYS = 80  # of configs


def number(value: float, metric: str) -> str:
    """A value: a share in percent, anything else as it is."""
    return percent(value) if is_share(metric) else f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def changed(change: float, metric: str) -> str:
    """A change: of a share in points."""
    return points(change) if is_share(metric) else signed(change)


def good(value: bool, text: str) -> Markup:
    """Words that are in favour or against."""
    return el("b", text, style=f"color:var(--{'good' if value else 'stop'})")


def scores(found: Comparison) -> Markup:
    """All rows, with intervals, the paired test, and what was forgotten."""
    guards = list(dict.fromkeys(name for row in found.rows for name in row.guards))
    tests = found.paired is not None
    head = ["run", short(found.metric), *(["change", "p"] if tests else []), *map(short, found.beside)]
    head += [f"guard {name}" if len(guards) > 1 else f"guard: {name}" for name in guards]
    rows = []
    for i, row in enumerate(found.rows, 1):
        against = [_change(found, row), _p(found, row)] if tests else []
        inner = [_metric(row, metric) for metric in (found.metric, *found.beside)]
        rows.append([(i, _name(found, i, row)), inner[0], *against, *inner[1:], *(_guard(row.guards.get(name)) for name in guards)])
    grid = table(head, rows, sortable=True, numeric=range(1, len(head)))
    return join([el("div", grid, class_="pinned"), _explained(found, guards)])


def placed(place: int, name: str) -> Markup:
    """A row's name, with its place before it."""
    return el("div", el("small", f"{place} "), name, style="min-width:min(11rem,36vw)")


def _name(found: Comparison, place: int, row: Entry) -> Markup:
    chips = []
    if row is found.best:
        chips.append(el("span", "best", class_="chip set"))
    if row in found.as_good():
        chips.append(el("span", "may be as good", class_="chip"))
    if row not in found.comparable:
        chips.append(el("span", "other test data", class_="chip stop"))
    if row.kind == "seeds":
        chips.append(el("span", f"mean of {row.seeds} seeds", class_="chip"))
    return join([placed(place, row.name), chips])


def _metric(row: Entry, metric: str) -> object:
    value = row.metrics.get(metric)
    if value is None:
        return ("nan", "")
    low, high = row.intervals.get(metric, (None, None))
    told = f"{number(low, metric)} to {number(high, metric)}" if low is not None and high is not None else ""
    if metric in row.spreads:
        told = (
            f"\N{PLUS-MINUS SIGN} {100 * row.spreads[metric]:.1f}" if is_share(metric) else f"\N{PLUS-MINUS SIGN} {row.spreads[metric]:.3f}"
        )
    return (value, join([el("div", number(value, metric)), el("small", told)]))


def _change(found: Comparison, row: Entry) -> object:
    one = found.against(row)
    if one is None:
        return ("nan", "")
    told = changed(one.change, found.metric)
    shown = good((one.change > 0) == higher(found.metric), told) if one.differs else told
    ends = _ends(one.low, one.high, found.metric)
    return (one.change, join([el("div", shown), el("small", ends)]))


def _ends(low: float | None, high: float | None, metric: str) -> str:
    return "" if low is None or high is None else f"{changed(low, metric)} to {changed(high, metric)}"


def _p(found: Comparison, row: Entry) -> object:
    one = found.against(row)
    return ("nan", "") if one is None or one.p is None else (one.p, probability(one.p).removeprefix("p ").removeprefix("= "))


def _guard(one: Forgotten | None) -> object:
    if one is None:
        return ("nan", "")
    ends = _ends(one.low, one.high, one.metric)
    certain = one.low is not None and one.high is not None and not one.low <= 0 <= one.high
    told = changed(one.change, one.metric)
    shown = good((one.change > 0) == higher(one.metric), told) if certain else told
    return (one.change, join([el("div", shown), el("small", ends)]))


def _explained(found: Comparison, guards: Sequence[str]) -> list[Markup]:
    said = ["Below a score stands its 95 % interval; of several seeds the standard deviation over them."]
    if found.paired is not None:
        name = found.paired.reference.name
        images = f"the same {found.paired.images:,} images"
        said.append(f"Changes are from {name}, on {images}, with 95 % intervals by the paired bootstrap; {tested(found)}.")
        if found.paired.tested:
            said.append(f"May be as good: p is not below {LEVEL}.")
    if guards:
        said.append("Guards are data that was held out: the change from zero-shot there, which is what was forgotten.")
    return [el("p", el("small", " ".join(said))), *(el("p", el("small", f"{note[0].upper()}{note[1:]}.")) for note in found.notes)]


def costs(found: Comparison) -> Markup:
    """The score against what it took, and the table of that."""
    kinds = list(dict.fromkeys(row.method for row in found.rows if row.kind != "zero-shot"))
    legend = [el("span", el("i", class_=f"key points t{1 + i % (TONES - 1)}"), kind) for i, kind in enumerate(kinds)]
    zeros = [row for row in found.comparable if row.kind == "zero-shot" and found.metric in row.metrics]
    legend += [el("span", el("i", class_="key t0 dashed"), row.name) for row in zeros]
    drawn = [
        _chart(found, kinds, "parameters that learned", lambda row: row.parameters, "number"),
        _chart(found, kinds, "training", lambda row: row.seconds, "seconds"),
    ]
    head = ["run", "backbone", "method", "objective", "shots", "training images", "learned", "training", "memory"]
    rows = [_cost(found, i, row) for i, row in enumerate(found.rows, 1)]
    shown = [one for one in drawn if one is not None]
    return join(
        [
            el("div", legend, class_="legend") if shown else None,
            el("div", shown, class_="charts") if shown else None,
            el("div", table(head, rows, sortable=True, numeric=range(4, 9)), class_="pinned"),
        ]
    )


def _cost(found: Comparison, place: int, row: Entry) -> list[object]:
    words = [row.backbone, part_of(found, row, "method"), part_of(found, row, "objective")]
    count = row.training_images
    shots = (float(row.shots) if row.shots.isdigit() else "inf" if row.shots == "all" else "nan", row.shots)
    images = ("nan", "") if count is None else (count, f"{count:,}")
    tip = el("span", learned(row), data_tip=f"{row.parameters:,}" if row.parameters else None)
    numbers = [(row.parameters if row.parameters is not None else "nan", tip), (_plain(row.seconds), duration(row.seconds))]
    return [(place, placed(place, row.name)), *words, shots, images, *numbers, (_plain(row.memory), memory(row.memory))]


def _plain(value: float | None) -> object:
    return "nan" if value is None else value


def _chart(found: Comparison, kinds: Sequence[str], name: str, of: Callable[[Entry], float | None], kind: str) -> Markup | None:
    """The metric over a cost; zero-shot is a line, since it costs nothing."""
    metric = found.metric
    seen = [(i, row, of(row)) for i, row in enumerate(found.rows, 1) if row in found.comparable and metric in row.metrics]
    shown = [(i, row, float(x)) for i, row, x in seen if x and row.kind != "zero-shot"]
    if not shown:
        return None
    few = len(shown) <= LABELS
    series = []
    least, most = min(x for *_, x in shown), max(x for *_, x in shown)
    for row in (row for row in found.comparable if row.kind == "zero-shot" and metric in row.metrics):
        ends = (least / 1.5, most * 1.5) if most < 1.5 * least else (least, most)
        tip = f"{row.name}: {number(row.metrics[metric], metric)}"
        series.append(Series("", [Point(x, row.metrics[metric], name=tip) for x in ends], 0, "dashed"))
    for tone, method in enumerate(kinds):
        drawn = [_point(found, i, row, x, few) for i, row, x in shown if row.method == method]
        if drawn:
            series.append(Series(method, drawn, 1 + tone % (TONES - 1), "points"))
    says = "" if few else "The numbers are those of the table below. "
    if any(metric in row.intervals for _, row, _ in shown):
        says += "The bars are 95 % intervals."
    across = Axis(name, "seconds" if kind == "seconds" else "number", log=True)
    return chart(f"{short(metric)} against {name}", series, across, Axis(short(metric), "share" if is_share(metric) else "number"), says)


def _point(found: Comparison, place: int, row: Entry, x: float, few: bool) -> Point:
    metric = found.metric
    low, high = row.intervals.get(metric, (None, None))
    label = (row.name if len(row.name) <= LETTERS else f"{row.name[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}") if few else str(place)
    told = f"{place}. {row.name}\n{number(row.metrics[metric], metric)}, {learned(row)} parameters, {duration(row.seconds)}"
    return Point(x, row.metrics[metric], low, high, told, label, row is found.best)


def settings(found: Comparison) -> Markup | None:
    """The keys of the runs' configs that are not the same in all."""
    rows = [row for row in found.rows if row.settings]
    keys = differing([row.settings for row in rows])
    if not keys:
        return None
    body = [[el("code", key, style="display:block;min-width:11rem"), *(row.settings.get(key, "") for row in rows)] for key in keys[:KEYS]]
    more = el("p", el("small", f"and {len(keys) - KEYS} more keys")) if len(keys) > KEYS else None
    return join([el("div", table(["key", *(row.name for row in rows)], body), class_="pinned"), more])
