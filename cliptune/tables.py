"""The tables that people read first, at the end of a run and of several: before, after, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cliptune.curve import lines_of

STATES = {"zero_shot": "zero-shot", "adapted": "adapted"}
OPEN = " ?"  # behind a change that may be chance
LOWER = {"ece": "/ece", "nll": "/nll", "median ranks": "/median_rank"}  # of which less is better


def print_table(summary: dict[str, Any], folder: Path) -> None:
    """Print before and after, what was forgotten, what it cost, where the run lies and what to do next."""
    console = Console()
    console.print()
    console.print(metrics_table(summary))
    if summary.get("guard"):
        console.print()
        console.print(guard_table(summary["guard"]))
    for line in [*_uncertain(summary), *_curve(summary, folder), *_cost(summary, folder), *_next(summary, folder)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def metrics_table(summary: dict[str, Any]) -> Table:
    """The metrics of the test split, or, where that was not scored, of validation; first the one that chooses the checkpoint."""
    parts = [name for name in STATES if summary[name]]
    names = list(dict.fromkeys(name for part in parts for name in summary[part]))
    table = _table("metric", parts)
    for name in _monitored_first([name for name in names if name.startswith("test/")] or names, summary.get("monitor")):
        values = {part: summary[part].get(name) for part in parts}
        sure = {part: summary.get("intervals", {}).get(part, {}).get(name) for part in parts}
        _add(table, name, values, sure, summary.get("changes", {}).get(name))
    return table


def _monitored_first(names: list[str], monitor: str | None) -> list[str]:
    return sorted(names, key=lambda name: name.rpartition("/")[2] != str(monitor).rpartition("/")[2])


def guard_table(guards: dict[str, Any]) -> Table:
    """What is still known of other data: of each guard the metric that stands for it."""
    parts = [part for part in STATES if any(guard[part] for guard in guards.values())]
    table = _table("guard", parts)
    for name, guard in guards.items():
        metric = guard["metric"]
        sure = {part: guard.get("intervals", {}).get(part, {}).get(metric) for part in parts}
        _add(table, f"{name}/{metric}", {part: guard[part].get(metric) for part in parts}, sure, guard.get("changes", {}).get(metric))
    return table


def _table(title: str, parts: Sequence[str]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column(title, no_wrap=True)
    for part in parts:
        table.add_column(STATES[part], justify="right", style="bold" if part == parts[-1] else None)
    table.add_column("95 %")  # of the last one; that of the others is in the report
    if len(parts) > 1:
        table.add_column("change", justify="right")
    return table


def _add(table: Table, name: str, values: dict[str, Any], sure: dict[str, Any], change: dict[str, float] | None) -> None:
    """A row: each value with its interval, and the change, marked where it may be chance."""
    cells = []
    for part, value in values.items():
        interval = sure[part]
        cells.append("" if value is None else f"{value:.4f}")
    cells.append("" if interval is None else f"{interval[0]:.3f}-{interval[1]:.3f}")
    if len(values) > 1:
        known = [value for value in values.values() if value is not None]
        by = change["change"] if change is not None else known[-1] - known[0] if len(known) == len(values) else None
        cells.append("" if by is None else f"{by:+.4f}" + (OPEN if change is not None and change["low"] <= 0 <= change["high"] else ""))
    table.add_row(name, *cells)


def _uncertain(summary: dict[str, Any]) -> list[str]:
    if "intervals" not in summary:
        return []
    images = summary["evaluated"].get("test", {}).get("images", 0)
    line = f"95 %: bootstrap interval over the {images:,} test images"
    lower = [name for name, part in LOWER.items() if any(part in metric for metric in summary["intervals"].get("adapted", ()))]
    line += f"; of {', '.join(lower)} less is better" if lower else ""
    changes = [*summary.get("changes", {}).values(), *(c for g in summary.get("guard", {}).values() for c in g.get("changes", {}).values())]
    return [
        line + ("; ?: the change may be chance, its own interval includes 0" if any(c["low"] <= 0 <= c["high"] for c in changes) else "")
    ]


def _curve(summary: dict[str, Any], folder: Path) -> list[str]:
    curve = summary.get("curve")
    return lines_of(curve, folder, curve["format"]) if curve else []


def _cost(summary: dict[str, Any], folder: Path) -> list[str]:
    counts, seconds, lines = summary["counts"], summary["seconds"], []
    if summary["command"] == "fit":
        share = f"{counts['parameters_learned']:,} of {counts['parameters_all']:,} parameters learned"
        lines.append(
            f"{share}; {seconds['fit']:.0f} s of training at {summary['images_per_second']:.0f} images/s, "
            f"{summary['waiting_for_data']:.0%} of it waiting for data"
        )
    lines.append(f"{seconds['total']:.0f} s in all, peak memory {summary['peak_memory_mb']:,.0f} MB")
    if left_out := ", ".join(f"{count} of {split}" for split, count in summary["left_out"].items() if count):
        lines.append(f"images that cannot be read: {left_out} ({folder}/bad_samples.csv)")
    return [*lines, f"run folder: {folder}"]


def _next(summary: dict[str, Any], folder: Path) -> list[str]:
    if summary["command"] != "fit":
        return []
    report = [f"report: {folder}/report.html"] if (folder / "report.html").is_file() else []
    return [
        *report,
        "",
        f"next:  cliptune test --config {folder}/config.yaml --ckpt_path {folder}",
        f"       python -c \"import cliptune; print(cliptune.load('{folder}').classify(['IMAGE.png']))\"",
    ]


def print_spreads(told: dict[str, Any], folder: Path) -> None:
    """Print a row for each metric, where all lies, and each seed's run."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("metric")
    parts = [part for part in ("zero_shot", "adapted") if told[part]]
    for part in parts:
        table.add_column(part.replace("_", "-"), justify="right")
    table.add_column("seeds", justify="right")
    for name in _monitored_first(list(dict.fromkeys(name for part in parts for name in told[part])), told.get("monitor")):
        cells = [told[part].get(name) for part in parts]
        table.add_row(name, *(_cell(cell) for cell in cells), str(max(cell["n"] for cell in cells if cell)))
    console = Console()
    console.print()
    console.print(table)
    for line in (
        "mean ± standard deviation",
        *(f"seed {seed}: {run['folder']}" for seed, run in told["runs"].items()),
        f"all: {folder}/summary.json",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _cell(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return ""
    return f"{spread['mean']:.4f}" + (f" ± {spread['std']:.4f}" if spread["std"] is not None else "")
