"""The table that people look at first: each metric before and after, how sure both are, and whether the change may be chance."""

from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import points
from cliptune.page.pictures import Pictures
from cliptune.report.judging import STATES, TONES, judged, with_interval
from cliptune.report.names import Metric, metric
from cliptune.report.overview import first_metrics, main_metric
from cliptune.report.reading import RunRead

ORDER = ("top5", "mean_per_class", "macro_f1", "auroc", "map")  # after what stands for all


def before_after(run: RunRead, pictures: Pictures) -> Markup | None:
    """Test metrics with intervals and paired changes; below them those of validation."""
    test, rest = _keys(run, "test/"), _keys(run, "val/")
    if not test and not rest:
        return None
    first = test or rest
    more = el("details", el("summary", "on the validation split"), _table(run, rest)) if test and rest else None
    return join([_sentences(run), _table(run, first), more])


def _keys(run: RunRead, prefix: str) -> list[str]:
    keys = dict.fromkeys([*run.part("zero_shot"), *run.part("adapted")])
    places = {name: place for place, name in enumerate(dict.fromkeys([*first_metrics(run)[:2], *ORDER]))}
    own = [key for key in keys if key.startswith(prefix) and not key.endswith(("/score", "/loss"))]
    return sorted(own, key=lambda key: places.get(key.rpartition("/")[2], len(places)))


def _sentences(run: RunRead) -> Markup:
    images, texts = ((run.part("evaluated").get("test") or {}).get(name) for name in ("images", "texts"))
    seen = [f"{images:,} images"] if images else []
    seen += [f"{texts:,} texts"] if texts else []
    resamples = run.part("intervals", "resamples")
    said = [f"Measured on {' and '.join(seen)} of the test split." if seen else "Measured on the test split."]
    if resamples:
        said.append(
            f"Bars and small numbers are {run.part('intervals', 'level') or 0.95:.0%} intervals: images drawn anew {resamples:,} times. "
            "A change is measured on the same images before and after, so that its interval is narrower than the two beside it suggest."
        )
    key = main_metric(run)
    range_ = run.part("intervals", "adapted").get(key) or run.part("intervals", "zero_shot").get(key)
    if range_ and metric(key).unit == "share" and range_[1] - range_[0] > 0.06:
        said.append(f"So few images leave {points((range_[1] - range_[0]) / 2)[1:]} points either way: trust no small difference.")
    return el("p", " ".join(said), class_="pale")


def _table(run: RunRead, keys: list[str]) -> Markup:
    states = [state for state in STATES if any(key in run.part(state) for key in keys)]
    both = len(states) == 2
    drawn = any(run.part("intervals", state).get(key) for state in states for key in keys)
    head: list[object] = [
        "metric",
        *(join([el("i", class_=f"dot {tone}"), STATES[state]]) for state, tone in TONES.items() if state in states),
    ]
    numeric = [*range(1, len(head))]
    head += ["change", ""] if both else []
    head += ["0 to 100%"] if drawn else []
    rows = [_row(run, metric(key), states, drawn, both) for key in keys]
    numeric += [i for i, name in enumerate(head) if name == "change"]
    return table(head, rows, numeric=numeric)


def _row(run: RunRead, one: Metric, states: list[str], drawn: bool, both: bool) -> list[object]:
    values = {state: run.part(state).get(one.key) for state in states}
    cells: list[object] = [el("span", one.name, [el("br"), el("small", "less is better")] if not one.more else None)]
    for state in states:
        value, span = values[state], run.part("intervals", state).get(one.key)
        shown = one.told(value) if value is not None else ""
        bold = el("b", shown)
        cells.append((value if value is not None else "", with_interval(bold, one, *span) if span and value is not None else bold))
    if both:
        before, after = (values[state] for state in STATES)
        change = after - before if before is not None and after is not None else None
        cells += judged(one, change, run.part("changes").get(one.key))
    if drawn:
        cells.append(_ranges(run, one, values))
    return cells


def _ranges(run: RunRead, one: Metric, values: dict[str, float | None]) -> Markup | None:
    """Both values and their intervals on one line from 0 to 1."""
    if one.unit != "share":
        return None
    made = []
    for state, value in values.items():
        if value is None:
            continue
        span = run.part("intervals", state).get(one.key)
        if span:
            low, high = (100 * min(max(end, 0), 1) for end in span)
            made.append(el("i", style=f"left:{low:.2f}%;width:{max(high - low, 0.5):.2f}%", class_=state))
        made.append(el("b", style=f"left:{100 * min(max(value, 0), 1):.2f}%", class_=state))
    return el("span", made, class_="range")
