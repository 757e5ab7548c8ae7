"""Sweeps without models: cells, results, and a program that writes what a run leaves; shared by the tests of sweeps."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from cliptune.sweep.cells import Cell, cells_of
from cliptune.sweep.course import Sweep
from cliptune.sweep.planned import Planned
from cliptune.sweep.results import Result
from cliptune.sweep.running import Lane

RECIPE = {
    "seed_everything": 0,
    "trainer": {"devices": 1},
    "model": {"method": "x"},
    "data": {"shots": None, "shots_file": None, "shots_column": None},
    "run": {"name": "x", "root": "runs"},
}
SCORES = {"good": 0.9, "cheap": 0.88, "bad": 0.5}  # by method


def cells(methods: str = "good cheap", shots: tuple[int | None, ...] = (1,), seeds: tuple[int, ...] = (1,)) -> list[Cell]:
    recipes = {name: yaml.safe_dump({**RECIPE, "model": {"method": name}}) for name in methods.split()}
    return cells_of(recipes, shots, seeds, Path("out"))


def sweep(methods: str = "good cheap", shots: tuple[int | None, ...] = (1,), jobs: int = 1) -> Sweep:
    return Sweep("x", "cliptune sweep", Path("out"), methods.split(), shots, "best", [Lane(None, 1)] * jobs, ("cliptune.launch",))


def summary(score: float, seed: int, images: str = "", guard: float | None = None) -> dict[str, Any]:
    """What a run would write."""
    guards = {"old": {"metric": "top1", "zero_shot": {"top1": 0.6}, "adapted": {"top1": guard}}} if guard is not None else {}
    return {
        "zero_shot": {"val/top1": 0.4, "test/top1": 0.45},
        "adapted": {"val/top1": score, "test/top1": score - 0.1},
        "best": {"monitor": "val/score"},
        "evaluated": {"val": {"images": 1000}, "test": {"images": 1000}},
        "seconds": {"fit": 5.0, "total": 8.0},
        "counts": {"parameters_learned": 10, "train": 20, "classes": 10},
        "peak_memory_mb": 100.0,
        "few_shot": f"images of seed {seed}{images}",
        "data": {"fingerprint": "a", "test_fingerprint": "b"},
        "method": {"arguments": {}},
        "guard": guards,
    }


def program(words: list[str]) -> int:
    """Stands for `cliptune fit`: what it does is said by the method's name."""
    values = yaml.safe_load(Path(words[2]).read_text(encoding="utf-8"))
    method, seed = values["model"]["method"], values["seed_everything"]
    folder = Path(values["run"]["root"], values["run"]["name"])
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(Path(words[2]).read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "checkpoints" / "last.ckpt").write_text(" ".join(words[3:]), encoding="utf-8")
    (folder / "checkpoints" / "best.ckpt").touch()
    if method == "fails":
        print("TrainingError: it went wrong", file=sys.stderr)
        return 2
    if method == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if method == "sleeps" and not words[3:]:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        (folder / "began").touch()
        time.sleep(60)
    images = " and more" if method == "other_images" else ""
    told = json.dumps(summary(SCORES.get(method, 0.7), seed, images))
    (folder / "summary.json").write_text(told, encoding="utf-8")
    return 0


def result(method: str, shots: int | None, seed: int, adapted: float, scored: float, **changes: Any) -> Result:
    """A result as if it had been read: its scores on validation and on test."""
    name = f"{method}-{shots}-{seed}"
    values: dict[str, Any] = {
        "metric": "top1",
        "test": {"zero_shot": 0.45, "adapted": scored},
        "validation": {"zero_shot": 0.4, "adapted": adapted},
        "images": 1000,
        "seconds": 10.0,
        "total": 20.0,
        "parameters": 100,
        "memory": 50.0,
        "train": 20,
        "classes": 10,
        "data": (f"{shots} {seed}", "test"),
    }
    return Result(
        Cell(method, shots, seed, Planned(name, Path("out/cells"), ""), Path("out")), Path("out/cells", name), **{**values, **changes}
    )
