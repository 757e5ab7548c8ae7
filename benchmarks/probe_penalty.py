"""Where a linear probe starts, and where its penalty is measured: twenty draws of few images tell apart what three seeds cannot.

Test scores of `LinearProbe` with `solver: lbfgs` on the few images of sets.py's data that each seed draws, with nano: from the class
texts or from nothing, with the penalty in the coordinates of the image tower before its last product or in those of the rows. All four
see the same rows. The published lists of caltech101 are of three seeds.
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
BASELINE, PROBES = "zero rows", ("zero tower", "text rows", "text tower")
TOLD = {
    "zero rows": "from nothing, penalty on the rows (score)",
    "zero tower": "from nothing, in the tower",
    "text rows": "from the texts, on the rows",
    "text tower": "from the texts, in the tower",
}


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
    """The baseline's score, and points above it with their standard error, in bold from two of them on, by set and shots."""
    heads = ["data", "probe", *(f"{shots} shot{'s' * (shots > 1)}" for shots in SHOTS), "draws"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, probe in product(dict.fromkeys(run["set"] for run in runs), (BASELINE, *PROBES)):
        known = [[run["scores"] for run in runs if (run["set"], run["shots"]) == (name, shots)] for shots in SHOTS]
        cells = [_cell(one, probe) if one else "" for one in known]
        lines.append(f"| {name} | {TOLD[probe]} | {' | '.join(cells)} | {max(map(len, known))} |")
    return "\n".join(lines)


def _cell(known: list[dict[str, float]], probe: str) -> str:
    if probe == BASELINE:
        return f"{mean(one[probe] for one in known):.3f}"
    apart = [100 * (one[probe] - one[BASELINE]) for one in known]
    error = stdev(apart) / len(apart) ** 0.5
    points = f"{mean(apart):+.1f} ± {error:.1f}"
    return f"**{points}**" if mean(apart) > 2 * error else points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(1, 21)))
    given = parser.parse_args()
    skip_without(*(table_of(SETS[name]["path"]) for name in given.sets))
    backbone = Backbone("nano").eval().requires_grad_(False)
    file = RESULTS / "probe_penalty.json"
    before = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.is_file() else []
    runs: list[dict[str, Any]] = [run for run in before if run["set"] not in given.sets]
    for name in given.sets:
        for shots, seed, task in tasks(name, backbone, given.seeds):
            runs.append({"set": name, "shots": shots, "seed": seed, "scores": scores(task, bool(SETS[name].get("balanced")))})
        print(table(runs), flush=True)
    whole = {**circumstances(), "table": table(runs), "runs": runs}
    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
