"""Which evaluation of a run should be kept: rules that see validation alone, and what the test split says of them.

Few-shot runs by `cliptune sweep` with the test split as a guard, so that it is scored at each evaluation and has no say; then their
metrics.csv says what each rule would have kept. The seeds are none of those that other results are of. The same command goes on.
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
from measure import RESULTS, circumstances, skip_without
from sets import config

Run = dict[str, Any]
SETS = "bccd", "wikiart7", "dcss_tiles"
METHODS, SHOTS, SEEDS = "full,lora,prompt_tuning", "1,4", "11,12"
EPOCHS, EVERY, IMAGES = 20, 2, 300


def latest(errors: float) -> Callable[[Run], int]:
    """The rule: the latest evaluation that is within so many standard errors of the best."""

    def rule(run: Run) -> int:
        best, images = max(run["validation"]), run["images"]
        error = math.sqrt(best * (1 - best) / images) if 0 < best < 1 else 0.5 / images
        return max(place for place, score in enumerate(run["validation"]) if score >= best - errors * error - 1e-9)

    return rule


def surest(run: Run) -> int:
    """The rule: of the best the one with the lowest cross-entropy."""
    return max(range(len(run["nll"])), key=lambda place: (run["validation"][place], -run["nll"][place]))


OURS = "best, of equals the latest"
RULES: dict[str, Callable[[Run], int]] = {
    "best, of equals the first (Lightning's)": lambda run: run["validation"].index(max(run["validation"])),
    "best, of equals the lowest cross-entropy": surest,
    "lowest cross-entropy": lambda run: run["nll"].index(min(run["nll"])),
    OURS: latest(0),
    "latest within one standard error of the best": latest(1),
    "the last": lambda run: len(run["validation"]) - 1,
    "best on test, which nobody can know": lambda run: run["test"].index(max(run["test"])),
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


def read(folder: Path, name: str) -> Run | None:
    """A run's evaluations, but the first, of the untouched model, and the last, of the kept one; how many images validation has."""
    if not (folder / "summary.json").is_file():
        return None
    guard = f"guard/{name}-test/top1"
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/top1") and row.get(guard)][1:-1]
    images = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["counts"]["validation"]
    columns = {"validation": "val/top1", "nll": "val/nll", "test": guard}
    return {"set": name, "run": folder.name, "images": images, **{key: [float(row[of]) for row in rows] for key, of in columns.items()}}


def table(runs: list[Run]) -> str:
    """What each rule keeps, on test, and points above cliptune's rule with their standard error."""
    sets = list(dict.fromkeys(run["set"] for run in runs))
    heads = ["what is kept", "test top-1", "points above cliptune's rule", *sets]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, rule in RULES.items():
        apart = [(run["set"], 100 * (run["test"][rule(run)] - run["test"][RULES[OURS](run)])) for run in runs]
        of_all = [points for _, points in apart]
        told = "" if name == OURS else f"{mean(of_all):+.1f} ± {stdev(of_all) / len(of_all) ** 0.5:.1f}"
        each = ["" if name == OURS else f"{mean(points for of, points in apart if of == one):+.1f}" for one in sets]
        lines.append(f"| {name} | {mean(run['test'][rule(run)] for run in runs):.3f} | {told} | {' | '.join(each)} |")
    return "\n".join(lines)


def fill(root: Path) -> None:
    """Write what has ended."""
    folders = [(name, folder) for name in SETS for folder in sorted((root / name / "cells").glob("*"))]
    runs = [run for name, folder in folders if (run := read(folder, name)) is not None]
    whole = {**circumstances(), "table": table(runs), "runs": runs}
    (RESULTS / "selection.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(whole["table"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/selection"))
    given = parser.parse_args()
    skip_without(*(Path(config(name)["data"]["path"]) for name in SETS))
    given.root.mkdir(parents=True, exist_ok=True)
    failed = [name for name in SETS if run(name, given.root)]
    fill(given.root)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
