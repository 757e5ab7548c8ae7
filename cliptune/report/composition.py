"""Whether the model hears how words are put together: pairs of a true and a false caption, by kind, before and after."""

from typing import Any

from cliptune.page.markup import Markup, bar, el, join, table
from cliptune.page.pictures import Pictures
from cliptune.report.judging import STATES, judged
from cliptune.report.names import Metric
from cliptune.report.reading import RunRead

SHARE = Metric("composition", "composition", "share", True)
SHOWN = 24  # examples


def composition(run: RunRead, pictures: Pictures) -> Markup | None:
    """A row for each kind, and a few of the pairs."""
    states = [state for state in STATES if run.part("composition", state, "kinds")]
    if not states:
        return None
    said = (
        "Of two captions of nearly the same words, how often is the true one nearer to the image? A tie counts as wrong. "
        "CLIP models are known to be weak here; what chance would find stands beside it."
    )
    return join([el("p", said, class_="pale"), _kinds(run, states), _examples(run, states)])


def _kinds(run: RunRead, states: list[str]) -> Markup:
    known = {state: run.part("composition", state, "kinds") for state in states}
    changes, rows = run.part("composition", "changes"), []
    for name, kind in known[states[-1]].items():
        values = [known[state][name]["accuracy"] for state in states if name in known[state]]
        span = run.part("composition", "intervals", states[-1]).get(name)
        cells: list[object] = [name, f"{kind['pairs']:,}", (kind["chance"], SHARE.told(kind["chance"]))]
        cells += [(value, SHARE.told(value)) for value in values]
        cells.append((values[-1], bar(values[-1], mark=tuple(span) if span else None)))
        if len(states) == 2:
            cells += judged(SHARE, values[-1] - values[0], changes.get(name))
        rows.append(cells)
    head = ["pairs of", "pairs", "chance", *(STATES[state] for state in states), ""]
    numeric = [*range(1, 3 + len(states))]
    if len(states) == 2:
        numeric.append(len(head))
        head += ["change", ""]
    return table(head, rows, sortable=True, numeric=numeric)


def _examples(run: RunRead, states: list[str]) -> Markup | None:
    """True and false captions, and by how much the cosine of the true one is greater."""
    shared = run.part("composition", "shared", "examples")
    rows: list[list[object]] = []
    for name, pairs in shared.items():
        scores = [run.part("composition", state, "examples").get(name) or [] for state in states]
        for i, pair in enumerate(pairs):
            if len(rows) < SHOWN:
                rows.append([name, pair["right"], pair["wrong"], *(_margin(one[i]) if i < len(one) else "" for one in scores)])
    if not rows:
        return None
    head = ("pairs of", "true", "false", *(STATES[state] for state in states))
    listed = table(head, rows, sortable=True, numeric=range(3, len(head)))
    note = "Numbers are the cosine of the true caption less that of the false one: above 0 the model is right."
    return el("details", el("summary", f"{len(rows)} of the pairs"), el("p", el("small", note)), listed)


def _margin(scores: Any) -> tuple[float, Markup]:
    margin = float(scores[0]) - float(scores[1])
    told = f"{margin:+.3f}".replace("-", "\N{MINUS SIGN}")
    return margin, el("span", told, class_="chip " + ("good" if margin > 0 else "stop"))
