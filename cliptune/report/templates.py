"""Which template helps: the score of each one alone, and of all together."""

from cliptune.page.markup import Markup, bar, el, join, table
from cliptune.page.numbers import percent, points
from cliptune.page.pictures import Pictures
from cliptune.report.judging import STATES
from cliptune.report.reading import RunRead


def templates(run: RunRead, pictures: Pictures) -> Markup | None:
    """A table, the best first; the ensemble above all."""
    found = run.part("templates") or []
    states = [state for state in STATES if any(one.get(state) is not None for one in found)]
    if not found or not states:
        return None
    last = states[-1]
    single = sorted((one for one in found if one.get("template") is not None), key=lambda one: -(one.get(last) or 0))
    whole = [one for one in found if one.get("template") is None]
    if len(single) < 2:
        return None
    reference = whole[0].get(last) if whole else None
    rows = []
    for one in [*whole, *single]:
        name = el("b", "all together") if one.get("template") is None else el("code", one["template"])
        cells: list[object] = [name, *(((value, percent(value)) if (value := one.get(state)) is not None else "") for state in states)]
        value = one.get(last)
        cells += [(value, bar(value)) if value is not None else ""]
        cells += [(value - reference, points(value - reference)) if value is not None and reference is not None else ""]
        rows.append(cells)
    best = single[0]
    said = f"Top-1 on validation. The best template alone has {percent(best[last])}"
    said += f", all together {percent(reference)}." if reference is not None else "."
    head = ("template", *(STATES[state] for state in states), "", "against all together")
    numeric = (*range(1, 1 + len(states)), 2 + len(states))
    return join([el("p", said, class_="pale"), table(head, rows, True, numeric, "find a template" if len(rows) > 12 else "")])
