"""What sets.py has measured, as the tables and the picture of docs/sweep.md."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator, PercentFormatter

from cliptune.sweep.entries import ALL as METHODS
from cliptune.sweep.plots import COLOURS, FAINT, MARKERS
from cliptune.sweep.results import BASELINE

ALL = 48  # where the picture has all images
METRICS = {"mean_per_class": "balanced accuracy", "top1": "top-1"}


def overview(classes: dict[str, dict[str, Any]]) -> str:
    """How a sweep's own methods did over all sets: at few images, at how many places one was the best, and with all.

    Args:
        classes: the sweeps of sets with classes, by name.
    """
    few, whole = (
        [place for shots in wanted for one in classes.values() if (place := at(one, shots))] for wanted in ((1, 2, 4, 8, 16), ("all",))
    )
    head = ["", "few: near the best", "few: below the best", "few: guard", "all: below the best", "all: guard"]
    rows = []
    for method in dict.fromkeys([*METHODS, *(name for place in few + whole for name in place)]):
        cells = [f"`{method}`", str(sum(_near(place, method) for place in few)) if _everywhere(method, few) else ""]
        for places in (few, whole):
            known = places if _everywhere(method, places) else []
            behind = [100 * (_best(place)["test"]["mean"] - place[method]["test"]["mean"]) for place in known]
            guards = [100 * guard["mean"] for place in known for guard in place[method]["guard"].values()]
            cells += [f"{fmean(behind):.1f}, {max(behind):.1f}" if behind else "", f"{fmean(guards):+.1f}" if guards else ""]
        rows += [cells] if any(cells[1:]) else []
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])
    return f"""{table}

*few*: 1, 2, 4, 8 and 16 images of each class, {len(few)} places in all; *all*: {len(whole)} sets. *near the best*: places where
a method is the best, or no further below it than the best one's standard deviation over the seeds. *below the best*: points of the
test score, mean and most. *guard*: by how many points the score on other images changes, mean. Rows below the first six are
entries of one's own."""


def at(one: dict[str, Any], shots: int | str) -> dict[str, dict[str, Any]] | None:
    """The means of a sweep at a number of shots, by method; None where one of the sweep's own is missing."""
    found = {own["method"]: own for own in one["means"] if own["shots"] == shots}
    return found if found.keys() >= set(METHODS) else None


def _everywhere(method: str, places: list[dict[str, dict[str, Any]]]) -> bool:
    return bool(places) and all(method in place for place in places)


def _best(place: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return max((place[method] for method in METHODS), key=lambda one: float(one["test"]["mean"]))


def _near(place: dict[str, dict[str, Any]], method: str) -> bool:
    best = _best(place)["test"]
    return bool(place[method]["test"]["mean"] >= best["mean"] - (best["std"] or 0.0))


def tables(classes: dict[str, dict[str, Any]], pairs: dict[str, dict[str, Any]]) -> Iterable[str]:
    """The tables of the page: one for each number of shots, one for what is forgotten, one of recommendations.

    Args:
        classes: the sweeps of sets with classes, by name.
        pairs: of those with captions alone.
    """
    methods = list(dict.fromkeys(mean["method"] for one in classes.values() for mean in one["means"]))
    head = "| | " + " | ".join(classes) + " |\n|---|" + "---|" * len(classes)
    metric = "| metric | " + " | ".join(METRICS.get(one["metric"], one["metric"]) for one in classes.values()) + " |"
    zero = "| zero-shot | " + " | ".join(f"{one['zero_shot']:.3f}" for one in classes.values()) + " |"
    for shots in sorted({mean["shots"] for one in classes.values() for mean in one["means"]}, key=number):
        scores = {method: [told(one, method, shots) for one in classes.values()] for method in methods}
        rows = [f"| {method} | " + " | ".join(own) + " |" for method, own in scores.items() if any(own)]
        many = "All training images" if shots == "all" else f"{shots} image{'s' * (shots > 1)} of each class"
        yield "\n".join([f"{many}, test:\n", head, metric, zero, *rows])
    if rows := list(_ahead(classes)):
        title = (
            "The best method above a probe from nothing, points, with the standard deviation of the seeds' differences where it is known:"
        )
        yield "\n".join([f"{title}\n", head.replace("| |", "| images of each class |", 1), *rows])
    if classes:
        losses = {method: [lost(one, method) for one in classes.values()] for method in methods}
        rows = [f"| {method} | " + " | ".join(own) + " |" for method, own in losses.items() if any(own)]
        yield "\n".join(["What is forgotten at 16 images of each class, points on the guard:\n", head, *rows])
    if pairs:
        lines = [
            "Images and captions (mean recall on test, all training images):\n",
            "| | zero-shot | flyp | lora_contrastive | guard, points |",
        ]
        lines += ["|---|---|---|---|---|"]
        for name, one in pairs.items():
            cells = [told(one, method, "all") for method in ("flyp", "lora_contrastive")]
            guards = " and ".join(lost(one, method, "all") for method in ("flyp", "lora_contrastive"))
            lines += [f"| {name} | {one['zero_shot']:.3f} | {cells[0]} | {cells[1]} | {guards} |"]
        yield "\n".join(lines)
    lines = ["What each sweep recommends:\n", *(f"- **{name}**: {sentence(one)}" for name, one in {**classes, **pairs}.items())]
    yield "\n".join(lines)


def _ahead(classes: dict[str, dict[str, Any]]) -> Iterable[str]:
    """Rows by shots."""
    for shots in sorted({mean["shots"] for one in classes.values() for mean in one["means"]}, key=number):
        yield f"| {shots} | " + " | ".join(ahead(one, shots) for one in classes.values()) + " |"


def ahead(one: dict[str, Any], shots: int | str) -> str:
    """The method with the highest mean, and how far it is above the probe from nothing; with a spread where the sweep has told it."""
    base = mean_of(one, BASELINE, shots)
    known = [mean for mean in one["means"] if mean["shots"] == shots and mean["method"] != BASELINE]
    if not known or base is None:
        return ""
    best = max(known, key=lambda mean: float(mean["test"]["mean"]))
    apart = best.get("above_baseline") or {"mean": best["test"]["mean"] - base["test"]["mean"], "std": None}
    return f"{best['method']} {100 * apart['mean']:+.1f}" + (f" ± {100 * apart['std']:.1f}" if apart["std"] is not None else "")


def mean_of(one: dict[str, Any], method: str, shots: int | str) -> dict[str, Any] | None:
    """The mean over seeds of a method at a number of shots."""
    return next((mean for mean in one["means"] if (mean["method"], mean["shots"]) == (method, shots)), None)


def told(one: dict[str, Any], method: str, shots: int | str) -> str:
    """A cell of the table: bold where no method's mean is higher."""
    mean = mean_of(one, method, shots)
    if mean is None:
        return ""
    test, best = mean["test"], max(other["test"]["mean"] for other in one["means"] if other["shots"] == shots)
    text = f"{test['mean']:.3f}" + (f" ± {test['std']:.3f}" if test["std"] is not None else "")
    text = f"**{text}**" if test["mean"] == best else text
    return text + (f" (n={test['n']})" if test["n"] < len(one["seeds"]) else "")


def sentence(one: dict[str, Any]) -> str:
    """The recommendation, without its first word."""
    return str(one["recommendation"]["sentence"]).removeprefix("Recommended: ")


def lost(one: dict[str, Any], method: str, shots: int | str = 16) -> str:
    """How the guard changed, in points."""
    mean = mean_of(one, method, shots)
    change = next(iter(mean["guard"].values()), None) if mean else None
    return f"{100 * change['mean']:+.1f}" if change else ""


def draw(classes: dict[str, dict[str, Any]], file: Path) -> None:
    """Test scores of a sweep's own methods against shots, a panel for each set with classes."""
    methods = [method for method in METHODS if any(mean["method"] == method for one in classes.values() for mean in one["means"])]
    rows = -(-len(classes) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(10, 3.1 * rows), squeeze=False, constrained_layout=True)
    for axis in axes.flat[len(classes) :]:
        axis.set_axis_off()
    for axis, (name, one) in zip(axes.flat, classes.items(), strict=False):
        axis.axhline(one["zero_shot"], color=FAINT, linestyle="--", linewidth=1.2, label="zero-shot")
        for i, method in enumerate(methods):
            known = [mean for mean in one["means"] if mean["method"] == method]
            axis.errorbar(
                [ALL if mean["shots"] == "all" else mean["shots"] for mean in known],
                [mean["test"]["mean"] for mean in known],
                yerr=[mean["test"]["std"] or 0.0 for mean in known],
                color=COLOURS[i],
                marker=MARKERS[i],
                markersize=4,
                linewidth=1.4,
                elinewidth=0.9,
                capsize=2,
                label=method,
            )
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        ends = {ALL: "all"} if any(mean["shots"] == "all" for mean in one["means"]) else {}
        axis.set_xticks([1, 2, 4, 8, 16, *ends], ["1", "2", "4", "8", "16", *ends.values()])
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_title(f"{name}, {METRICS.get(one['metric'], one['metric'])}", loc="left", fontsize=9)
        axis.grid(axis="y", color="#e6e6e1", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.supxlabel("training images of each class", fontsize=9)
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside right center")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def number(shots: int | str) -> float:
    """A number of shots, to be sorted by."""
    return float("inf") if shots == "all" else float(shots)
