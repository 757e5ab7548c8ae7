"""What the recipes cost with the ViT-B-16 that they name: CPU seconds for 1,000 training images, and the most memory, by method.

The recipes of medical/bccd without their guards, on made images and with random weights, which cost what real ones do: one epoch of
whole `cliptune fit` processes on few images and on more, whose difference leaves out the start, validation and test. A method that
runs the image tower once for all epochs (probe, prompt) spends most of it in the first. Batches are the recipes' own, of 64 images.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from alone import command_alone
from measure import RESULTS, ROOT, circumstances
from PIL import Image

METHODS = ("linear_probe", "prompt", "lora", "full", "flyp")
CLASSES = ("RBC", "WBC", "Platelets")
BATCH, HELD_OUT, SIZE = 64, 8, 224
COUNTS = (BATCH, 3 * BATCH)  # training images


def write(folder: Path, images: int) -> None:
    """A folder of JPEGs for each class of each split."""
    noise = np.random.default_rng(0)
    for split, count in (("train", images), ("validation", HELD_OUT), ("test", HELD_OUT)):
        for i in range(count):
            own = folder / split / CLASSES[i % len(CLASSES)]
            own.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(own / f"{i}.jpg")


def fit(method: str, data: Path, root: Path) -> tuple[float, float]:
    """CPU seconds of a recipe's first epoch with all around it, and MB at most."""
    recipe = ROOT / "recipes" / "medical" / "bccd" / f"{method}.yaml"
    words = [sys.executable, "-m", "cliptune", "fit", "--config", str(recipe), "--guard", "[]"]
    words += ["--model.backbone.pretrained", "random", "--data.path", str(data), "--trainer.max_epochs", "1", "--data.cache", "false"]
    words += ["--run.root", str(root), "--run.name", f"{method}-{data.name}", "--run.pictures", "false", "--watch.keep", "null"]
    status, seconds = command_alone(words, root / "log", threads=1)
    if status:
        raise SystemExit(f"{' '.join(words)}\n{(root / 'log').read_text(encoding='utf-8')}")
    summary = json.loads((root / f"{method}-{data.name}" / "summary.json").read_text(encoding="utf-8"))
    return seconds, summary["peak_memory_mb"]


def table(found: dict[str, Any]) -> str:
    """A row for each method."""
    lines = [f"| recipe | CPU seconds, first 1,000 images | GB, batch of {BATCH} |", "|---|---|---|"]
    for method, one in found.items():
        lines.append(f"| `{method}` | {one['cpu_seconds_per_1000_images']:,} | {one['peak_memory_mb'] / 1000:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    given = parser.parse_args()
    file = RESULTS / "recipe_cost.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["methods"] if file.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for count in COUNTS:
            write(root / str(count), count)
        for method in given.methods:
            (few, _), (many, memory) = (fit(method, root / str(count), root) for count in COUNTS)
            seconds = (many - few) / (COUNTS[1] - COUNTS[0]) * 1000
            found[method] = {"cpu_seconds_per_1000_images": round(seconds), "peak_memory_mb": round(memory), "process": [few, many]}
            print(f"{method}: {seconds:.0f} CPU seconds for 1,000 images, {memory:,.0f} MB", flush=True)
            file.write_text(json.dumps({**circumstances(), "table": table(found), "methods": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
