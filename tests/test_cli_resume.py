"""Runs that were killed, stopped or extended: they end as runs that never were, and what does not fit is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SMALL, error_of, run, series, write_config

from cliptune.main import main
from cliptune.module import AdaptModule
from cliptune.optim import Schedule

pytestmark = pytest.mark.usefixtures("elsewhere")

KILLER = """
import os, signal, sys
from cliptune.module import AdaptModule
from cliptune.main import main
from cliptune.module import AdaptModule
from cliptune.optim import Schedule
after = AdaptModule.on_train_batch_end
def kill(self, *arguments):
    after(self, *arguments)
    if self.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
AdaptModule.on_train_batch_end = kill
main(sys.argv[1:])
"""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_killed_in_the_middle_of_an_epoch_and_resumed_ends_as_one_never_killed(tiny: dict[str, str], workers: int) -> None:
    config = write_config(tiny["vit"], data={**SMALL["data"], "workers": workers})
    whole = run("fit", "--config", str(config), "--run.name", "whole")
    words = ["fit", "--config", str(config), "--run.name", "killed"]
    killed = subprocess.run([sys.executable, "-c", KILLER, *words], check=False)
    assert killed.returncode == -9
    assert not Path("runs/killed/summary.json").exists()
    resumed = run(*words, "--ckpt_path", "last")
    assert resumed["folder"] == Path("runs/killed")
    assert resumed["adapted"] == whole["adapted"]
    assert resumed["best"] == whole["best"]
    one, other = (series(Path("runs", name, "metrics.csv")) for name in ("whole", "killed"))
    assert one == other
    assert len(one) == 3 * 5 + 3 + 1  # a loss each step, a score each epoch, the best again


@pytest.mark.parametrize(("step", "name"), [(7, "SIGTERM"), (8, "SIGINT"), (10, "SIGTERM")], ids=["term", "ctrl-c", "end of an epoch"])
def test_a_run_that_is_asked_to_stop_saves_first_and_goes_on_exactly_there(tiny: dict[str, str], step: int, name: str) -> None:
    config = write_config(tiny["vit"])
    whole = run("fit", "--config", str(config), "--run.name", "whole")
    words = ["fit", "--config", str(config), "--run.name", "stopped"]
    asked = asked_to_stop(step, name, words)
    assert asked.returncode == 128 + getattr(signal, name), asked.stderr
    assert asked.stderr.strip().splitlines() == [
        f"stopped after step {step}, and saved. Go on with: cliptune fit --config runs/stopped/config.yaml --ckpt_path runs/stopped"
    ]
    assert "stopping after this step" in asked.stdout
    assert torch.load("runs/stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == step
    resumed = run("fit", "--config", "runs/stopped/config.yaml", "--ckpt_path", "runs/stopped")
    assert resumed["adapted"] == whole["adapted"]
    assert resumed["best"] == whole["best"]
    one, other = (series(Path("runs", folder, "metrics.csv")) for folder in ("whole", "stopped"))
    assert one == other


ASKER = """
import os, signal, sys
from cliptune.module import AdaptModule
from cliptune.main import main
from cliptune.module import AdaptModule
from cliptune.optim import Schedule
step = AdaptModule.optimizer_step
def ask(self, *arguments, **more):
    step(self, *arguments, **more)
    if self.global_step == int(sys.argv[1]) - 1:  # counted when this returns
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
AdaptModule.optimizer_step = ask
sys.exit(main(sys.argv[3:]))
"""


def asked_to_stop(step: int, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    """A run that gets a signal in a step."""
    return subprocess.run([sys.executable, "-c", ASKER, str(step), name, *words], check=False, capture_output=True, text=True)


def test_an_epoch_is_gone_on_with_in_batches_of_its_size_only(tiny: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tiny["vit"])
    asked_to_stop(7, "SIGTERM", ["fit", "--config", str(config)])
    for size in ("48", "16"):
        words = ["fit", "--config", str(config), "--ckpt_path", "last", "--data.batch_size", size]
        assert f"in batches of 32 over all devices, and these are of {size}. Go on with devices and" in error_of(capsys, *words)


def test_ctrl_c_outside_of_training_ends_with_its_status(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(AdaptModule, "test_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    try:
        assert main(["fit", "--config", str(config)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    assert capsys.readouterr().err.strip() == "interrupted"


RESUMED: dict[str, list[str]] = {
    "LoRA": ["--model.method", "LoRA", "--model.method.dropout", "0.3"],
    "sum": ["--config", "objective/keep", "--model.method", "LoRA"],
    "Sigmoid": ["--model.objective", "Sigmoid"],
    "distilled Full": ["--config", "objective/keep"],
    "words": [
        "--model.objective",
        "CrossEntropy",
        "--model.method",
        "PromptTuning",
        "--model.method.init",
        "random",
        "--model.method.words",
        "4",
    ],
    "probe": ["--model.objective", "CrossEntropy", "--model.method", "LinearProbe"],
    "chunks": ["--model.chunk_size", "5"],
    "workers": ["--data.workers", "1", "--data.swaps", "1"],
}


@pytest.mark.parametrize("case", RESUMED)
def test_every_method_and_objective_goes_on_exactly(config: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["fit", "--config", str(config), *RESUMED[case], "--run.pictures", "false", "--trainer.max_epochs", "2"]
    whole = run(*words, "--run.name", "whole")
    step = AdaptModule.optimizer_step

    def ask(self: AdaptModule, *arguments: Any, **more: Any) -> None:
        step(self, *arguments, **more)
        if self.global_step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(AdaptModule, "optimizer_step", ask)
        assert main([*words, "--run.name", "stopped"]) == 128 + signal.SIGTERM
    resumed = run("fit", "--config", "runs/stopped/config.yaml", "--ckpt_path", "runs/stopped")
    assert resumed["adapted"] == whole["adapted"]
    one, other = (series(Path("runs", folder, "metrics.csv")) for folder in ("whole", "stopped"))
    assert one == other
    assert len(one) == 2 * 5 + 2 + 1


def test_an_ended_run_is_extended_with_a_schedule_of_its_own(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("fit", "--config", str(config))
    rates: list[float] = []
    step = AdaptModule.optimizer_step

    def note(self: AdaptModule, *arguments: Any, **more: Any) -> None:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        step(self, *arguments, **more)

    monkeypatch.setattr(AdaptModule, "optimizer_step", note)
    words = ["fit", "--config", "runs/small/config.yaml", "--ckpt_path", "runs/small", "--extend", "2"]
    longer = run(*words, "--model.optimizer.lr", "0.002")
    assert (first["epochs"], longer["epochs"], longer["folder"]) == (3, 5, Path("runs/small"))
    expected = [0.002 * Schedule().factor(i, 10) for i in range(10)]
    assert rates == pytest.approx(expected)
    state = torch.load("runs/small/checkpoints/last.ckpt", weights_only=True)
    assert (state["global_step"], state["cliptune"]["schedule_start"]) == (25, 15)


def test_extend_is_for_ended_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--extend 2 adds epochs to an ended run" in error_of(capsys, "fit", "--config", str(config), "--extend", "2")
    asked_to_stop(7, "SIGTERM", ["fit", "--config", str(config)])
    words = ["fit", "--config", "runs/small/config.yaml", "--ckpt_path", "runs/small", "--extend", "2"]
    assert "stopped in the middle of epoch 2: go on with it first, without --extend" in error_of(capsys, *words)
