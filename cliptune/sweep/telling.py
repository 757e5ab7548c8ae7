"""A sweep as a table in the terminal, and as `sweep.json` and `sweep.csv`."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Drawn

from cliptune.page.numbers import duration
from cliptune.sweep.cells import Cell, told_shots
from cliptune.sweep.recommending import Recommendation
from cliptune.sweep.results import Result, Spread, Table
from cliptune.whole import write_whole

WIDTH = 160  # columns where there is no terminal
FIELDS = ("method", "shots", "seed", "metric", "zero_shot", "adapted", "val_zero_shot", "val_adapted", "train_images", "val_images")
COSTS = ("seconds", "total_seconds", "peak_memory_mb", "parameters", "folder", "error")


@dataclass(frozen=True)
class Failure:
    """A cell that has no result.

    Args:
        cell: which.
        reason: what it said last; empty where it was not run.
    """

    cell: Cell
    reason: str

    def told(self) -> str:
        """For people."""
        return f"{self.cell.told()}: {self.reason} ({self.cell.log})"


@dataclass(frozen=True)
class Outcome:
    """What a sweep came to.

    Args:
        name: of the recipe.
        command: that repeats it.
        output: its folder.
        table: of what has ended.
        advice: what it speaks for.
        failed: the cells without a result.
        versions: of what it ran on.
    """

    name: str
    command: str
    output: Path
    table: Table
    advice: Recommendation
    failed: Sequence[Failure]
    versions: dict[str, str]


def write_data(outcome: Outcome) -> None:
    """Write `sweep.json` and `sweep.csv`, whole or not at all."""
    text = json.dumps(data_of(outcome), indent=1, ensure_ascii=False) + "\n"
    write_whole(outcome.output / "sweep.json", lambda file: file.write(text.encode()))
    table = io.StringIO()
    guards = sorted({name for one in outcome.table.results for name in one.guards})
    writer = csv.DictWriter(table, [*FIELDS, *(f"guard_{name}_{state}" for name in guards for state in ("before", "after")), *COSTS])
    writer.writeheader()
    writer.writerows(_row(one) for one in outcome.table.results)
    writer.writerows({**_named(one.cell), "error": one.reason or "not run"} for one in outcome.failed)
    write_whole(outcome.output / "sweep.csv", lambda file: file.write(table.getvalue().encode()))


def data_of(outcome: Outcome) -> dict[str, Any]:
    """Everything as plain data."""
    table = outcome.table
    return {
        "command": "sweep",
        "command_line": outcome.command,
        "metric": table.metric,
        "methods": table.methods,
        "shots": [_shots(count) for count in table.shots],
        "seeds": table.seeds,
        "zero_shot": table.zero_shot(),
        "baseline": table.baseline,
        "means": [_mean(table, name, count) for count in table.shots for name in table.methods if table.at(name, count)],
        "recommendation": {**outcome.advice.told(), "shots": _shots(outcome.advice.shots)},
        "cells": [{**_row(one), "guard": one.guards, "images_seen": one.data[0], "tested_on": one.data[1]} for one in table.results],
        "failed": [{**_named(one.cell), "reason": one.reason, "log": str(one.cell.log)} for one in outcome.failed],
        "versions": outcome.versions,
    }


def _mean(table: Table, method: str, shots: int | None) -> dict[str, Any]:
    found = table.at(method, shots)
    test, above = table.test(method, shots), table.above(method, shots)
    assert test is not None
    return {
        "method": method,
        "shots": _shots(shots),
        "test": asdict(test),
        "above_baseline": asdict(above) if above else None,
        "validation": sum(one.validation["adapted"] for one in found) / len(found),
        "seconds": sum(one.seconds for one in found) / len(found),
        "guard": {name: asdict(change) for name, change in table.guards(method, shots).items()},
    }


def _named(cell: Cell) -> dict[str, Any]:
    return {"method": cell.method, "shots": _shots(cell.shots), "seed": cell.seed}


def _row(one: Result) -> dict[str, Any]:
    row = {
        **_named(one.cell),
        "metric": one.metric,
        "zero_shot": one.test.get("zero_shot"),
        "adapted": one.test["adapted"],
        "val_zero_shot": one.validation.get("zero_shot"),
        "val_adapted": one.validation["adapted"],
        "train_images": one.train,
        "val_images": one.images,
        "seconds": one.seconds,
        "total_seconds": one.total,
        "peak_memory_mb": one.memory,
        "parameters": one.parameters,
        "folder": str(one.folder),
    }
    for name, states in one.guards.items():
        row |= {f"guard_{name}_{state}": value for state, value in zip(("before", "after"), states, strict=True)}
    return row


def _shots(count: int | None) -> int | str:
    return "all" if count is None else count


def print_outcome(outcome: Outcome) -> None:
    """Print the table, what failed, the recommendation, and where all lies."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print()
    console.print(drawn(outcome.table))
    seeds = len(outcome.table.seeds)
    lines = [f"test/{outcome.table.metric}" + (f", mean ± standard deviation over {seeds} seeds" if seeds > 1 else ", one seed")]
    told, untried = [one for one in outcome.failed if one.reason], sum(not one.reason for one in outcome.failed)
    if told:
        lines += ["", f"failed: {len(told)}", *_alike(told)]
    if untried:
        lines += ["", f"not run, or cut off: {untried}"]
    lines += ["", outcome.advice.sentence, "", f"all of it: {outcome.output}/sweep.html, sweep.json, sweep.csv, accuracy.png"]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _alike(failed: Sequence[Failure]) -> Iterator[str]:
    """The first of each reason; the page has all."""
    counts = Counter(one.reason for one in failed)
    for reason, first in {one.reason: one for one in reversed(failed)}.items():
        more = counts[reason] - 1
        yield f"  {first.told()}" + (f"; the same for {more} more" if more else "")


def drawn(table: Table) -> Drawn:
    """The table, methods down and shots across; seconds, parameters and what guards keep are of the last number of shots."""
    made = Drawn(show_edge=False, pad_edge=False, box=box.HEAVY_HEAD)
    made.add_column("method", no_wrap=True)
    for shots in table.shots:
        made.add_column(told_shots(shots), justify="right")
    made.add_column("training", justify="right")
    made.add_column("learned", justify="right")
    guarded = any(one.guards for one in table.results)
    if guarded:
        made.add_column("guards kept", justify="right")
    zero = table.zero_shot()
    if zero is not None:
        made.add_row("zero-shot", *(f"{zero:.3f}" for _ in table.shots))
    for name in table.methods:
        at, last = next((shots, found) for shots in reversed(table.shots) if (found := table.at(name, shots)))
        seconds = sum(one.seconds for one in last) / len(last)
        cells = [_cell(table.test(name, shots), len(table.seeds)) for shots in table.shots]
        kept = table.kept(name, at)
        made.add_row(
            name, *cells, duration(seconds), f"{last[0].parameters:,}", *(["-" if kept is None else f"{kept:.0%}"] if guarded else [])
        )
    return made


def _cell(found: Spread | None, seeds: int) -> str:
    """A mean and its spread; how many seeds there are, where some failed."""
    return "-" if found is None else f"{found}" + (f" (n={found.n})" if found.n < seeds else "")
