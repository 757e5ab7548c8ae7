"""The pictures of the cards in recipes/: what each recipe of a data set reaches on test, and what it keeps of the guards."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from cliptune.metrics.names import short
from cliptune.sweep.plots import COLOURS, FAINT, MARKERS


def draw(folder: str, found: list[dict[str, Any]], file: Path) -> str:
    """Draw the recipes of one data set that share their first metric.

    Args:
        folder: of the data set, such as medical/bccd.
        found: what recipes.py measured of each.
        file: a PNG.

    Returns:
        What the picture shows, for who cannot see it; empty where there is nothing to draw, and no file then.
    """
    if not found:
        file.unlink(missing_ok=True)
        return ""
    metric = next(iter(found[0]["scores"]))
    rows = [row for one in found if next(iter(one["scores"])) == metric for row in _rows(one, metric)][::-1]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 1.2 + 0.42 * len(rows)), sharey=True, width_ratios=(3, 2), constrained_layout=True
    )
    zero = found[0]["scores"][metric]["zero_shot"][0]
    left.axvline(zero, color=FAINT, linestyle="--", linewidth=1.2, label=f"zero-shot, {zero:.3f}")
    for place, (_, scores, _, sure) in enumerate(rows):
        low, high = (
            sure if sure and len(scores) == 1 else [mean(scores) + sign * (stdev(scores) if len(scores) > 1 else 0) for sign in (-1, 1)]
        )
        left.errorbar(
            mean(scores), place, xerr=[[mean(scores) - low], [high - mean(scores)]], color=COLOURS[0], marker="o", markersize=7, capsize=3
        )
        left.annotate(f"{mean(scores):.3f}", (mean(scores), place), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    guards = list(found[0]["guards"])
    for number, guard in enumerate(guards):
        kept = [row[2][guard] for row in rows]
        right.plot(kept, range(len(rows)), MARKERS[number + 1], color=COLOURS[number + 1], markersize=7, label=guard)
    right.axvline(1, color=FAINT, linestyle="--", linewidth=1.2)
    left.set_yticks(range(len(rows)), [row[0] for row in rows])
    left.set_ylim(-0.6, len(rows) - 0.3)
    left.set_xlabel(f"{short(metric)} on test")
    right.set_xlabel("kept of the guards' zero-shot score")
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axis in (left, right):
        axis.grid(axis="x", color="#e6e6e1", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    figure.savefig(file, dpi=110)
    plt.close(figure)
    return f"{folder}: {short(metric)} on test of {len(rows)} recipes against zero-shot, and what each keeps of the guards"


def _rows(one: dict[str, Any], metric: str) -> list[tuple[str, list[float], dict[str, float], list[float] | None]]:
    """A recipe's name, its scores, what it keeps of each guard, the interval of its first seed; and so of a share nearer to zero-shot."""
    name = Path(one["recipe"]).name
    kept = {guard: mean(a / z for a, z in zip(g["adapted"], g["zero_shot"], strict=True)) for guard, g in one["guards"].items()}
    rows = [(name, one["scores"][metric]["adapted"], kept, one["intervals"]["adapted"])]
    if any(found["share"] < 1 for found in one["blends"]):
        part = {guard: mean(b["guards"][guard]["blend"] / b["guards"][guard]["zero_shot"] for b in one["blends"]) for guard in kept}
        rows.append((f"{name}, part of it", [b["test"][f"test/{metric}"] for b in one["blends"]], part, None))
    return rows
