"""How the model's scores differ between groups of images: a plot of each word's probability by group, and the largest differences."""

from typing import Any

from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import percent, points, probability
from cliptune.page.pictures import Pictures
from cliptune.report.judging import STATES, chip
from cliptune.report.reading import RunRead

TONES = 8


def bias(run: RunRead, pictures: Pictures) -> Markup | None:
    """Words by group, right answers by group, and which group a word finds first."""
    states = [state for state in STATES if run.part("bias", state, "groups")]
    if not states:
        return None
    known = run.part("bias", states[-1])
    groups = [name for name, group in known["groups"].items() if group.get("compared")]
    few = [f"{name} ({group['images']})" for name, group in known["groups"].items() if not group.get("compared")]
    said = (
        f"Groups by the column {known['column']}, over {known['images']:,} test images"
        + (f", {known['without']:,} of which have none" if known.get("without") else "")
        + (f". Too few images to be compared: {', '.join(few)}" if few else "")
        + ". A difference says that scores differ, not why."
    )
    legend = [
        el("span", el("i", class_=f"key points t{1 + i % (TONES - 1)}"), f"{name} ({known['groups'][name]['images']:,})")
        for i, name in enumerate(groups)
    ]
    return join(
        [
            el("p", said, class_="pale"),
            el("div", legend, class_="legend"),
            _words(run, states, groups),
            _right(run, states, groups),
            _found_first(known),
        ]
    )


def _words(run: RunRead, states: list[str], groups: list[str]) -> Markup:
    """A line for each word and state, with a dot for each group."""
    most = max((p for state in states for group in _groups(run, state, groups) for p in group["probability"].values()), default=1) or 1
    rows = []
    for word in run.part("bias", states[-1])["words"]:
        for state in states:
            gap = run.part("bias", state, "differences").get(word)
            spots = [(name, group["probability"][word]) for name, group in zip(groups, _groups(run, state, groups), strict=True)]
            rows.append([word, STATES[state], _dots(spots, most), *_gap(gap)])
    head = ("word", "model", f"mean probability, 0 to {percent(most)}", "largest difference", "")
    return table(head, rows, sortable=True, numeric=(3,), find="find a word" if len(rows) > 16 else "")


def _groups(run: RunRead, state: str, groups: list[str]) -> list[dict[str, Any]]:
    known = run.part("bias", state, "groups")
    return [known[name] for name in groups if name in known]


def _dots(spots: list[tuple[str, float]], most: float) -> tuple[float, Markup]:
    values = [value for _, value in spots]
    low, high = 100 * min(values) / most, 100 * max(values) / most
    span = el("i", style=f"left:{low:.2f}%;width:{high - low:.2f}%")
    dots = [
        el("b", style=f"left:{100 * value / most:.2f}%", class_=f"t{1 + i % (TONES - 1)}", data_tip=f"{name}: {percent(value)}")
        for i, (name, value) in enumerate(spots)
    ]
    return max(values) - min(values), el("span", span, dots, class_="dots")


def _gap(gap: dict[str, Any] | None) -> list[object]:
    if not gap:
        return ["", ""]
    sure = chip("more than chance", "warn", gap["p"]) if gap["p"] < 0.05 else chip("may be chance", "", gap["p"])
    shown = el("b", points(gap["difference"])), el("br"), el("small", f"{points(gap['low'])} to {points(gap['high'])}")
    return [(gap["difference"], [*shown, el("br"), el("small", f"{gap['most']} above {gap['least']}")]), sure]


def _right(run: RunRead, states: list[str], groups: list[str]) -> Markup | None:
    """Top-1 of each group, where the data has labels."""
    if not all("top1" in group for state in states for group in _groups(run, state, groups)):
        return None
    rows = []
    for name in groups:
        values = [run.part("bias", state, "groups", name, "top1") for state in states]
        change = [(values[-1] - values[0], points(values[-1] - values[0]))] if len(values) == 2 else []
        rows.append([name, *((value, percent(value)) for value in values), *change])
    head = ["group", *(STATES[state] for state in states)] + (["change"] if len(states) == 2 else [])
    gap = run.part("bias", states[-1], "top1")
    said = f"{gap['most']} has {points(gap['difference'])} points more than {gap['least']} ({probability(gap['p'])})." if gap else ""
    listed = table(head, rows, sortable=True, numeric=range(1, len(head)))
    return join([el("h3", "Right answers by group"), el("p", said, class_="pale") if said else None, listed])


def _found_first(known: dict[str, Any]) -> Markup | None:
    """Which group is over-represented among the images that a word finds first."""
    found = known.get("retrieval") or {}
    rows = []
    for word, one in (found.get("words") or {}).items():
        shares = ", ".join(f"{name} {percent(share, 0)}" for name, share in one["shares"].items())
        sure = chip("more than chance", "warn", one["p"]) if one["p"] < 0.05 else chip("may be chance", "", one["p"])
        rows.append([word, one["group"], (one["max_skew"], f"{one['max_skew']:.2f}"), f"{one['expected']:.2f}", sure, shares])
    if not rows:
        return None
    says = (
        f"Of the {found['k']} images that a word finds first. "
        "MaxSkew is the logarithm of a group's share there over its share in all; 0 is even."
    )
    head = ("word", "most in front", "MaxSkew", "by chance", "", "shares")
    return join([el("h3", "Who is found first"), el("p", says, class_="pale"), table(head, rows, sortable=True, numeric=(2, 3))])
