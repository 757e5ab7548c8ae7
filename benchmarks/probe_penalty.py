"""Where a linear probe's penalty is measured: in the coordinates of the image tower before its last product, or in those of the rows.

Test scores of `LinearProbe` with `solver: lbfgs` on the few images of sets.py's data that each seed draws, with nano. Both penalties see
the same rows. The published lists of caltech101 are of three seeds.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import product
from statistics import mean, stdev
from typing import Any

import torch
from few_shot import table_of
from few_shot_peers import part
from measure import RESULTS, circumstances, skip_without
from published import Task
from sets import ROOT, SETS
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.methods.base import ClassTexts, LabelledRows
from cliptune.methods.linear_probe import LinearProbe
from cliptune.objectives.cross_entropy import CrossEntropy

NAMES = ("bccd", "ham10000", "wikiart7", "dcss_tiles", "emoji_styles", "caltech101")
STARTS, PENALTIES, SHOTS = ("text", "zero"), ("rows", "tower"), (1, 2, 4, 8, 16)


def tasks(name: str, backbone: Backbone, seeds: list[int]) -> Iterator[tuple[int, int, Task]]:
    """Shots, seed, and what is drawn; the test images are decoded once."""
    given = {key: value for key, value in SETS[name].items() if key != "balanced"}
    path, test, known = str(ROOT / "../shared/data" / given.pop("path") / "data.parquet"), None, dict[str, Tensor]()
    for shots, seed in product(SHOTS, [seed for seed in seeds if seed <= 3 or "shots_column" not in given]):
        chosen = {**given, "caption_column": None, "shots": shots, "seed": seed}
        data = ImageTextData(path, preprocess=backbone.preprocess, needs="classes", **chosen)
        data.setup()
        test = test or part(data, "test")
        train, validation = part(data, "train"), part(data, "validation")
        task = Task(backbone, data.class_names, given["templates"], train, validation, test, seed=seed, known=known)
        yield shots, seed, task


def scores(task: Task, balanced: bool) -> dict[str, float]:
    """The test score by start and penalty."""
    parts = [LabelledRows(task.rows(split), one.labels) for split, one in (("train", task.train), ("validation", task.validation))]
    texts = ClassTexts(task.names, [[text] for text in task.texts], task.untouched.preprocess)
    found = {}
    for start, penalty in product(STARTS, PENALTIES):
        method = LinearProbe(start, "lbfgs", penalty=penalty)  # type: ignore[arg-type]
        method.attach(task.untouched, texts)
        method.solve(task.untouched, CrossEntropy(), *parts)
        with torch.no_grad():
            said = (task.rows("test") @ method.class_rows(task.untouched, texts).rows.T).argmax(dim=1)
        right, labels = (said == task.test.labels).float(), task.test.labels
        each = [float(right[labels == one].mean()) for one in labels.unique()]
        found[f"{start} {penalty}"] = mean(each) if balanced else float(right.mean())
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """Points that the tower's coordinates gain, by set and shots."""
    lines = [
        "| data | start | " + " | ".join(f"{shots} shot{'s' * (shots > 1)}" for shots in SHOTS) + " | seeds |",
        "|---|---|" + "---|" * 6,
    ]
    for name, start in product(dict.fromkeys(run["set"] for run in runs), STARTS):
        cells, count = [], 0
        for shots in SHOTS:
            known = [run["scores"] for run in runs if (run["set"], run["shots"]) == (name, shots)]
            apart = [100 * (one[f"{start} tower"] - one[f"{start} rows"]) for one in known]
            cells.append(f"{mean(one[f'{start} tower'] for one in known):.3f}, {mean(apart):+.1f} ± {stdev(apart):.1f}" if apart else "")
            count = max(count, len(apart))
        lines.append(f"| {name} | {start} | {' | '.join(cells)} | {count} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5, 6])
    given = parser.parse_args()
    skip_without(*(table_of(SETS[name]["path"]) for name in given.sets))
    backbone = Backbone("nano").eval().requires_grad_(False)
    runs: list[dict[str, Any]] = []
    for name in given.sets:
        for shots, seed, task in tasks(name, backbone, given.seeds):
            runs.append({"set": name, "shots": shots, "seed": seed, "scores": scores(task, bool(SETS[name].get("balanced")))})
        print(table(runs), flush=True)
    whole = {**circumstances(), "table": table(runs), "runs": runs}
    (RESULTS / "probe_penalty.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
