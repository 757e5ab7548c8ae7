"""Runs of benchmarks/recipes.py that keep guards, taken back part of the way to zero-shot: how much of the gain stays, and of the guards.

`python benchmarks/recipe_blends.py --root DIR` takes the share of what was learned that each run chose on validation (`curve` in its
summary.json; the guards have a say by `watch.keep`, test has none), scores it on test, and writes blend.json into the run's folder.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from cliptune.blend import way_of
from cliptune.loading import load
from cliptune.rescore import data_of, score


def blended(run: Path) -> dict[str, Any] | None:
    """What a run's share comes to; None where it has no curve."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    curve = summary.get("curve")
    if not curve:
        return None
    share = curve["chosen"]
    model = load(run)
    way = way_of(model)
    way.set(share)
    metrics = score(way.model, data_of(run, model), "test").metrics
    place = curve["shares"].index(share)
    return {
        "share": share,
        "test": {f"test/{name}": value for name, value in metrics.items()},
        "guards": {name: {"zero_shot": scores[0], "blend": scores[place]} for name, scores in curve["guards"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs/recipes"))
    given = parser.parse_args()
    for run in sorted(given.root.glob("*/")):
        if not (run / "summary.json").is_file() or (run / "blend.json").is_file():
            continue
        if yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["watch"]["keep"] is not None:
            found = blended(run)
            (run / "blend.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{run.name}: share {found['share']}" if found else f"{run.name}: no curve", flush=True)


if __name__ == "__main__":
    main()
