"""Every recipe offline (nano, ../shared/data), three seeds each, and what they come to: the tables of the cards in recipes/.

`python benchmarks/recipes.py run` runs what has not been run, the first seed of all recipes before the second; `fill` adds what has
ended to results/recipes.json, and writes from it the cards' tables and pictures and the recipes' result lines.
What has ended is not run again: to do so, take it out of that file.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from alone import command_alone
from measure import RESULTS, machine, versions
from page import put
from recipe_pictures import draw
from recipes_page import CALIBRATION, STATES, spread, table

from cliptune.metrics.names import short

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
SEEDS = (1, 2, 3)
CHEAP = ("linear_probe", "prompt", "lora", "full", "flyp")  # in this order
FIRST = ("medical/bccd", "medical/covid_cxr", "art/emoji_styles", "medical/ham10000", "art/wikiart7", "games/dcss_tiles")
METRICS: dict[str, tuple[str, ...]] = {  # of each folder, the first is what it is chosen by
    "medical/ham10000": ("mean_per_class", "auroc", "top1"),
    "medical/bccd": ("mean_per_class", "auroc", "top1"),
    "medical/covid_cxr": ("recall", "recall@10_text_to_image", "recall@10_image_to_text"),
    "games/dcss_tiles/descriptions": ("recall", "recall@10_text_to_image", "recall@10_image_to_text"),
}
USUAL = ("top1", "mean_per_class")
BCCD = "medical/bccd"  # whose recipes recipe_cost.py runs


def recipes() -> list[str]:
    """Names such as medical/bccd/lora, the cheap ones first."""
    files = [file for file in RECIPES.glob("*/*/*.yaml") if file.stem not in ("offline", "described")]
    names = [str(file.relative_to(RECIPES).with_suffix("")) for file in files]
    ranks = {name: i for i, name in enumerate(CHEAP)}
    return sorted(names, key=lambda name: (ranks.get(Path(name).name, len(CHEAP)), FIRST.index(str(Path(name).parent)), name))


def key_of(name: str, seed: int) -> str:
    """The name of a run and its folder."""
    return f"{name.replace('/', '-')}-{seed}"


def run(name: str, seed: int, root: Path) -> bool:
    """One fit, unless it has ended, or results/recipes.json knows how it ended."""
    folder = key_of(name, seed)
    if (root / folder / "summary.json").is_file() or folder in kept():
        return True
    words = [sys.executable, "-m", "cliptune", "fit", "--config", f"recipes/{name}.yaml"]
    words += ["--config", f"recipes/{Path(name).parent}/offline.yaml", "--seed_everything", str(seed)]
    words += ["--run.root", str(root), "--run.name", folder]
    shutil.rmtree(root / folder, ignore_errors=True)  # one that was cut off
    began, log = time.time(), root / f"{folder}.log"
    status, spent = command_alone(words, log)
    if status == 0:
        (root / folder / "cpu.json").write_text(json.dumps({"cpu_seconds": spent}), encoding="utf-8")
    print(f"{name} seed {seed}: status {status}, {time.time() - began:.0f} s, {spent:.0f} s of CPU; {log}", flush=True)
    return status == 0


def kept() -> dict[str, Any]:
    """The runs of results/recipes.json."""
    file = RESULTS / "recipes.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))["runs"]) if file.is_file() else {}


def record(name: str, folder: Path) -> dict[str, Any] | None:
    """What is kept of a run, None where it has not ended."""
    told = [json.loads(file.read_text("utf-8")) if file.is_file() else None for file in map(folder.joinpath, FILES)]
    summary, cpu, blend = told
    if summary is None:
        return None
    wanted = METRICS.get(name) or METRICS.get(str(Path(name).parent), USUAL)
    scores = {metric: [summary[state][f"test/{metric}"] for state in STATES] for metric in wanted if f"test/{metric}" in summary["adapted"]}
    guards = {name: [one[state][one["metric"]] for state in STATES] for name, one in (summary.get("guard") or {}).items()}
    first = f"test/{next(iter(scores))}"
    return {
        "scores": scores,  # before and after
        "guards": guards,
        "intervals": {state: summary.get("intervals", {}).get(state, {}).get(first) for state in STATES},
        "calibration": {name: [summary[state].get(f"test/{name}") for state in STATES] for name in CALIBRATION},
        "seconds": summary["seconds"]["total"],
        "cpu_seconds": cpu and cpu["cpu_seconds"],
        "peak_memory_mb": summary["peak_memory_mb"],
        "learned": summary["counts"]["parameters_learned"],
        "test_images": summary["counts"].get("test"),
        "blend": blend,
        "machine": machine(),
    }


FILES = "summary.json", "cpu.json", "blend.json"


def gathered(root: Path) -> dict[str, Any]:
    """The runs kept before, and those of the folder in place of them."""
    folders = {key_of(name, seed): (name, root / key_of(name, seed)) for name in recipes() for seed in SEEDS}
    fresh = {key: found for key, (name, folder) in folders.items() if (found := record(name, folder)) is not None}
    before = {key: found for key, found in kept().items() if key in folders}
    return {key: {**before, **fresh}[key] for key in folders if key in before or key in fresh}


def measured(name: str, records: dict[str, Any]) -> dict[str, Any] | None:
    """What a recipe's runs come to."""
    runs = [records[key_of(name, seed)] for seed in SEEDS if key_of(name, seed) in records]
    if not runs:
        return None
    both = {
        part: {one: {state: [run[part][one][i] for run in runs] for i, state in enumerate(STATES)} for one in runs[0][part]}
        for part in ("scores", "guards")
    }
    used = [run["cpu_seconds"] for run in runs if run["cpu_seconds"]]
    blends = [run["blend"] for run in runs if run["blend"]]
    return {
        "recipe": name,
        "seeds": len(runs),
        "blends": blends if len(blends) == len(runs) else [],
        **both,
        "intervals": runs[0]["intervals"],  # of the first seed
        "calibration": runs[0]["calibration"],  # likewise
        "test_images": runs[0]["test_images"],
        "cpu_seconds": mean(used) if used else None,
        "peak_memory_mb": max(run["peak_memory_mb"] for run in runs),
    }


def fill(root: Path) -> None:
    """Write the results into the JSON file, the cards and the recipes."""
    records = gathered(root)
    all_found = [one for name in recipes() if (one := measured(name, records)) is not None]
    whole = {"versions": versions(), "threads": os.environ.get("OMP_NUM_THREADS"), "runs": records}
    (RESULTS / "recipes.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    for card in RECIPES.glob("*/README.md"):
        text = card.read_text(encoding="utf-8")
        for folder in re.findall(r"<!-- results (\S+) -->", text):
            marks = f"<!-- results {folder} -->", "<!-- end -->"
            rows = [one for one in all_found if str(Path(one["recipe"]).parent) == folder]
            measured_names = [one["recipe"] for one in rows]
            lacking = [Path(name).name for name in recipes() if str(Path(name).parent) == folder and name not in measured_names]
            drawn = draw(folder, rows, RECIPES / f"{folder}.png")
            shown = [table(rows, lacking), *([f"![{drawn}]({Path(folder).name}.png)"] if drawn else [])]
            text = put(text, marks, "\n\n".join(shown))
        card.write_text(text, encoding="utf-8")
    for name in set(recipes()) - {one["recipe"] for one in all_found}:
        _write_line(RECIPES / f"{name}.yaml", f"# Cost, result: with ViT-B-16 {_cost_of_vit(name)}; offline not measured yet.")
    for one in all_found:
        file = RECIPES / f"{one['recipe']}.yaml"
        metric, scores = next(iter(one["scores"].items()))
        score = f"{short(metric)} {scores['zero_shot'][0]:.3f} before, {spread(scores['adapted'])} after"
        seeds = f"{one['seeds']} seeds" if one["seeds"] > 1 else "one seed"
        line = f"# Cost, result: with ViT-B-16 {_cost_of_vit(one['recipe'])}; offline {_cost(one)}test {score} ({seeds})."
        _write_line(file, line)


def _write_line(file: Path, line: str) -> None:
    text = re.sub(r"^# Cost, result:.*$", line, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(text, encoding="utf-8")


def _cost(one: dict[str, Any]) -> str:
    return f"{one['cpu_seconds']:.0f} s of one core, " if one["cpu_seconds"] else ""


def _cost_of_vit(name: str) -> str:
    """What recipe_cost.py measured of the method on bccd, whose classes are few; captions and descriptions cost otherwise."""
    file = RESULTS / "recipe_cost.json"
    known = json.loads(file.read_text(encoding="utf-8"))["methods"] if file.is_file() else {}
    one = known.get(Path(name).name) if METRICS.get(str(Path(name).parent), USUAL)[0] != "recall" else None
    if one is None:
        return "not measured yet"
    seconds, memory = one["cpu_seconds_per_1000_images"], one["peak_memory_mb"] / 1000
    whose = "" if str(Path(name).parent) == BCCD else "bccd's: "
    return f"{seconds:,} s of a core for 1,000 images, {memory:.1f} GB ({whose}recipes/README.md)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("run", "fill"))
    parser.add_argument("--root", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--only", nargs="*", default=[""], help="names that hold one of these, in their order")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; set OMP_NUM_THREADS so that they share the cores")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    given = parser.parse_args()
    if given.command == "fill":
        fill(given.root)
        return
    given.root.mkdir(parents=True, exist_ok=True)
    wanted = dict.fromkeys(name for part in given.only for name in recipes() if part in name)
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda one: run(one[1], one[0], given.root), [(seed, name) for seed in given.seeds for name in wanted]))


if __name__ == "__main__":
    main()
