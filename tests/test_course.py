"""The course of a fit: the test split is seen when training is over, and nothing is chosen on it."""

import csv
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from small import error_of, names_of, run

from cliptune.course import Start
from cliptune.data.images import ImageTextData
from cliptune.module import AdaptModule

SHORT = ["--trainer.max_epochs", "1", "--run.pictures", "false"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the data, and the training steps, in order."""
    found: list[str] = []

    def note(kind: type, name: str, what: Callable[..., str]) -> None:
        before = getattr(kind, name)

        def noted(*arguments: Any) -> Any:
            found.append(what(*arguments))
            return before(*arguments)

        monkeypatch.setattr(kind, name, noted)

    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        note(ImageTextData, loader, lambda self, loader=loader: loader)
    note(ImageTextData, "see", lambda self, split, *rest: f"see {split}")
    note(AdaptModule, "training_step", lambda *_: "step")
    return found


@pytest.mark.parametrize("method", ["Full", "LinearProbe"])
def test_the_test_split_is_seen_when_training_is_over(config: Path, asked: list[str], method: str) -> None:
    objective = ["--model.objective", "CrossEntropy"] if method == "LinearProbe" else []
    summary = run("fit", "--config", str(config), *SHORT, "--model.method", method, *objective)
    last = max(i for i, what in enumerate(asked) if what == "step")
    touched = [i for i, what in enumerate(asked) if what in ("test_dataloader", "see test")]
    assert min(touched) > last
    assert ("see test" in asked) == (method == "LinearProbe")
    assert asked.index("val_dataloader") < asked.index("step")
    assert set(summary["zero_shot"]) == set(summary["adapted"]) == names_of("val", "test")


METHODS = {
    "all": [],
    "lora": ["--model.method", "LoRA"],
    "norms": ["--model.backbone.name", "rn50", "--model.backbone.patch_dropout", "null"],
    "probe": ["--model.method", "LinearProbe", "--model.objective", "CrossEntropy"],
    "words": ["--model.method", "PromptTuning", "--model.objective", "CrossEntropy"],
    "solved": ["--model.method", "LinearProbe", "--model.method.solver", "lbfgs", "--model.objective", "CrossEntropy"],
}


@pytest.mark.parametrize("case", METHODS)
def test_zero_shot_on_test_is_that_of_the_untouched_model(config: Path, tiny: dict[str, str], case: str) -> None:
    words = ["--config", str(config), *(tiny.get(word, word) for word in METHODS[case])]
    fitted = run("fit", *words, *SHORT)
    assert fitted["zero_shot"]["test/top1"] == run("test", *words)["zero_shot"]["test/top1"]
    assert fitted["adapted"]["test/top1"] == run("test", *words, "--ckpt_path", "runs/small")["adapted"]["test/top1"]


def test_what_is_restored_is_the_start_and_keeps_no_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, torch.Tensor]] = []
    taken, restore = Start.__init__, Start.restore

    def take(self: Start, module: AdaptModule) -> None:
        taken(self, module)
        states.append(deepcopy(module.state_dict()))

    def put(self: Start) -> None:
        states.append(deepcopy(self.module.state_dict()))
        restore(self)
        states.append(deepcopy(self.module.state_dict()))

    monkeypatch.setattr(Start, "__init__", take)
    monkeypatch.setattr(Start, "restore", put)
    run("fit", "--config", str(config), *SHORT)
    before, trained, after = states
    assert any(not torch.equal(before[name], trained[name]) for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(file.name for file in Path("runs/small/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_metrics_hold_zero_shot_at_step_0_once_though_a_run_is_extended(config: Path) -> None:
    first = run("fit", "--config", str(config), *SHORT)
    longer = run("fit", "--config", str(config), *SHORT, "--ckpt_path", "runs/small", "--extend", "1")
    with Path("runs/small/metrics.csv").open(encoding="utf-8", newline="") as handle:
        rows = [(row["step"], float(row["test/top1"])) for row in csv.DictReader(handle) if row["test/top1"]]
    assert rows == [("0", first["zero_shot"]["test/top1"]), ("10", longer["adapted"]["test/top1"])]
    assert longer["zero_shot"] == first["zero_shot"]


def test_without_a_baseline_nothing_is_scored_zero_shot(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run("fit", "--config", str(config), *SHORT, "--run.baseline", "false")
    assert summary["zero_shot"] == {}
    assert set(summary["adapted"]) == names_of("val", "test")
    assert "scoring zero-shot" not in capsys.readouterr().out


def test_a_choice_on_the_test_split_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(capsys, "fit", "--config", str(config), "--watch.monitor", "test/top1")
    assert "monitor test/top1 would choose the model on the test split" in error
    assert error.endswith("Take val/top1.")
    stop = '[{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "test/recall"}}]'
    error = error_of(capsys, "fit", "--config", str(config), "--trainer.callbacks", stop)
    assert "EarlyStopping monitors test/recall" in error
    assert error.endswith("Take val/recall.")
    assert not Path("runs").exists()


def test_the_few_shot_choice_is_written_down_before_training(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[bool] = []
    step = AdaptModule.training_step

    def look(self: AdaptModule, *batch: Any) -> Any:
        before.append(Path("runs/small/few_shot.json").is_file())
        return step(self, *batch)

    monkeypatch.setattr(AdaptModule, "training_step", look)
    summary = run("fit", "--config", str(config), *SHORT, "--data.shots", "8")
    assert set(before) == {True}
    written = json.loads((summary["folder"] / "few_shot.json").read_text(encoding="utf-8"))
    assert summary["few_shot"] == written["sha256"]
    assert len(written["train"]) == 80


def test_what_is_measured_before_training_leaves_dropout_on(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []
    step = AdaptModule.training_step

    def noted(self: AdaptModule, batch: Any, batch_idx: int) -> Any:
        modes.append(self.training and self.backbone.model.visual.patch_dropout.training)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(AdaptModule, "training_step", noted)
    run("fit", "--config", str(config), *SHORT)  # of two templates, which are compared on validation first
    assert len(modes) == 5
    assert all(modes)
