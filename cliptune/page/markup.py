"""HTML from Python values: whatever is not made here is escaped, so that no text of the data can become a part of the page."""

from collections.abc import Iterable, Sequence
from html import escape

FEW = 16  # rows of a table that is shown whole; longer ones scroll
EMPTY = ("img", "br", "meta", "col", "input")


class Markup(str):
    """Text that is HTML already."""


def el(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children are escaped unless they are `Markup`; None is left out, sequences are laid flat.

    Args:
        name: of the tag.
        *children: what is in it.
        **attributes: `class_` is class, `data_v` is data-v; True stands alone, None and False are left out.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None and value is not False)
    if name in EMPTY:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{_clean(str(value))}"'


def join(children: Iterable[object]) -> Markup:
    """Several children as one."""
    found = []
    for child in children:
        if isinstance(child, Markup):
            found.append(child)
        elif isinstance(child, (list, tuple)):
            found.append(join(child))
        elif child is not None:
            found.append(Markup(_clean(str(child))))
    return Markup("".join(found))


def _clean(text: str) -> str:
    """Escaped, with a mark for what cannot be written as UTF-8 or shown."""
    return escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text))


def prose(text: str) -> Markup:
    """A sentence, in which `what stands so` is code."""
    return join(el("code", part) if i % 2 else part for i, part in enumerate(text.split("`")))


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], sortable: bool = False, numeric: Sequence[int] = (), find: str = ""
) -> Markup:
    """A table.

    Args:
        head: of the columns.
        rows: cells; a pair of a number and what is shown of it sorts by the number.
        sortable: by a click on a column's head.
        numeric: the columns to be set flush right.
        find: what a field above the table is for, which leaves the rows that hold the words typed into it; none where empty.
    """
    heads = [
        el("th", el("button", name, type="button") if sortable else name, class_="n" if i in numeric else None, scope="col")
        for i, name in enumerate(head)
    ]
    body = [el("tr", [_cell(value, i in numeric) for i, value in enumerate(row)]) for row in rows]
    whole = el("table", el("thead", el("tr", heads)), el("tbody", body), class_="sortable" if sortable else None)
    inner = el("div", whole, class_="scroll few" if len(body) <= FEW else "scroll", tabindex=0)
    if not find:
        return inner
    field = el("input", type="search", placeholder=find, aria_label=find, autocomplete="off", spellcheck="false")
    return el("div", el("div", field, el("output", f"{len(body):,}"), class_="find"), inner, class_="filterable")


def _cell(value: object, numeric: bool) -> Markup:
    if isinstance(value, tuple):
        return el("td", value[1], data_v=value[0], class_="n" if numeric else None)
    return el("td", value, class_="n" if numeric else None)


def bar(share: float, style: str = "", mark: tuple[float, float] | None = None) -> Markup:
    """A bar of a share, with an interval drawn over it where there is one."""
    inner = [el("i", style=f"width:{100 * min(max(share, 0), 1):.2f}%", class_=style or None)]
    if mark is not None:
        low, high = (100 * min(max(end, 0), 1) for end in mark)
        inner.append(el("b", style=f"left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%"))
    return el("span", inner, class_="bar")


def size(count: float) -> str:
    """Bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count:,.0f} bytes"


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names with what is said of each; pairs of which there is nothing to say are left out."""
    return el("dl", [el("div", el("dt", name), el("dd", said)) for name, said in pairs if said is not None], class_="facts")


def tile(value: str, name: str, level: str = "") -> Markup:
    """A number that counts, with its name below; the level is stop, warn, good or wide."""
    return el("div", el("b", value), el("span", name), class_=level or None)


def meter(name: str, value: str, drawn: Markup) -> Markup:
    """A name and a value, with what is drawn of it below."""
    return el("div", el("div", el("span", name), el("b", value)), drawn, class_="meter")
