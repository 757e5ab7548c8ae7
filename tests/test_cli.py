"""The commands as a user runs them, in this process, on a tiny random CLIP and the bundled digits."""

import csv
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small import error_of, names_of, plain, run

import cliptune
from cliptune import course
from cliptune.main import main

FILES = ("config.yaml", "metrics.csv", "summary.json", "curves.png", "examples.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt")

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_fit_leaves_a_run_folder_and_says_what_was_won(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run("fit", "--config", str(config))
    folder = summary["folder"]
    assert folder == Path("runs/small")
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    assert list((folder / "tensorboard").glob("events*"))
    assert set(summary["zero_shot"]) == set(summary["adapted"]) == names_of("val", "test")
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
    assert f"{summary['zero_shot']['test/top1']:.4f} │  {summary['adapted']['test/top1']:.4f} │" in said
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
    tested = run("test", "--config", str(config), "--watch.monitor", "val/mean_per_class")
    assert tested["zero_shot"] == plain(fitted["zero_shot"], "test")
    assert tested["monitor"] == "val/mean_per_class"  # told first in the table
    for wanted in ("best", "runs/small", "runs/small/checkpoints/best.ckpt"):
        assert run("test", "--config", str(config), "--ckpt_path", wanted)["adapted"] == plain(fitted["adapted"], "test")
    assert run("validate", "--config", str(config))["zero_shot"] == plain(fitted["zero_shot"], "val")


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
    def high(cli: Any, command: str, state: Any) -> None:
        measured(cli, command, state)
        with torch.inference_mode():
            cli.trainer.callback_metrics["val/score"].fill_(0.9)

    measured = course.score
    monkeypatch.setattr(course, "score", high)
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


def test_the_first_step_of_a_plain_fit_waits_for_no_library_that_it_does_not_use(config: Path) -> None:
    unused = [
        "accelerate", "faiss", "onnx", "onnxruntime", "onnxscript", "peft", "pydicom",
        "transformers.modeling_utils", "torch.distributed.checkpoint", "cliptune.pictures", "cliptune.report.writing",
    ]  # fmt: skip
    code = (
        "import sys\n"
        "from cliptune.main import main\n"
        "from cliptune.module import AdaptModule\n"
        "def first(self, outputs, batch, batch_idx):\n"
        f"    print('seen', [m for m in {unused} if m in sys.modules])\n"
        "    raise KeyboardInterrupt\n"
        "AdaptModule.on_train_batch_end = first\n"
        "main(['fit', '--config', sys.argv[1], '--run.baseline', 'false'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False)
    assert "seen []" in done.stdout, done.stdout + done.stderr


def test_every_key_of_the_help_screens_is_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    from cliptune.help import COMMANDS, SCREENS

    for command in set(COMMANDS) - {"predict"}:
        with pytest.raises(SystemExit):
            main([command, "--help-all"])
        everything = capsys.readouterr().out
        for line in SCREENS[command].splitlines():
            if line.startswith("  --"):
                key = line.split()[0]
                key = key.replace(".optimizer.lr", ".optimizer") if "optimizer" in key else key
                assert key in everything, (command, key)
        assert len(SCREENS[command].splitlines()) < 50


@pytest.mark.parametrize("command", ["predict", "export", "soup", "index", "search", "report"])
def test_every_option_of_a_help_screen_is_an_argument_and_the_other_way_round(command: str) -> None:
    from cliptune.help import SCREENS

    function = getattr(importlib.import_module(f"cliptune.commands.{command}"), command)
    keyword = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    told = set(re.findall(r"--([a-z][a-z-]*)", SCREENS[command])) - {"config", "ckpt", "help-all"}
    assert told - {"key"} == {name.replace("_", "-") for name in keyword}
