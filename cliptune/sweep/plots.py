"""A sweep's pictures: `accuracy.png`, scores against shots with their spread; `forgetting.png`, gain against what is forgotten."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator, PercentFormatter

from cliptune.sweep.cells import told_shots
from cliptune.sweep.results import Table

COLOURS = ("#3456d6", "#d9662b", "#1a9a83", "#a33fb5", "#b8860b", "#c2255c", "#1c7ed6", "#5f6b7a")
MARKERS = "osD^vPX*"
FAINT = "#7a8494"


def draw_accuracy(file: Path, table: Table, name: str) -> None:
    """Draw the scores of each method on the test split against shots, with one standard deviation over seeds."""
    figure, axis = plt.subplots(figsize=(8, 4.4), constrained_layout=True)
    places = [table.place(shots) for shots in table.shots]
    if (zero := table.zero_shot()) is not None:
        axis.axhline(zero, color=FAINT, linestyle="--", linewidth=1.2, label="zero-shot", zorder=1)
    for i, method in enumerate(table.methods):
        known = [(table.beside(method, shots), spread) for shots in table.shots if (spread := table.test(method, shots))]
        axis.errorbar(
            [x for x, _ in known],
            [spread.mean for _, spread in known],
            yerr=[spread.std or 0.0 for _, spread in known],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            linewidth=1.8,
            elinewidth=1.1,
            capsize=2.5,
            label=method,
        )
    _shots_axis(axis, table, places)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ylabel(f"test {table.metric}")
    axis.grid(axis="y", color="#e6e6e1", linewidth=0.8)
    over = f"mean and standard deviation over {len(table.seeds)} seeds" if len(table.seeds) > 1 else "one seed"
    axis.set_title(f"{name}: {over}", loc="left", fontsize=10, parse_math=False)
    _finish(figure, [axis], file)


def _shots_axis(axis: Any, table: Table, places: Sequence[float]) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    labels = [f"all\n({place:,.0f})" if shots is None else str(shots) for place, shots in zip(places, table.shots, strict=True)]
    axis.set_xticks(places, labels)
    axis.set_xlabel("training images of each class")


def draw_forgetting(file: Path, table: Table) -> bool:
    """Draw what each method gains on the test split against what it loses on each guard; a line joins a method's numbers of shots.

    Returns:
        Whether there were guards to draw.
    """
    zero = table.zero_shot()
    names = list(dict.fromkeys(name for method in table.methods for shots in table.shots for name in table.guards(method, shots)))
    if not names or zero is None:
        return False
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names) + 1.5, 4.2), squeeze=False, sharey=True, constrained_layout=True)
    for axis, name in zip(axes.flat, names, strict=True):
        for i, method in enumerate(table.methods):
            points = [
                (guards[name].mean, test.mean - zero, shots)
                for shots in table.shots
                if name in (guards := table.guards(method, shots)) and (test := table.test(method, shots))
            ]
            colour = COLOURS[i % len(COLOURS)]
            xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
            axis.plot(xs, ys, color=colour, marker=MARKERS[i % len(MARKERS)], markersize=5, linewidth=1, label=method)
            if points:
                axis.annotate(
                    told_shots(points[-1][2]), points[-1][:2], xytext=(5, 4), textcoords="offset points", fontsize=7, color=colour
                )
        axis.axvline(0, color=FAINT, linewidth=0.8)
        axis.axhline(0, color=FAINT, linewidth=0.8)
        axis.set_xlabel(f"change on {name}, points", parse_math=False)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(PercentFormatter(1, decimals=1, symbol=""))
        axis.grid(color="#efefeb", linewidth=0.8)
    axes[0, 0].set_ylabel(f"gain on test {table.metric}, points")
    axes[0, 0].set_title("up: learned more; right: forgot less", loc="left", fontsize=9, color="#555")
    _finish(figure, list(axes.flat), file)
    return True


def _finish(figure: Any, axes: Sequence[Any], file: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside right center")
    figure.savefig(file, dpi=120)
    plt.close(figure)
