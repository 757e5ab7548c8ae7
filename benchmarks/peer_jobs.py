"""What cliptune and its peers are given to do as whole processes: the same JPEG files, weights, class names and options."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Image
from measure import RESULTS

import cliptune
from cliptune.backbone import Backbone
from cliptune.data.classes import as_words
from cliptune.devices import default_precision

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "caltech101" / "data.parquet"
NANO = Path(cliptune.__file__).parent / "nano"
PLAIN = Path(__file__).parent / "clip_benchmark_plain.py"
TEMPLATE = "a photo of a {}."
WORKERS = 4  # the default of clip-benchmark's command line


@dataclass(frozen=True)
class Job:
    """What all sides are given.

    Args:
        folder: train, validation and test, each with a folder of JPEGs for each class.
        names: of the classes, in the folders' order.
        model: an open_clip architecture, or nano.
        weights: a file, where the model is not nano.
        threads: of torch.
        workers: processes that load for the peers.
    """

    folder: Path
    names: list[str]
    model: str
    weights: Path
    threads: int
    workers: int = WORKERS

    @property
    def cliptune(self) -> list[str]:
        """The words for the model on `cliptune`'s command line."""
        own = ["--model.backbone.name", self.model]
        return own if self.model == "nano" else [*own, "--model.backbone.pretrained", str(self.weights)]

    @property
    def key(self) -> str:
        """The same for commands that take a model as one word."""
        return self.model if self.model == "nano" else f"{self.model},{self.weights}"

    def run(self, *words: str) -> str:
        """A process of its own; what it printed."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "CLIPTUNE_CACHE": str(self.folder / "rows"),
            "HF_HUB_OFFLINE": "1",
        }
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=self.folder)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def peer(self, what: str, **more: str) -> dict[str, Any]:
        """One of the ways of clip_benchmark_plain.py, in mixed precision where cliptune takes it by itself."""
        known, weights = (f"local-dir:{NANO}", None) if self.model == "nano" else (self.model, str(self.weights))
        given: dict[str, Any] = {"model": known, "weights": weights, "folder": str(self.folder), "names": self.names, "template": TEMPLATE}
        file = self.folder / "job.json"
        given |= {"threads": self.threads, "workers": self.workers, "amp": default_precision("auto") == "bf16-mixed", **more}
        file.write_text(json.dumps(given), encoding="utf-8")
        found: dict[str, Any] = json.loads(self.run(str(PLAIN), what, str(file)).splitlines()[-1])
        return found


Side = Callable[[Job], dict[str, Any]]


def write_data(folder: Path, counts: dict[str, int]) -> list[str]:
    """Write so many JPEGs of each of caltech101's splits, as they lie, one of each class before any second one.

    Returns:
        The classes' names, in the folders' order.
    """
    whole = Dataset.from_parquet(str(SOURCE), cache_dir=str(folder / "datasets")).cast_column("image", Image(decode=False)).shuffle(seed=0)
    splits, labels = np.array(whole["split"]), np.array(whole["label"])
    for split, count in counts.items():
        rows = np.flatnonzero(splits == split)
        first = np.unique(labels[rows], return_index=True)[1]
        chosen = rows[np.concatenate([first, np.setdiff1d(np.arange(len(rows)), first)])][:count]
        for i, row in zip(chosen.tolist(), whole.select(chosen), strict=True):
            own = folder / split / row["label"]
            own.mkdir(parents=True, exist_ok=True)
            (own / f"{i:06d}.jpg").write_bytes(row["image"]["bytes"])
    names = sorted(set(labels.tolist()))
    lacking = [split for split in counts if len(list((folder / split).iterdir())) < len(names)]
    if lacking:
        raise SystemExit(f"{lacking[0]} has not all {len(names)} classes with {counts[lacking[0]]} images: take more.")
    return [as_words(name) for name in names]


def write_weights(job: Job) -> None:
    """Random weights where the model is not nano."""
    if job.model != "nano":
        torch.manual_seed(0)
        torch.save(Backbone(job.model, "random").model.state_dict(), job.weights)


def options(doc: str | None, models: dict[str, int], images: str) -> argparse.ArgumentParser:
    """What all peers' benchmarks are asked; each adds its own.

    Args:
        doc: its docstring.
        models: nano, or open_clip architectures, and how many images each sees.
        images: what these are.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--models", nargs="+", default=list(models), help="nano, or open_clip architectures with random weights")
    parser.add_argument("--images", nargs="+", type=int, default=list(models.values()), help=images)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes that load for the peers")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    return parser
