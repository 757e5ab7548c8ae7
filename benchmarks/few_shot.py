"""Sixteen images of each class: every method on the same images, by `cliptune fit` with one config a data set and `model.method` switched.

Zero-shot, the four methods, mean and standard deviation of test top-1 over seeds 1 to 3, seconds of training, and what learned; written
to results/few_shot.json after each run, so that a stopped measurement goes on where it was. The page is docs/few_shot.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from measure import RESULTS, circumstances, skip_without

ROOT = Path(__file__).parents[1]
SETS: dict[str, dict[str, Any]] = {
    "bccd_cells": {"label_column": "label", "templates": "a microscope image of a {}.", "epochs": 20},
    "dcss_tiles": {"label_column": "label", "templates": "pixel art sprite, {}.", "epochs": 20},
    "emoji_styles": {"label_column": "category", "templates": "an emoji of {}.", "epochs": 20},
    "caltech101": {"label_column": "label", "templates": "a photo of a {}.", "shots_column": "fewshot_list", "epochs": 4},
}
METHODS: dict[str, dict[str, Any]] = {
    "Full": {"class_path": "Full"},
    "LoRA": {"class_path": "LoRA", "init_args": {"rank": 4}},
    "LinearProbe": {"class_path": "LinearProbe", "init_args": {"solver": "lbfgs"}},
    "PromptTuning": {"class_path": "PromptTuning"},
}
SEEDS = (1, 2, 3)


def table_of(name: str) -> Path:
    """The file of a data set."""
    return ROOT.parent / "shared" / "data" / name / "data.parquet"


def config(name: str, given: dict[str, Any], lr: float) -> dict[str, Any]:
    """The config of a data set, all but the method."""
    data = {key: value for key, value in given.items() if key != "epochs" and value is not None}
    return {
        "model": {
            "backbone": {"name": "nano"},
            "objective": "CrossEntropy",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr, "weight_decay": 0.01}},
        },
        "data": {"path": f"../shared/data/{name}/data.parquet", "caption_column": None, "shots": 16, "batch_size": 32, **data},
        "trainer": {"max_epochs": given["epochs"]},
        "watch": {"patience": None},
        "run": {"pictures": False},
    }


def run(name: str, method: str, seed: int, lr: float, folder: Path) -> dict[str, Any]:
    """One fit; its summary."""
    config_file = folder / f"{name}.yaml"
    config_file.write_text(json.dumps(config(name, SETS[name], lr)), encoding="utf-8")
    words = [sys.executable, "-m", "cliptune", "fit", "--config", str(config_file), "--seed_everything", str(seed)]
    words += ["--model.method", json.dumps(METHODS[method]), "--run.root", str(folder), "--run.name", f"{name}-{method}-{seed}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    summary: dict[str, Any] = json.loads((folder / f"{name}-{method}-{seed}" / "summary.json").read_text(encoding="utf-8"))
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "zero_shot": summary["zero_shot"]["test/top1"],
        "adapted": summary["adapted"]["test/top1"],
        "seconds": summary["seconds"]["fit"],
        "total_seconds": summary["seconds"]["total"],
        "learned": summary["counts"]["parameters_learned"],
        "train_images": summary["counts"]["train"],
    }


def table(found: list[dict[str, Any]]) -> str:
    """A Markdown table; a method below zero-shot says so."""
    lines = ["| data | method | zero-shot | test top-1, mean and spread | training, s | learned |", "|---|---|---|---|---|---|"]
    for name in SETS:
        for method in METHODS:
            runs = [one for one in found if (one["set"], one["method"]) == (name, method)]
            if not runs:
                continue
            scores = [one["adapted"] for one in runs]
            spread = f" ± {stdev(scores):.3f}" if len(scores) > 1 else ""
            below = " **below zero-shot**" if mean(scores) < runs[0]["zero_shot"] else ""
            seconds = mean(one["seconds"] for one in runs)
            score = f"{mean(scores):.3f}{spread}{below}"
            lines.append(f"| {name} | {method} | {runs[0]['zero_shot']:.3f} | {score} | {seconds:.0f} | {runs[0]['learned']:,} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument(
        "--lr", type=float, default=3e-4, help="of full fine-tuning; the same for all methods, which have their factors on it"
    )
    given = parser.parse_args()
    skip_without(*(table_of(name) for name in given.sets))
    file = RESULTS / "few_shot.json"
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["runs"] if file.exists() else []
    known = {(one["set"], one["method"], one["seed"]) for one in found}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            for method in given.methods:
                for seed in given.seeds:
                    if (name, method, seed) in known:
                        continue
                    found.append(run(name, method, seed, given.lr, Path(folder)))
                    print(found[-1], flush=True)
                    whole = {**circumstances(), "threads": os.environ.get("OMP_NUM_THREADS"), "lr": given.lr, "runs": found}
                    file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
