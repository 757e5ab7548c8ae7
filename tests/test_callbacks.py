"""What a run keeps: the best checkpoint for use, small and sufficient, and the last one to go on from."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from small import error_of, plain, run

import cliptune
from cliptune.callbacks import Best, Clock, Floor, Lines, Watch
from cliptune.data.formats.digits import digits
from cliptune.errors import TrainingError
from cliptune.methods.linear_probe import LinearProbe
from cliptune.module import AdaptModule

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
    assert scored["adapted"] == plain(fitted["adapted"], "test")
    longer = run(*words, "--ckpt_path", "runs/small", "--trainer.max_epochs", "2")  # a folder's last
    assert (longer["folder"], longer["epochs"], kept("last")["global_step"]) == (Path("runs/small"), 2, 10)


def test_a_nanos_lora_is_less_than_a_megabyte_and_needs_neither_config_nor_data(elsewhere: None) -> None:
    words = ["--trainer.max_epochs", "1", "--run.pictures", "false", "--trainer.precision", "32-true"]
    fitted = run("fit", "--config", "lora", *LIMITS, *words)
    file = Path("runs/lora/checkpoints/best.ckpt")
    assert file.stat().st_size < 1_000_000 < file.with_name("last.ckpt").stat().st_size
    shutil.copy(file, "alone.ckpt")
    shutil.rmtree("runs")
    rows = digits()["test"].select(range(128))
    found = cliptune.load("alone.ckpt").classify([row["image"]["bytes"] for row in rows])
    right = [name == found.class_names[label] for name, label in zip(found.names, rows["label"], strict=True)]
    assert np.mean(right) == pytest.approx(fitted["adapted"]["test/top1"])


def test_training_may_end_within_its_first_epoch(config: Path) -> None:
    """Before there has been an evaluation that early stopping could look at."""
    fitted = run("fit", "--config", str(config), "--run.pictures", "false", "--trainer.max_steps", "1")
    assert "test/top1" in fitted["adapted"]
    assert kept("best")["global_step"] == 1


def test_of_equal_scores_the_latest_is_kept(tmp_path: Path) -> None:
    callback, found = Best(dirpath=tmp_path, filename="best", monitor="val/score", mode="max"), []
    trainer: Any = SimpleNamespace(callback_metrics={}, strategy=SimpleNamespace(reduce_boolean_decision=bool))
    for score in (0.8, 1.0, 1.0, 0.9, 1.0):
        found.append(callback.check_monitor_top_k(trainer, torch.tensor(score)))
        if found[-1]:
            callback.kth_best_model_path = "best.ckpt"
            callback.best_k_models = {"best.ckpt": torch.tensor(score)}
    assert found == [True, True, True, False, True]


@pytest.mark.parametrize(("images", "ends"), [(40, False), (400, True)])
def test_a_fall_that_few_images_explain_ends_nothing(images: int, ends: bool) -> None:
    """From 0.1 to nothing is four images of forty, 2.1 standard errors; of four hundred it is 6.7."""
    floor = Floor(Watch())
    floor.zero_shot = 0.1
    module = AdaptModule.__new__(AdaptModule)
    L.LightningModule.__init__(module)
    module.evaluated = {"val": {"images": images, "texts": 0}}
    module.method = LinearProbe()
    trainer: Any = SimpleNamespace(
        callback_metrics={"val/score": torch.tensor(0.0)}, state=SimpleNamespace(fn="fit"), sanity_checking=False, current_epoch=0
    )
    with pytest.raises(TrainingError, match=r"fell to 0\.000, from 0\.100") if ends else nullcontext():
        floor.on_validation_end(trainer, module)


def test_a_probe_from_nothing_may_be_below_zero_shot() -> None:
    floor = Floor(Watch())
    floor.zero_shot = 0.5
    trainer: Any = SimpleNamespace(
        callback_metrics={"val/score": torch.tensor(0.1)}, state=SimpleNamespace(fn="fit"), sanity_checking=False, current_epoch=0
    )
    module = AdaptModule.__new__(AdaptModule)
    L.LightningModule.__init__(module)
    module.evaluated = {"val": {"images": 1000, "texts": 0}}
    module.method = LinearProbe(start="zero")
    floor.on_validation_end(trainer, module)
    module.method = LinearProbe()
    with pytest.raises(TrainingError, match=r"fell to 0\.100, from 0\.500"):
        floor.on_validation_end(trainer, module)


@pytest.mark.parametrize(
    ("monitor", "best", "last", "images", "warns"),
    [
        ("val/score", 0.52, 0.387, 906, True),
        ("val/score", 0.52, 0.50, 906, False),
        ("val/mean_per_class", 0.52, 0.387, 40, False),  # 1.7 standard errors
        ("val/nll", 0.6, 0.4, 906, False),  # less is better
    ],
)
def test_a_fall_below_the_best_is_told_with_a_way_out(
    monitor: str, best: float, last: float, images: int, warns: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Best(dirpath=tmp_path, monitor=monitor)
    kept.best_model_score = torch.tensor(best)
    trainer: Any = SimpleNamespace(checkpoint_callbacks=[kept], callback_metrics={monitor: torch.tensor(last)}, is_global_zero=True)
    trainer.callback_metrics["val/top1"] = torch.tensor(last)
    module = AdaptModule.__new__(AdaptModule)
    L.LightningModule.__init__(module)
    module.evaluated = {"val": {"images": images, "texts": 0}}
    module.base_lrs = [6e-3, 3e-4]
    Floor(Watch(monitor)).on_train_end(trainer, module)
    expected = "validation top-1 fell from 0.520, the best, which is kept, to 0.387 at the end. A lower learning rate (now up to 0.006)"
    assert [expected in one for one in caplog.messages] == [True] * warns


def test_a_line_names_its_metric_and_the_one_that_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"val/score": torch.tensor(0.5), "val/top1": torch.tensor(0.5), "val/mean_per_class": torch.tensor(0.25)}
    state = {"state": SimpleNamespace(fn="fit"), "sanity_checking": False, "current_epoch": 0, "max_epochs": 2, "is_global_zero": True}
    trainer: Any = SimpleNamespace(callback_metrics=metrics, **state)
    module: Any = object()
    for monitor, expected in (
        ("val/score", "validation top-1 0.5000  0 images/s"),
        ("val/mean_per_class", "top-1 0.5000  balanced accuracy 0.2500"),
    ):
        Lines(Clock(), Floor(Watch(monitor))).on_validation_end(trainer, module)
        assert expected in capsys.readouterr().out
    del metrics["val/top1"]
    Lines(Clock(), Floor(Watch())).on_validation_end(trainer, module)
    assert "validation mean recall 0.5000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/score", "max"),
        ("balanced", "max"),
        ("val/recall@1_text_to_image", "max"),
        ("val/nll", "min"),
        ("val/ece_calibrated", "min"),
        ("val/median_rank_text_to_image", "min"),
    ],
)
def test_less_is_better_of_cross_entropy_calibration_and_ranks(tmp_path: Path, monitor: str, mode: str) -> None:
    watching: list[Any] = Watch(monitor).callbacks(str(tmp_path))
    assert [one.mode for one in watching[:2]] == [mode, mode]
