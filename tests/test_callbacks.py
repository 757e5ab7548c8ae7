"""What a run keeps: the best checkpoint for use, small and sufficient, and the last one to go on from."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import error_of, run

import cliptune
from cliptune.data.digits import digits

LIMITS = [f"--trainer.limit_{name}_batches=2" for name in ("train", "val", "test")]
FOR_TRAINING = {"optimizer_states", "lr_schedulers", "callbacks"}


def kept(name: str, folder: str = "runs/small") -> dict[str, Any]:
    found: dict[str, Any] = torch.load(Path(folder, "checkpoints", f"{name}.ckpt"), weights_only=True)
    return found


def test_best_is_for_use_and_last_to_go_on_from(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", str(config), "--run.pictures", "false"]
    fitted = run(*words, "--trainer.max_epochs", "1")
    assert not FOR_TRAINING & kept("best").keys()
    assert kept("last").keys() >= FOR_TRAINING
    held = {file: file.read_bytes() for file in Path("runs/small").rglob("*") if file.is_file()}
    for wanted in ("best", "runs/small/checkpoints/best.ckpt"):
        assert error_of(capsys, *words, "--ckpt_path", wanted) == (
            "CheckpointError: runs/small/checkpoints/best.ckpt holds what use needs, and no optimizer's state to train on with. "
            "Go on from last.ckpt: --ckpt_path runs/small/checkpoints/last.ckpt."
        )
    shutil.copy("runs/small/checkpoints/best.ckpt", "alone.ckpt")
    assert "Go on from the last.ckpt of its run." in error_of(capsys, *words, "--ckpt_path", "alone.ckpt")
    assert {file: file.read_bytes() for file in Path("runs/small").rglob("*") if file.is_file()} == held
    assert [folder.name for folder in Path("runs").iterdir()] == ["small"]
    scored = run("test", "--config", str(config), "--ckpt_path", "runs/small", "--run.name", "scored")
    assert scored["adapted"] == {"test/top1": fitted["adapted"]["test/top1"]}
    longer = run(*words, "--ckpt_path", "runs/small", "--trainer.max_epochs", "2")  # a folder's last
    assert (longer["folder"], longer["epochs"], kept("last")["global_step"]) == (Path("runs/small"), 2, 10)


def test_a_nanos_lora_is_less_than_a_megabyte_and_needs_neither_config_nor_data(elsewhere: None) -> None:
    fitted = run("fit", "--config", "lora", *LIMITS, "--trainer.max_epochs", "1", "--run.pictures", "false")
    file = Path("runs/lora/checkpoints/best.ckpt")
    assert file.stat().st_size < 1_000_000 < file.with_name("last.ckpt").stat().st_size
    shutil.copy(file, "alone.ckpt")
    shutil.rmtree("runs")
    rows = digits()["test"].select(range(128))
    found = cliptune.load("alone.ckpt").classify([row["image"]["bytes"] for row in rows])
    right = [name == found.class_names[label] for name, label in zip(found.names, rows["label"], strict=True)]
    assert np.mean(right) == pytest.approx(fitted["adapted"]["test/top1"])
