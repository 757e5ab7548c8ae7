"""Which evaluation of a run should be kept: rules that see validation alone, and what the test split says of them.

`python benchmarks/selection.py run` trains few-shot runs by `cliptune sweep` with the test split as a guard, so that it is scored at each
evaluation and has no say; `fill` reads their metrics.csv and writes what each rule would have kept to results/selection.json. The seeds
are none of those that other results are of.
"""

import argparse
import csv
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow.parquet as pq
import yaml
from measure import RESULTS, machine, versions
from sets import config

SETS = "bccd", "wikiart7", "dcss_tiles", "emoji_styles"
METHODS, SHOTS, SEEDS = "full,lora,prompt_tuning", "1,4", "11,12"
EPOCHS, EVERY, IMAGES = 20, 2, 300


def se(share: float, images: int) -> float:
    """The standard error of a share of so many."""
    return math.sqrt(share * (1 - share) / images) if 0 < share < 1 else 0.5 / images


def latest_within(errors: float) -> Callable[[list[float], int], int]:
    """The rule: the latest evaluation that is within so many standard errors of the best."""

    def rule(scores: list[float], images: int) -> int:
        best = max(scores)
        return max(place for place, score in enumerate(scores) if score >= best - errors * se(best, images) - 1e-9)

    return rule


RULES: dict[str, Callable[[list[float], int], int]] = {
    "the first of the best": lambda scores, images: scores.index(max(scores)),
    "the latest of the best": latest_within(0),
    "the latest within half a standard error": latest_within(0.5),
    "the latest within one standard error": latest_within(1),
    "the latest within two standard errors": latest_within(2),
    "the last": lambda scores, images: len(scores) - 1,
}


def recipe(name: str, test: Path) -> dict[str, Any]:
    """The recipe of a set's sweep: that of sets.py, with images of its test split, in a file of their own, as the guard."""
    found = config(name)
    data = found["data"]
    labels, templates = data["label_column"], data["templates"]
    found["guard"] = [{"path": str(test), "label_column": labels, "caption_column": None, "templates": templates}]
    found["trainer"] = {"max_epochs": EPOCHS, "check_val_every_n_epoch": EVERY}
    found["watch"] = {"patience": None, "floor": 0}
    return found


def run(name: str, root: Path) -> int:
    """The sweep of a set."""
    file, test = root / f"{name}.yaml", root / f"{name}-test.parquet"
    whole = config(name)["data"]
    kept = [("split", "=", "test"), *((column, "in", values) for column, values in whole.get("where", {}).items())]
    rows = pq.read_table(whole["path"], filters=kept).drop_columns("split")
    pq.write_table(rows.take(random.Random(0).sample(range(len(rows)), min(IMAGES, len(rows)))), test)
    file.write_text(yaml.safe_dump(recipe(name, test), sort_keys=False), encoding="utf-8")
    words = [sys.executable, "-m", "cliptune", "sweep", "--config", str(file), "--methods", METHODS, "--shots", SHOTS, "--seeds", SEEDS]
    with (root / f"{name}.log").open("a", encoding="utf-8") as log:
        return subprocess.run([*words, "--output", str(root / name), "--keep", "none"], stdout=log, stderr=subprocess.STDOUT).returncode


def read(folder: Path) -> dict[str, Any] | None:
    """A run's evaluations: validation, test, and how many images validation has."""
    if not (folder / "summary.json").is_file():
        return None
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/top1") and row.get(guard)]
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    scores = {"validation": [float(row["val/top1"]) for row in rows], "test": [float(row[guard]) for row in rows]}
    return {"run": folder.name, "images": summary["counts"]["validation"], **scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("run", "fill"))
    parser.add_argument("--root", type=Path, default=Path("runs/selection"))
    given = parser.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    if given.command == "run":
        sys.exit(max(run(name, given.root) for name in SETS))
