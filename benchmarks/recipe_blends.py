"""LoRA's runs of benchmarks/recipes.py, taken back part of the way to zero-shot: how much of the gain stays, and how much of the guards.

`python benchmarks/recipe_blends.py --root DIR` chooses for each run the smallest share of what was learned that has 80 % of the gain on
validation (the run's own curve; neither guards nor test have a say), scores it on test, and writes blend.json into the run's folder.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cliptune
from cliptune.blend import way_of
from cliptune.rescore import data_of, score

GAIN = 0.8  # of the adapted model's, on validation


def chosen(curve: dict[str, Any]) -> float:
    """The smallest share that has enough of the gain on validation."""
    scores = curve["validation"]
    wanted = scores[0] + GAIN * (scores[-1] - scores[0])
    return next(share for share, found in zip(curve["shares"], scores, strict=True) if found >= wanted)


def blended(run: Path) -> dict[str, Any] | None:
    """What a run's share comes to; None where it has no curve, or nothing was gained."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    curve = summary.get("curve")
    if not curve or curve["validation"][-1] <= curve["validation"][0]:
        return None
    share = chosen(curve)
    model = cliptune.load(run)
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
    for run in sorted(given.root.glob("*-lora-*")):
        if (run / "summary.json").is_file() and not (run / "blend.json").is_file():
            found = blended(run)
            (run / "blend.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"{run.name}: share {found['share']}" if found else f"{run.name}: no curve, or no gain", flush=True)


if __name__ == "__main__":
    main()
