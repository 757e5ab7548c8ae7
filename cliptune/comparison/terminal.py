"""The comparison in the terminal: one table where it fits, else the scores and what they cost one below the other."""

from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cliptune.comparison.comparing import Comparison
from cliptune.comparison.entries import Entry
from cliptune.comparison.names import score, short
from cliptune.comparison.said import duration, learned, memory, part_of, tested, told_guards
from cliptune.comparison.significance import LEVEL

BEST, AS_GOOD, OTHER = "\N{BLACK STAR}", "\N{ALMOST EQUAL TO}", "\N{MULTIPLICATION SIGN}"
NAMED, LETTERS = 4, 20  # classes that are named, and what is shown of a name
NAME_WIDTH = 27  # of a run, beyond which it is folded
Cell = Callable[[Entry], str]


class Column(NamedTuple):
    """A column; what is the same for all rows is told below in its place."""

    name: str
    cell: Cell
    right: bool = True
    always: bool = True
    spare: bool = False  # whether it may go where there is no room


def print_comparison(found: Comparison, console: Console) -> None:
    """Print it; nothing of the runs' own words is taken for markup."""
    scores, costs = _scores(found), _costs(found)
    shown, same = _differing([*scores, *costs], found.rows)
    whole = _table(found, shown)
    console.print()
    if _width(whole, console) <= console.width:
        console.print(whole)
    else:
        for part in (scores, costs):
            console.print(_fitting(found, [column for column in shown if column in part], console))
            console.print()
    if same:
        _line(console, f"all: {', '.join(same)}")
    for line in legend(found):
        _line(console, line)
    _classes(found, console)


def _scores(found: Comparison) -> list[Column]:
    metric = found.metric
    columns = [Column(short(metric), lambda row: score(row.metrics.get(metric), metric)), Column("95 %", lambda row: _sure(row, metric))]
    if found.paired is not None:
        columns.append(Column("change", lambda row: _change(found, row)))
        columns += [Column("p", lambda row: _p(found, row))] if found.paired.tested else []
    for other in found.beside:
        columns.append(Column(_broken(short(other)), lambda row, other=other: score(row.metrics.get(other), other), spare=True))  # type: ignore[misc]
    if any(row.guards for row in found.rows):
        columns.append(Column("guard", told_guards))
    return columns


def _costs(found: Comparison) -> list[Column]:
    return [
        Column("method", lambda row: part_of(found, row, "method"), right=False, always=False),
        Column("objective", lambda row: part_of(found, row, "objective"), right=False, always=False),
        Column("backbone", lambda row: row.backbone, right=False, always=False),
        Column("shots", lambda row: row.shots, always=False),
        Column("learned", learned),
        Column("training", lambda row: duration(row.seconds)),
        Column("memory", lambda row: memory(row.memory)),
    ]


def _differing(columns: Sequence[Column], rows: Sequence[Entry]) -> tuple[list[Column], list[str]]:
    """The columns that tell rows apart or are always shown, and the others in words."""
    shown, same = [], []
    for column in columns:
        values = {column.cell(row) for row in rows if row.kind != "zero-shot" or column.name == "backbone"} - {""}
        if column.always or len(values) > 1:
            shown.append(column)
        elif values:
            same.append(f"{column.name} {values.pop()}")
    return shown, same


def _table(found: Comparison, columns: Sequence[Column]) -> Table:
    table = _empty()
    table.add_column("", width=1, no_wrap=True)
    table.add_column("run", overflow="fold", max_width=NAME_WIDTH)
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", no_wrap=column.right, overflow="fold")
    for row in found.rows:
        mark, style = _mark(found, row)
        table.add_row(Text(mark), Text(_folded(row.name)), *(Text(column.cell(row)) for column in columns), style=style)
    return table


def _empty() -> Table:
    """A narrow one, since there is much to set in a line."""
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _mark(found: Comparison, row: Entry) -> tuple[str, str]:
    if row is found.best:
        return BEST, "bold"
    if row not in found.comparable:
        return OTHER, "dim"
    return (AS_GOOD, "") if row in found.as_good() else ("", "")


def _fitting(found: Comparison, columns: list[Column], console: Console) -> Table:
    """A table without those columns that may go, the last ones first, until it fits."""
    table, rest = _table(found, columns), [column for column in columns if column.spare]
    while rest and _width(table, console) > console.width:
        columns.remove(rest.pop())
        table = _table(found, columns)
    return table


def _folded(name: str) -> str:
    """Over several lines where it is long, broken at hyphens."""
    return "\n".join(wrap(name, NAME_WIDTH)) or name


def _width(table: RenderableType, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def _broken(name: str) -> str:
    """Over two lines where it is long, so that its column stays narrow."""
    first, _, rest = name.partition(" ")
    return f"{first}\n{rest}" if rest else name


def _sure(row: Entry, metric: str) -> str:
    """The interval; of several seeds the spread in its place."""
    if row.kind == "seeds":
        return f"\N{PLUS-MINUS SIGN} {row.spreads[metric]:.3f}" if metric in row.spreads else "one seed" if row.seeds == 1 else ""
    low, high = row.intervals.get(metric, (None, None))
    return "" if low is None or high is None else f"{low:.3f}-{high:.3f}"


def _change(found: Comparison, row: Entry) -> str:
    one = found.against(row)
    return "" if one is None else f"{one.change:+.4f}"


def _p(found: Comparison, row: Entry) -> str:
    one = found.against(row)
    return "" if one is None or one.p is None else "<0.001" if one.p < 0.001 else f"{one.p:.3f}"


def legend(found: Comparison) -> list[str]:
    """What the marks and columns mean, and what could not be compared."""
    lines = []
    if found.best is not None:
        lines.append(f"{BEST} best {short(found.metric)} of the {len(found.comparable)} on the same test data")
    if found.paired is not None:
        lines.append(f"change: from {found.paired.reference.name}, on the same {found.paired.images:,} images; {tested(found)}")
        if found.as_good():
            lines.append(f"{AS_GOOD} may be as good as {found.paired.reference.name}: p is not below {LEVEL}")
    if len(found.comparable) < len(found.rows):
        lines.append(f"{OTHER} other test data: its numbers say nothing about the rows above")
    if any(row.kind == "seeds" for row in found.rows):
        lines.append("\N{PLUS-MINUS SIGN} standard deviation over seeds, of which the mean is shown")
    if any(row.guards for row in found.rows):
        lines.append(
            "guard: change from zero-shot on data that was held out" + ("; the worst of several" if _several_guards(found) else "")
        )
    return lines + found.notes


def _several_guards(found: Comparison) -> bool:
    return any(len(row.guards) > 1 for row in found.rows)


def _classes(found: Comparison, console: Console) -> None:
    """On which classes rows differ from the reference for certain."""
    if found.classes is None or found.paired is None:
        return
    reference, rows = found.paired.reference, found.paired.rows
    table = _empty()
    table.add_column(f"against {reference.name}", overflow="fold", max_width=NAME_WIDTH)
    for name in ("better on", "worse on"):
        table.add_column(name, overflow="fold")
    for i, row in enumerate(rows[1:], 1):
        sides = [[c for c in range(len(found.classes.names)) if found.classes.mark(i, c) == sign] for sign in (1, -1)]
        table.add_row(Text(_folded(row.name)), *(Text(_listed([found.classes.names[c] for c in side])) for side in sides))
    console.print()
    console.print(table)
    _line(console, f"classes on which the difference is more than chance (McNemar's exact test, Holm's correction over {_count(found)})")


def _count(found: Comparison) -> str:
    assert found.classes is not None
    count = int((found.classes.images > 0).sum())
    return f"{count:,} classes"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    rest = len(names) - NAMED
    told = [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}" for name in names[:NAMED]]
    return f"{len(names)}: {', '.join(told)}" + (f" and {rest} more" if rest > 0 else "")


def _line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=False)
