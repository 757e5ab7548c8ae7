"""The report in the terminal: what to mend first, what zero-shot says, what is recommended. The rest is on the page."""

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cliptune.doctor.distance import VERDICTS, explain
from cliptune.doctor.fixed import plain
from cliptune.doctor.places import Place
from cliptune.doctor.problems import Problem
from cliptune.doctor.report import Report
from cliptune.doctor.scores import ClassScores
from cliptune.doctor.settings import Recommendation

STYLES = {"stop": ("✗", "bold red"), "warn": ("!", "yellow"), "note": ("·", "dim")}
SHOWN, WORST, CONFUSED, NOTES = 3, 8, 5, 6  # paths of a problem, classes, confusions, and problems that are only good to know


def print_report(report: Report, console: Console) -> None:
    """Print the report; nothing of the data's own words is taken for markup."""
    _heading(report, console)
    _section(console, "To mend")
    notes = [one for one in report.problems if one.level == "note"]
    serious = [one for one in report.problems if one.level != "note"]
    if not serious:
        console.print(Text("  nothing that would stop or spoil a fit", style="green"))
    for problem in [*serious, *notes[:NOTES]]:
        _problem(problem, console)
    if len(notes) > NOTES:
        console.print(Text(f"  · and {len(notes) - NOTES} more that are good to know, on the page", style="dim"))
    _zero_shot(report, console)
    _section(console, "Recommended")
    _recommendations(report.recommendations, console)


def _section(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _heading(report: Report, console: Console) -> None:
    found = report.findings
    splits = ", ".join(f"{split.rows:,} {name}" for name, split in found.splits.items())
    texts = f"{len(found.classes.names):,} classes" if found.classes.names else ""
    if found.captions.source == "captions" and found.captions.count:
        texts = ", ".join(filter(None, (texts, f"{found.captions.count:,} captions")))
    console.print(Text.assemble((report.name, "bold"), f": {splits} rows; {texts}"))
    for note in found.notes:
        console.print(Padding(Text(note, style="dim"), (0, 0, 0, 2)))


def _problem(problem: Problem, console: Console) -> None:
    mark, style = STYLES[problem.level]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=3, justify="right")
    table.add_column(overflow="fold")
    table.add_row(Text(mark, style=style), Text.assemble((problem.title, "" if problem.level == "note" else "bold"), ". ", problem.way))
    if problem.level != "note":
        for place in problem.places[:SHOWN]:
            table.add_row("", _place(place))
        if len(problem.places) > SHOWN:
            table.add_row("", Text("...", style="dim"))
    console.print(table)


def _place(place: Place) -> Text:
    detail = f"  {place.detail}" if place.detail else ""
    return Text(f"{place.path}{detail}", style="dim")


def _zero_shot(report: Report, console: Console) -> None:
    zero = report.zero
    _section(console, f"Zero-shot ({zero.backbone})")
    where = f"{zero.images:,} images of {' and '.join(zero.splits)}; test is not looked at"
    console.print(Padding(Text(where, style="dim"), (0, 0, 0, 2)))
    if zero.classes is not None and zero.classes.classes:
        _classes(zero.classes, console)
    if zero.retrieval is not None:
        recall, found = zero.retrieval.recall, zero.retrieval
        for way, name in (("image_to_text", "image to text"), ("text_to_image", "text to image")):
            each = ", ".join(f"R@{k} {recall[f'recall@{k}_{way}']:.3f}" for k in (1, 5, 10))
            console.print(Text(f"  {name}: {each}  (among {found.images:,} images and {found.texts:,} texts)"))
    console.print(Text.assemble("  ", (VERDICTS[zero.distance.verdict], "bold")))
    for line in explain(zero.distance):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 4)))


def _classes(found: ClassScores, console: Console) -> None:
    line = (
        f"  top-1 {found.top1:.3f} (95% interval {found.low:.3f} to {found.high:.3f}); mean over classes {found.per_class:.3f}; "
        f"guessing {found.chance:.3f}, always the largest class {found.largest:.3f}"
    )
    console.print(Text(line))
    table = Table(show_edge=False, pad_edge=False)
    table.add_column(f"the {min(WORST, len(found.classes))} worst classes" if len(found.classes) > WORST else "class", overflow="fold")
    for name in ("images", "right", "95% interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("taken most for", overflow="fold")
    for one in sorted(found.classes, key=lambda one: (one.accuracy, -one.images))[:WORST]:
        other = f"{one.confused_with} ({one.confused / one.images:.0%})" if one.confused else ""
        numbers = (f"{one.images:,}", f"{one.accuracy:.0%}", f"{one.low:.0%} to {one.high:.0%}")
        table.add_row(Text(one.name), *numbers, Text(other))
    console.print(Padding(table, (0, 0, 0, 2)))
    if found.pairs:
        said = "; ".join(f"{one.truth} → {one.said} {one.count / one.images:.0%}" for one in found.pairs[:CONFUSED])
        console.print(Padding(Text(f"confused most: {said}"), (0, 0, 0, 2)))


def _recommendations(listed: list[Recommendation], console: Console) -> None:
    for one in listed:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=3, justify="right")
        table.add_column(overflow="fold")
        if not one.changes:
            mark, what = Text("✓", style="green"), Text.assemble((f"{one.topic}: ", "bold"), f"{shown(one.current)}, as it is")
        else:
            mark = Text("→" if one.apply else "?", style="bold cyan")
            now = f"  (now {shown(one.current)})" if one.current is not None else ""
            what = Text.assemble((f"{one.key}: {shown(one.value)}", "bold"), (now, "dim"), "" if one.apply else "  for you to judge")
        table.add_row(mark, what)
        table.add_row("", Text(one.reason + (f" [{one.source}]" if one.source else ""), style="dim"))
        console.print(table)


def shown(value: object) -> str:
    """A value in short: a class as its name and what it was given."""
    value = plain(value)
    if isinstance(value, dict) and "class_path" in value:
        name = str(value["class_path"]).rpartition(".")[2]
        given = ", ".join(f"{key}={shown(inner)}" for key, inner in (value.get("init_args") or {}).items())
        return f"{name}({given})" if given else name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
