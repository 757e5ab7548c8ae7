"""The commands as a user runs them, in this process, on a tiny random CLIP and the bundled digits."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cliptune
from cliptune.main import main
from cliptune.module import AdaptModule
from cliptune.optim import Schedule

SMALL = {
    "seed_everything": 3,
    "data": {"path": "digits", "workers": 0, "batch_size": 32, "templates": ["a {}.", "the number {}."]},
    "trainer": {"max_epochs": 3, "limit_train_batches": 5, "limit_val_batches": 2, "limit_test_batches": 2, "log_every_n_steps": 1},
    "model": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}},
    "watch": {"floor": 0},
}
FILES = ("config.yaml", "metrics.csv", "summary.json", "curves.png", "examples.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tiny: dict[str, str]) -> Path:
    """A small config in the working folder."""
    return write_config(tiny["vit"])


def write_config(backbone: str, **changes: Any) -> Path:
    model = {**SMALL["model"], "backbone": {"name": backbone, "patch_dropout": 0.5}}
    Path("small.yaml").write_text(yaml.safe_dump({**SMALL, "model": model, **changes}), encoding="utf-8")
    return Path("small.yaml")


def run(*words: str) -> dict[str, Any]:
    """Run a command that must succeed, and read the newest run's summary."""
    assert main(list(words)) == 0
    newest = max(Path("runs").glob("*/summary.json"), key=lambda file: file.stat().st_mtime_ns)
    return {**json.loads(newest.read_text(encoding="utf-8")), "folder": newest.parent}


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_fit_leaves_a_run_folder_and_says_what_was_won(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run("fit", "--config", str(config))
    folder = summary["folder"]
    assert folder == Path("runs/small")
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").glob("events*"))
    assert set(summary["zero_shot"]) == set(summary["adapted"]) == {"val/top1", "test/top1"}
    counts = summary["counts"]
    assert (counts["train"], counts["validation"], counts["test"], counts["classes"]) == (1079, 359, 359, 10)
    learned = sum(p.numel() for p in cliptune.load(folder).backbone.parameters())
    assert counts["parameters_learned"] == counts["parameters_all"] == learned
    assert summary["seed"] == 3
    assert summary["peak_memory_mb"] > 100
    assert 0 < summary["seconds"]["fit"] < summary["seconds"]["total"]
    assert 0 <= summary["waiting_for_data"] <= 1
    assert summary["versions"]["cliptune"] == cliptune.__version__
    said = capsys.readouterr().out
    assert f"{summary['zero_shot']['test/top1']:.4f} │  {summary['adapted']['test/top1']:.4f}" in said
    assert f"{learned:,} of {learned:,} parameters" in said
    assert "run folder: runs/small" in said
    assert "cliptune test --config runs/small/config.yaml --ckpt_path runs/small" in said


def test_the_best_checkpoint_is_the_epoch_with_the_highest_score(config: Path) -> None:
    summary = run("fit", "--config", str(config))
    with (summary["folder"] / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        scores = [float(row["val/top1"]) for row in csv.DictReader(handle) if row["val/top1"]]
    assert len(scores) == 1 + 3 + 1  # zero-shot, three epochs, the best again
    assert scores[-1] == max(scores[1:-1]) == summary["best"]["score"] == summary["adapted"]["val/top1"]


def test_a_second_run_gets_its_own_folder_and_the_resolved_config_refits(config: Path) -> None:
    first = run("fit", "--config", str(config))
    before = (first["folder"] / "summary.json").read_bytes()
    second = run("fit", "--config", "runs/small/config.yaml")
    assert second["folder"] == Path("runs/small-2")
    assert (first["folder"] / "summary.json").read_bytes() == before
    assert second["adapted"] == first["adapted"]
    assert (second["folder"] / "config.yaml").read_bytes() == (first["folder"] / "config.yaml").read_bytes()


def test_test_without_a_checkpoint_is_the_zero_shot_baseline_and_with_one_the_adapted_model(config: Path) -> None:
    fitted = run("fit", "--config", str(config))
    assert run("test", "--config", str(config))["zero_shot"] == {"test/top1": fitted["zero_shot"]["test/top1"]}
    for wanted in ("best", "runs/small", "runs/small/checkpoints/best.ckpt"):
        assert run("test", "--config", str(config), "--ckpt_path", wanted)["adapted"] == {"test/top1": fitted["adapted"]["test/top1"]}
    assert run("validate", "--config", str(config))["zero_shot"] == {"val/top1": fitted["zero_shot"]["val/top1"]}


def test_predict_writes_a_row_for_each_test_image(config: Path) -> None:
    fitted = run("fit", "--config", str(config))
    assert main(["predict", "--config", str(config), "--ckpt_path", "best", "--trainer.limit_predict_batches", "2"]) == 0
    with Path("runs/small-2/predictions.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["row"]) for row in rows] == list(range(64))
    right = sum(row["predicted"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(fitted["adapted"]["test/top1"])


def test_configs_merge_and_the_command_line_wins(config: Path) -> None:
    Path("more.yaml").write_text("{data: {batch_size: 16}, trainer: {max_epochs: 9}, run: {pictures: false}}", encoding="utf-8")
    summary = run("fit", "--config", str(config), "--config", "more.yaml", "--trainer.max_epochs", "1", "--model.optimizer.lr", "0.01")
    resolved = yaml.safe_load((summary["folder"] / "config.yaml").read_text(encoding="utf-8"))
    assert (resolved["data"]["batch_size"], resolved["trainer"]["max_epochs"], resolved["trainer"]["limit_train_batches"]) == (16, 1, 5)
    assert resolved["model"]["optimizer"]["init_args"]["lr"] == 0.01
    assert summary["epochs"] == 1
    assert not (summary["folder"] / "curves.png").exists()


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
    before = signal.getsignal(signal.SIGINT)
    try:
        assert main(["fit", "--config", str(config)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    assert capsys.readouterr().err.strip() == "interrupted"


def series(file: Path) -> list[tuple[str, str, str]]:
    """(step, loss, score) of each row that has one, the last of the same step winning; the baseline left out."""
    with file.open(encoding="utf-8", newline="") as handle:
        rows = [(row["step"], row["train/loss"], row["val/top1"]) for row in csv.DictReader(handle) if row["train/loss"] or row["val/top1"]]
    assert rows[0][0] == "0"
    return rows[1:]


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


REFUSED = {
    "another size": (["--model.backbone.image_size", "48"], "of another backbone: image_size None, not 48"),
    "another method": (["--model.method", "Full", "--model.method.train_last", "1"], "of another method: train_last None, not 1"),
    "another objective": (["--model.objective", "CrossEntropy"], "of another objective: Contrastive, not CrossEntropy"),
}


def test_a_checkpoint_of_another_model_is_refused(config: Path, capsys: pytest.CaptureFixture[str], tiny: dict[str, str]) -> None:
    run("fit", "--config", str(config), "--run.pictures", "false", "--trainer.max_epochs", "1")
    held = {file: file.read_bytes() for file in Path("runs/small").rglob("*") if file.is_file() and "tensorboard" not in str(file)}
    for words, expected in REFUSED.values():
        for command in ("fit", "test"):
            assert expected in error_of(capsys, command, "--config", str(config), "--ckpt_path", "runs/small", *words)
    wider = ["--model.backbone.name", tiny["rn50"], "--model.backbone.patch_dropout", "null"]
    assert "of another backbone: name" in error_of(capsys, "test", "--config", str(config), "--ckpt_path", "runs/small", *wider)
    Path("broken.ckpt").write_bytes(b"no checkpoint")
    assert "broken.ckpt cannot be read as a checkpoint" in error_of(capsys, "fit", "--config", str(config), "--ckpt_path", "broken.ckpt")
    assert [folder.name for folder in Path("runs").iterdir()] == ["small"]
    for file, content in held.items():
        assert file.read_bytes() == content, file


def test_a_metric_that_is_not_there_cannot_be_watched(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean val/top1?" in error_of(capsys, "fit", "--config", str(config), "--watch.monitor", "val/topp1")


def test_a_fall_far_below_zero_shot_ends_the_run(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cliptune.cli.AdaptCLI._score", lambda self, what: {"val/score": 0.9, "val/top1": 0.9, "test/top1": 0.9})
    error = error_of(capsys, "fit", "--config", str(config), "--watch.floor", "0.5")
    assert "from 0.900 zero-shot (epoch 1)" in error
    assert "Lower the learning rate" in error


def test_a_loss_that_is_not_finite_ends_the_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(capsys, "fit", "--config", str(config), "--model.optimizer.lr", "1e30")
    assert "TrainingError: the loss is nan at step" in error
    assert "Lower the learning rate" in error


def test_help_answers_without_torch_or_lightning() -> None:
    code = (
        "import sys; from cliptune.main import main; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    assert main(['--help']) == main(['fit', '--help']) == main([]) == main(['--version']) == 0\n"
        "assert 'cliptune fit' in out.getvalue()\n"
        "print([m for m in ('torch', 'lightning', 'open_clip', 'datasets', 'numpy', 'jsonargparse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_key_of_the_help_screens_is_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    from cliptune.help import COMMANDS, SCREENS

    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help-all"])
        everything = capsys.readouterr().out
        for line in SCREENS[command].splitlines():
            if line.startswith("  --"):
                key = line.split()[0]
                key = key.replace(".optimizer.lr", ".optimizer") if "optimizer" in key else key
                assert key in everything, (command, key)
        assert len(SCREENS[command].splitlines()) < 50


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_read_is_one_line_from_a_worker_too(
    config: Path, capsys: pytest.CaptureFixture[str], picture: Callable[[str], Path], workers: str
) -> None:
    files = [picture(f"folder/{kind}/{i}.png") for kind in ("cat", "dog") for i in range(20)]
    for file in files:
        file.write_bytes(b"junk")
    error = error_of(capsys, "test", "--config", str(config), "--data.path", "folder", "--data.batch_size", "4", "--data.workers", workers)
    assert error.startswith("DataError: cannot decode the image")
    assert error.endswith("Mend it, or take its row out of the data.")
