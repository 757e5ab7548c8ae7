"""A sweep as one page that needs no other file: the recommendation, the charts, the tables, and each run."""

import math
from collections.abc import Iterator
from pathlib import Path

from cliptune.metrics.names import short
from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, el, join, prose, table, tile
from cliptune.page.numbers import duration, percent, points
from cliptune.page.shell import Section, document
from cliptune.sweep.cells import told_shots
from cliptune.sweep.recommending import FEW, KEEP, told_method
from cliptune.sweep.results import Spread, Table
from cliptune.sweep.telling import Outcome
from cliptune.whole import write_whole

BY_TIME = (
    "Of all that are within one standard error of the best on validation, the one that trains in the least time; times within a factor of "
    "2 count as equal."
)
BY_LOSS = (
    f"Validation had fewer than {FEW} images, all seeds together, too few to tell methods apart by accuracy alone. So, of all that are "
    "within one standard error of the best on validation, the one with the lowest cross-entropy there, whatever its training takes."
)
GUARDS = f"What keeps less than {KEEP:.0%} of the untouched CLIP's score on a guard is left out first, unless all that is as good does."
ERROR = "The error is the greater of that over seeds and that of so few images. The test split has no say."


def write_page(outcome: Outcome) -> Path:
    """Write `sweep.html`, whole or not at all."""
    file = outcome.output / "sweep.html"
    write_whole(file, lambda handle: handle.write(page(outcome).encode("utf-8", "replace")))
    return file


def page(outcome: Outcome) -> str:
    """The page; a section without anything to say is left out."""
    sections = [
        Section("which", "Which method", which(outcome)),
        Section("accuracy", "Accuracy against shots", join([accuracy(outcome.table), scores(outcome.table), above(outcome.table)])),
        Section("forgetting", "Gain against forgetting", forgetting(outcome.table)),
        Section("costs", "Costs", costs(outcome.table)),
        Section("runs", "Runs", runs(outcome)),
        Section("failed", "Without a result", failed(outcome)),
        Section("again", "Again", el("pre", outcome.command)),
    ]
    header = [el("h1", f"{outcome.name}: which method"), el("p", outcome.advice.sentence, class_="lead"), _tiles(outcome)]
    versions = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    return document(f"{outcome.name}: which method", header, sections, f"cliptune sweep. {versions}")


def _tiles(outcome: Outcome) -> Markup:
    found = outcome.table
    advice, zero = outcome.advice, found.zero_shot()
    test = found.test(advice.name, advice.shots)
    at = "with all images" if advice.shots is None else f"at {told_shots(advice.shots)}"
    tiles = [tile(advice.name.replace("_", " "), f"recommended {at}", "good")]
    if test is not None:
        tiles.append(tile(percent(test.mean), f"its {short(found.metric)} on test"))
    if zero is not None:
        tiles.append(tile(percent(zero), "zero-shot on test"))
    if (kept := found.kept(advice.name, advice.shots)) is not None:
        tiles.append(tile(percent(kept), "of the guards kept", "" if kept >= KEEP else "warn"))
    tiles.append(tile(f"{len(found.results)}", f"runs of {len(found.results) + len(outcome.failed)}", "warn" if outcome.failed else ""))
    return el("div", tiles, class_="tiles")


def which(outcome: Outcome) -> Markup:
    """The candidates, as the rule saw them."""
    advice = outcome.advice
    losses = any(math.isfinite(one.loss) for one in advice.candidates)
    guarded = any(one.kept is not None for one in advice.candidates)
    rows = [
        (
            el("strong", told_method(one.name)) if one.name == advice.name else told_method(one.name),
            (one.validation.mean, f"{one.validation}"),
            (one.error, f"{one.error:.3f}"),
            *([(one.loss, f"{one.loss:.3f}") if math.isfinite(one.loss) else (1e9, "-")] if losses else []),
            (one.seconds, duration(one.seconds)),
            (one.parameters, f"{one.parameters:,}"),
            *([(1.0 if one.kept is None else one.kept, percent(1.0 if one.kept is None else one.kept))] if guarded else []),
        )
        for one in advice.candidates
    ]
    at = "with all images" if advice.shots is None else f"at {told_shots(advice.shots)}"
    head = [
        "method",
        short(outcome.table.metric),
        "standard error",
        *(["cross-entropy"] if losses else []),
        "training",
        "parameters",
        *(["guards kept"] if guarded else []),
    ]
    where = f"Scores on validation, {at}; parameters are those that learn."
    rule = f"{where} {BY_LOSS if advice.by_loss else BY_TIME}{f' {GUARDS}' if guarded else ''} {ERROR}"
    return join([table(head, rows, sortable=True, numeric=range(1, len(head))), el("p", el("small", rule))])


def accuracy(found: Table) -> Markup | None:
    """The scores on the test split against shots."""
    places = [found.place(shots) for shots in found.shots]
    zero = found.zero_shot()
    series = [] if zero is None else [Series("zero-shot", [Point(x, zero) for x in (places[0], places[-1])], 0, "dashed")]
    for i, method in enumerate(found.methods):
        known = [(shots, spread) for shots in found.shots if (spread := found.test(method, shots))]
        dots = [_point(found.beside(method, shots), f"{method}, {told_shots(shots)}", spread) for shots, spread in known]
        series.append(Series(method, dots, i + 1))
    says = "Test scores, mean over seeds; the lines up and down are one standard deviation."
    marks = [(x, "all images") for x, shots in zip(places, found.shots, strict=True) if shots is None]
    ticks = tuple(x for x, shots in zip(places, found.shots, strict=True) if shots is not None) or None
    axes = Axis("training images of each class", log=True, ticks=ticks), Axis(f"test {short(found.metric)}", "share")
    return chart("Accuracy against shots", series, *axes, says, marks)


def _point(x: float, name: str, spread: Spread) -> Point:
    std = spread.std or 0.0
    return Point(x, spread.mean, spread.mean - std, spread.mean + std, f"{name}: {spread}")


def scores(found: Table) -> Markup:
    """The same as a table."""
    zero, rows = found.zero_shot(), list[list[object]]()
    if zero is not None:
        rows.append(["zero-shot", *((zero, f"{zero:.3f}") for _ in found.shots)])
    for method in found.methods:
        cells = [found.test(method, shots) for shots in found.shots]
        rows.append([method, *((-1.0, "-") if cell is None else (cell.mean, f"{cell}") for cell in cells)])
    heads = ["method", *(told_shots(shots) for shots in found.shots)]
    return table(heads, rows, sortable=True, numeric=range(1, len(heads)))


def above(found: Table) -> Markup | None:
    """How far methods are above one of them on the same images, where more than one has results."""
    rows = []
    for method in found.methods:
        cells = [found.above(method, shots) for shots in found.shots]
        if any(cells):
            rows.append([method, *((-1.0, "-") if cell is None else (cell.mean, _points(cell)) for cell in cells)])
    if not rows:
        return None
    heads = ["points", *(told_shots(shots) for shots in found.shots)]
    note = (
        "A seed gives all methods the same images, and which these are moves all scores together. So these are the mean and the standard "
        "deviation of the seeds' differences, which tell two methods apart sooner than the scores above."
    )
    shown = table(heads, rows, sortable=True, numeric=range(1, len(heads)))
    return join([el("h3", f"Above {found.baseline}, on the same images"), shown, el("p", el("small", note))])


def _points(found: Spread) -> str:
    return points(found.mean) + (f" ± {100 * found.std:.1f}" if found.std is not None else "")


def forgetting(found: Table) -> Markup | None:
    """For each guard, what is gained on the test split against how the guard's score changed."""
    zero = found.zero_shot()
    names = dict.fromkeys(name for method in found.methods for shots in found.shots for name in found.guards(method, shots))
    if zero is None or not names:
        return None
    axes = Axis("change of the guard's score", "share"), Axis(f"gain in test {short(found.metric)}", "share")
    says = "Up: learned more. Right: forgot less. A line joins a method's numbers of shots."
    charts = [
        chart(
            f"Guard {name}",
            [Series(method, list(_trades(found, method, name, zero)), i + 1) for i, method in enumerate(found.methods)],
            *axes,
            says,
        )
        for name in names
    ]
    return join([charts, _guard_table(found, list(names), zero)])


def _trades(found: Table, method: str, guard: str, zero: float) -> Iterator[Point]:
    for shots in found.shots:
        test, change = found.test(method, shots), found.guards(method, shots).get(guard)
        if test is not None and change is not None:
            told = f"{method}, {told_shots(shots)}: gain {points(test.mean - zero)}, {guard} {points(change.mean)} points"
            yield Point(change.mean, test.mean - zero, name=told)


def _guard_table(found: Table, guards: list[str], zero: float) -> Markup:
    rows = []
    for method in found.methods:
        for shots in found.shots:
            changes, test = found.guards(method, shots), found.test(method, shots)
            if changes and test is not None:
                cells = [(changes[name].mean, points(changes[name].mean)) if name in changes else (0, "-") for name in guards]
                rows.append([method, (found.place(shots), told_shots(shots)), (test.mean, points(test.mean - zero)), *cells])
    heads = ["method", "shots", "gain on test, points", *(f"{name}, points" for name in guards)]
    return table(heads, rows, sortable=True, numeric=range(2, len(heads)))


def costs(found: Table) -> Markup:
    """Seconds, memory and parameters of each method and number of shots."""
    rows = []
    for method in found.methods:
        for shots in found.shots:
            results = found.at(method, shots)
            if results:
                training, total = (sum(part) / len(results) for part in zip(*((one.seconds, one.total) for one in results), strict=True))
                memory = max(one.memory for one in results)
                shown = (training, duration(training)), (total, duration(total)), (memory, f"{memory:,.0f}")
                rows.append(
                    [method, (found.place(shots), told_shots(shots)), *shown, (results[0].parameters, f"{results[0].parameters:,}")]
                )
    heads = ("method", "shots", "training", "whole run", "peak memory, MB", "parameters learned")
    note = "Means over seeds, of memory the most. The whole run is with zero-shot and the scoring of test."
    return join([table(heads, rows, sortable=True, numeric=(2, 3, 4, 5)), el("p", el("small", note))])


def runs(outcome: Outcome) -> Markup:
    """Each run with its folder."""
    rows = [
        [
            one.cell.method,
            (outcome.table.place(one.cell.shots), told_shots(one.cell.shots)),
            (one.cell.seed, f"{one.cell.seed}"),
            (one.validation["adapted"], f"{one.validation['adapted']:.4f}"),
            (one.test["adapted"], f"{one.test['adapted']:.4f}"),
            (one.train, f"{one.train:,}"),
            el("code", str(one.folder)),
        ]
        for one in outcome.table.results
    ]
    heads = ("method", "shots", "seed", "validation", "test", "training images", "folder")
    return table(heads, rows, sortable=True, numeric=(2, 3, 4, 5), find="find runs")


def failed(outcome: Outcome) -> Markup | None:
    """The cells without a result, with the reason."""
    if not outcome.failed:
        return None
    rows = [[one.cell.told(), one.reason or "not run, or cut off", el("code", str(one.cell.log))] for one in outcome.failed]
    return join([table(("run", "reason", "log"), rows), el("p", prose("The same command runs these again, and only these."))])
