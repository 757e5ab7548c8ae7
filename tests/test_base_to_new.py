"""Base-to-new: adapted to one half of the classes, tested on the other."""

from pathlib import Path

import pytest
from small import error_of, run

PROBE = ["--model.method", "LinearProbe", "--model.objective", "CrossEntropy"]
WORDS = ["--model.method", "PromptTuning", "--model.objective", "CrossEntropy"]


def test_shared_words_serve_the_new_half_of_the_classes(config: Path) -> None:
    fitted = run("fit", "--config", str(config), *WORDS, "--data.classes", "base")
    assert fitted["counts"]["classes"] == 5
    found = run("test", "--config", str(config), *WORDS, "--data.classes", "new", "--ckpt_path", str(fitted["folder"]))
    assert found["counts"]["classes"] == 5
    assert 0 <= found["adapted"]["test/top1"] <= 1


def test_rows_of_the_base_half_are_refused_for_the_new_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted = run("fit", "--config", str(config), *PROBE, "--data.classes", "base")
    error = error_of(capsys, "test", "--config", str(config), *PROBE, "--data.classes", "new", "--ckpt_path", str(fitted["folder"]))
    assert error.startswith("CheckpointError: the checkpoint learned 5 classes (")
    assert "LinearProbe learns is of its own classes alone" in error
