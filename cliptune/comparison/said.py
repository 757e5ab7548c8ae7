"""The cells of a comparison that the terminal, the page and the tables say alike."""

from cliptune.comparison.comparing import Comparison
from cliptune.comparison.entries import Entry
from cliptune.comparison.names import short
from cliptune.comparison.pairing import EXACT
from cliptune.comparison.settings import tell_apart
from cliptune.page import numbers


def part_of(found: Comparison, row: Entry, part: str) -> str:
    """The method or objective of a row, with those arguments that tell it from others of its class."""
    name = row.method if part == "method" else row.objective
    rows = [one for one in found.rows if one.learns]
    if row not in rows:
        return name
    apart = tell_apart([one.learns[part] for one in rows])[rows.index(row)]
    return f"{name}, {apart}" if apart else name


def learned(row: Entry) -> str:
    """How many parameters learned."""
    return "-" if row.parameters is None else numbers.short(row.parameters)


def duration(seconds: float | None) -> str:
    """Of training."""
    return "-" if seconds is None else numbers.duration(seconds)


def memory(megabytes: float | None) -> str:
    """At most."""
    if megabytes is None:
        return "-"
    return f"{megabytes / 1024:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def told_guards(row: Entry) -> str:
    """What was forgotten: the change on the guard that lost most."""
    worst = min((one.change for one in row.guards.values()), default=None)
    return "" if worst is None else f"{worst:+.4f}"


def tested(found: Comparison) -> str:
    """How the rows were tested against the reference."""
    assert found.paired is not None
    many = len(found.paired.against)
    corrected = f", corrected for {many} rows (Holm)" if many > 1 else ""
    if found.metric in EXACT:
        return f"p of McNemar's exact test{corrected}"
    if found.paired.tested:
        return f"p of a paired bootstrap over images{corrected}"
    return f"no test, since {short(found.metric)} cannot be computed again from what runs keep"
