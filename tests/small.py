"""A small run on a tiny random CLIP and the bundled digits, and the command line in this process; shared by the tests of the commands."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cliptune.main import main

SMALL = {
    "seed_everything": 3,
    "data": {"path": "digits", "workers": 0, "batch_size": 32, "templates": ["a {}.", "the number {}."]},
    "trainer": {"max_epochs": 3, "limit_train_batches": 5, "limit_val_batches": 2, "limit_test_batches": 2, "log_every_n_steps": 1},
    "model": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}},
    "watch": {"floor": 0},
}


def write_config(backbone: str, **changes: Any) -> Path:
    model = {**SMALL["model"], "backbone": {"name": backbone, "patch_dropout": 0.5}}
    Path("small.yaml").write_text(yaml.safe_dump({**SMALL, "model": model, **changes}), encoding="utf-8")
    return Path("small.yaml")


def run(*words: str) -> dict[str, Any]:
    """Run a command that must succeed, and read the newest run's summary."""
    assert main(list(words)) == 0
    newest = max(Path("runs").glob("*/summary.json"), key=lambda file: file.stat().st_mtime_ns)
    return {**json.loads(newest.read_text(encoding="utf-8")), "folder": newest.parent}


CLASSIFIED = ("top1", "top5", "mean_per_class", "macro_f1", "auroc", "map", "ece", "nll")  # metrics of more than five classes
CALIBRATED = ("ece_calibrated", "nll_calibrated")


def names_of(*splits: str) -> set[str]:
    """The metrics of a model whose images have classes; of test the calibrated ones too, where validation was scored as well."""
    calibrated = {f"test/{name}" for name in CALIBRATED} if {"val", "test"} <= set(splits) else set()
    return {f"{split}/{name}" for split in splits for name in CLASSIFIED} | calibrated


def plain(scores: dict[str, float], split: str) -> dict[str, float]:
    """The metrics of a split that need no other split."""
    return {name: value for name, value in scores.items() if name.startswith(f"{split}/") and not name.endswith("_calibrated")}


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def series(file: Path) -> list[tuple[str, str, str]]:
    """(step, loss, score) of each row that has one, the last of the same step winning; the baseline left out."""
    with file.open(encoding="utf-8", newline="") as handle:
        rows = [(row["step"], row["train/loss"], row["val/top1"]) for row in csv.DictReader(handle) if row["train/loss"] or row["val/top1"]]
    assert rows[0][0] == "0"
    return rows[1:]
