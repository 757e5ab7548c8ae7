"""Which method on which data: `cliptune sweep` on the sets of ../shared/data with nano, at the same few images for all methods.

`python benchmarks/sets.py run` runs the sweeps one after another (each goes on where it was cut off); `fill` adds what
there is to results/sets.json, and draws the picture docs/sets.png and the tables of docs/sweep.md from it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from measure import RESULTS, machine, versions
from page import put
from sets_page import draw, number, overview, tables

from cliptune.sweep.results import BASELINE

ROOT = Path(__file__).parents[1]
DATA = "../shared/data/{}/data.parquet"
SHOTS, SEEDS = "1,2,4,8,16", "1,2,3"
PHOTOS = {
    "path": DATA.format("caltech101"),
    "images": 200,
    "caption_column": None,
}  # what is forgotten; with captions where those are the target
CAPTIONS = {"path": DATA.format("flickr8k"), "images": 200}
SETS: dict[str, dict[str, Any]] = {  # what differs: data, epochs, and methods where the data has no classes
    "bccd": {"path": "bccd_cells", "label_column": "label", "templates": "a microscope image of a {}.", "balanced": True},
    "ham10000": {"path": "ham10000_96", "label_column": "label", "templates": "a dermoscopic image of a {}.", "balanced": True},
    "wikiart7": {"path": "wikiart7_96", "label_column": "label", "templates": "a painting in the style of {}."},
    "dcss_tiles": {"path": "dcss_tiles", "label_column": "label", "templates": "pixel art of a {}.", "transform": "pixel_art"},
    "emoji_styles": {
        "path": "emoji_styles",
        "label_column": "category",
        "templates": "an emoji of {}.",
        "where": {"category": ["symbols", "people", "objects", "nature", "travel", "food", "activity"]},  # not "unknown"
    },
    "covid_cxr": {"path": "covid_cxr", "caption_column": "notes", "label_column": None, "where": {"modality": "X-ray"}},
    "flickr8k": {"path": "flickr8k", "caption_column": "captions", "label_column": None},
    "caltech101": {"path": "caltech101", "label_column": "label", "templates": "a photo of a {}.", "shots_column": "fewshot_list"},
    "tiny_imagenet": {
        "path": "tiny_imagenet_32",
        "label_column": "label",
        "templates": "a photo of a {}.",
        "splits": {"train": "train", "test": "validation"},  # nano was pretrained on all of train, so that nothing of it can be test
    },
}
EPOCHS = {"flickr8k": 2, "caltech101": 5, "tiny_imagenet": 5}  # 20 else


def config(name: str) -> dict[str, Any]:
    """The recipe of a set's sweep."""
    given = dict(SETS[name])
    balanced, path = given.pop("balanced", False), given.pop("path")
    captions = given.get("label_column") is None
    return {
        "run": {"name": name, "pictures": False, "report": False},
        "model": {
            "backbone": {"name": "nano"},
            "method": {"class_path": "LoRA", "init_args": {"rank": 8, "targets": ["q", "k", "v", "mlp"]}},
            "objective": {"class_path": "Contrastive", "init_args": {"same": ["caption"]}} if captions else "CrossEntropy",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4, "weight_decay": 0.01}},
        },
        "data": {"path": DATA.format(path), "batch_size": 32, **({} if captions else {"caption_column": None}), **given},
        "trainer": {"max_epochs": EPOCHS.get(name, 20), "check_val_every_n_epoch": 1 if name in EPOCHS else 4},
        "watch": {"patience": None, **({"monitor": "val/mean_per_class"} if balanced else {})},
        "evaluation": {"resamples": 0, "curve": False},
        "guard": [CAPTIONS if name == "caltech101" else PHOTOS],
    }


def run(name: str, root: Path, given: argparse.Namespace) -> int:
    """The sweep of a set."""
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config(name), sort_keys=False), encoding="utf-8")
    captions = SETS[name].get("label_column") is None
    methods, shots = ("flyp,lora_contrastive", "all") if captions else (given.methods, given.shots)
    words = [sys.executable, "-m", "cliptune", "sweep", "--config", str(file), "--methods", methods, "--shots", shots]
    words += ["--seeds", given.seeds, "--output", str(root / name), "--jobs", str(given.jobs), "--keep", "none"]
    with (root / f"{name}.log").open("a", encoding="utf-8") as log:
        return subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode


def read(name: str, root: Path) -> dict[str, Any] | None:
    """What a set's sweep came to; differences from another baseline than the page's are left out."""
    file = root / name / "sweep.json"
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    for mean in found["means"] if found and found["baseline"] != BASELINE else []:
        mean["above_baseline"] = None
    return found


def fill(root: Path) -> None:
    """Add what has ended to the JSON file, and draw the picture and the page from it."""
    file = RESULTS / "sets.json"
    before = json.loads(file.read_text(encoding="utf-8"))["sets"] if file.is_file() else {}
    fresh = {name: {**{key: one[key] for key in KEPT}, "machine": machine()} for name in SETS if (one := read(name, root)) is not None}
    for one in fresh.values():  # one that was cut off did not fail
        one["failed"] = [{key: run[key] for key in ("method", "shots", "seed", "reason")} for run in one["failed"] if run["reason"]]
    fresh = {name: joined(before[name], one) if name in before else one for name, one in fresh.items()}
    found = {name: {**before, **fresh}[name] for name in SETS if name in before or name in fresh}
    whole = {"versions": versions(), "threads": os.environ.get("OMP_NUM_THREADS"), "sets": found}
    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    classes = {name: one for name, one in found.items() if SETS[name].get("label_column") is not None}
    draw(classes, ROOT / "docs" / "sets.png")
    page = ROOT / "docs" / "sweep.md"
    text = put(page.read_text(encoding="utf-8"), SHORT, overview(classes))
    lacking = [name for name in SETS if name not in found]
    parts = [
        *tables(classes, {name: one for name, one in found.items() if name not in classes}),
        *([f"Not measured yet: {', '.join(lacking)}."] if lacking else []),
    ]
    page.write_text(put(text, MARKS, "\n\n".join(parts)), encoding="utf-8")


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A sweep of other methods or at other numbers of shots beside the one before; the one that chose among more recommends."""
    measured = {(mean["method"], mean["shots"]) for mean in new["means"]}
    means = [mean for mean in old["means"] if (mean["method"], mean["shots"]) not in measured] + new["means"]
    last = max(new, old, key=lambda one: (len(one["recommendation"].get("candidates", ())), number(one["recommendation"]["shots"])))
    shots, methods = sorted({*old["shots"], *new["shots"]}, key=number), [*dict.fromkeys(old["methods"] + new["methods"])]
    means.sort(key=lambda mean: (methods.index(mean["method"]), number(mean["shots"])))
    seeds = sorted({*old["seeds"], *new["seeds"]})
    whole = {"shots": shots, "methods": methods, "seeds": seeds, "means": means, "failed": [*old["failed"], *new["failed"]]}
    whole["zero_shot"] = old["zero_shot"]  # another precision moves it by a point in a thousand
    return {**new, **whole, "recommendation": last["recommendation"]}


KEPT = "metric", "methods", "shots", "seeds", "zero_shot", "means", "recommendation", "failed"
MARKS = "<!-- sets -->", "<!-- end of sets -->"
SHORT = "<!-- sets in short -->", "<!-- end of sets in short -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("run", "fill"))
    parser.add_argument("--root", type=Path, default=Path("runs/sets"))
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--shots", default=SHOTS, help="of the sets with classes; others than those measured before are added to these")
    parser.add_argument("--methods", default="all", help="likewise")
    parser.add_argument("--seeds", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    if given.command == "fill":
        fill(given.root)
        return
    for name in given.sets:
        print(f"{name}: status {run(name, given.root, given)}", flush=True)


if __name__ == "__main__":
    main()
