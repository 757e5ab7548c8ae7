"""A whole linear probe, from the command line to the run folder, against one frozen forward pass over the same images.

`cliptune fit` runs as a process of its own: imports, hashing, encoding, training, evaluation; first with an empty cache, then again. The
other side decodes, transforms and encodes the same images once, by open_clip's model and cliptune's decoder, imports not counted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from full_step import prepare
from measure import Line, Pairs, report, skip_without
from torch.utils.data import DataLoader

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "tiny_imagenet_32" / "data.parquet"
HELD_OUT = 100  # images of validation and of test


def tables(images: int, folder: Path) -> Path:
    """A table of as many training images, and a few for validation and test."""
    source = Dataset.from_parquet(str(SOURCE), cache_dir=str(folder / "datasets"))
    chosen = np.random.default_rng(0).permutation(len(source))[: images + 2 * HELD_OUT]
    part = source.select(chosen).select_columns(["image", "label"])
    splits = ["train"] * images + ["validation"] * HELD_OUT + ["test"] * HELD_OUT
    part.add_column("split", splits).to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


def job(data: Path, model: str, folder: Path, threads: int) -> float:
    """The seconds of a whole `cliptune fit`."""
    words = [sys.executable, "-m", "cliptune", "fit", "--model.backbone.name", model, "--model.backbone.pretrained", str(folder / "w.pt")]
    words += ["--model.method", "LinearProbe", "--model.objective", "CrossEntropy", "--data.path", str(data), "--run.pictures", "false"]
    words += ["--run.root", str(folder / "runs"), "--trainer.max_epochs", "5", "--watch.floor", "0"]
    environment = {**os.environ, "CLIPTUNE_CACHE": str(folder / "rows"), "OMP_NUM_THREADS": str(threads)}
    began = perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return perf_counter() - began


def forward(data: Path, model: str, folder: Path) -> float:
    """The seconds of one pass over all images."""
    backbone = Backbone(model, str(folder / "w.pt")).eval().requires_grad_(False)
    module = ImageTextData(str(data), preprocess=backbone.preprocess)
    module.setup()
    began = perf_counter()
    with torch.inference_mode():
        for split in ("train", "validation", "test"):
            rows = module.rows(split)
            parts = np.array_split(np.arange(len(rows)), -(-len(rows) // 64))
            places = [[(0, int(i)) for i in part] for part in parts]
            loader: DataLoader[Any] = DataLoader(
                rows, batch_size=None, sampler=places, collate_fn=module.eval_view(), num_workers=module.workers
            )
            for batch in loader:
                backbone.encode_image(batch["images"])
    return perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    skip_without(SOURCE)
    prepare(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(Backbone(given.model, "random").model.state_dict(), folder / "w.pt")
        data = tables(given.images, folder)
        first, once, second = (
            job(data, given.model, folder, given.threads),
            forward(data, given.model, folder),
            job(data, given.model, folder, given.threads),
        )
    lines = [
        Line(f"{given.images:,} images, empty cache", Pairs([first], [once]), given.images, at_most=1.1),
        Line(f"{given.images:,} images, second run", Pairs([second], [once]), given.images, at_most=0.05),
    ]
    report("probe_job", "cliptune fit", "one forward pass", lines)


if __name__ == "__main__":
    main()
