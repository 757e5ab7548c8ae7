"""Guards of whole runs: scored at every evaluation of a fit, again when it is resumed, and by `cliptune test`."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from guard_sources import DIGITS
from small import SMALL, error_of, run, write_config

pytest_plugins = ["guard_sources"]


@pytest.fixture(scope="module")
def fitted(tiny: dict[str, str], table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a fit of all weights that a guard has a say in; for reading only."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        guard = [{"path": str(table), "images": 8}, DIGITS]
        cheap = {"evaluation": {"curve": False, "resamples": 0}, "watch": {"monitor": "balanced", "floor": 0}}
        write_config(tiny["vit"], guard=guard, trainer={**SMALL["trainer"], "max_epochs": 2, "limit_val_batches": 1}, **cheap)
        run("fit", "--config", "small.yaml", "--run.pictures", "false", "--run.report", "false", "--trainer.accelerator", "cpu")
    return folder


def told(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        return [float(row[name]) for row in csv.DictReader(handle) if row.get(name)]


def test_a_fit_scores_guards_at_every_evaluation_and_keeps_the_best_balance(fitted: Path) -> None:
    folder = fitted / "runs" / "small"
    balanced = told(folder, "val/balanced")
    assert len(balanced) == 1 + 2 + 1  # zero-shot, each epoch, and the best at the end
    parts = [told(folder, name) for name in ("val/top1", "guard/colours/top1", "guard/digits/top1")]
    for mean, target, *guards in zip(balanced, *parts, strict=True):
        assert mean == pytest.approx((target + sum(guards) / 2) / 2, abs=1e-6)
    assert len({tuple(part) for part in parts}) > 1
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["best"] == {"monitor": "val/balanced", "score": pytest.approx(max(balanced[1:3]), abs=1e-6)}
    assert balanced[3] == pytest.approx(max(balanced[1:3]), abs=1e-6)
    assert not any(name.startswith("guard/") for name in summary["zero_shot"])


def test_the_test_command_scores_guards_too_untouched_or_adapted(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(shutil.copytree(fitted, tmp_path / "copy"))
    known = json.loads(Path("runs/small/summary.json").read_text(encoding="utf-8"))["guard"]
    words = ["test", "--config", "runs/small/config.yaml", "--run.pictures", "false"]
    for name, state, other, more in (
        ("plain", "zero_shot", "adapted", []),
        ("after", "adapted", "zero-shot", ["--ckpt_path", "runs/small"]),
    ):
        capsys.readouterr()
        run(*words, "--run.name", name, *more)
        printed = capsys.readouterr().out.partition("\nguard ")[2]
        assert "colours/top1" in printed
        assert other not in printed.splitlines()[0]
        found = json.loads(Path(f"runs/{name}/summary.json").read_text(encoding="utf-8"))["guard"]
        for guard, scores in known.items():
            assert found[guard][state] == pytest.approx(scores[state], abs=1e-6)
            assert not found[guard]["adapted" if state == "zero_shot" else "zero_shot"]


def test_a_resumed_run_scores_the_untouched_clip_and_not_its_checkpoint(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(fitted, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    before = told(Path("runs/small"), "guard/digits/top1")
    capsys.readouterr()
    words = ["fit", "--config", "runs/small/config.yaml", "--ckpt_path", "runs/small", "--trainer.max_epochs", "3"]
    run(*words, "--run.pictures", "false", "--run.report", "false", "--run.baseline", "false")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 3/3")]
    after = told(Path("runs/small"), "guard/digits/top1")
    assert after[:3] == before[:3]
    assert f"guard digits {after[3]:.3f} ({after[3] - before[0]:+.3f})" in line
    assert "  validation top-1 0." in line
    assert "guard colours 0." in line


ERRORS = {
    "gone": (["--guard", "./gone.csv"], "DataError: guard gone: data path ./gone.csv: there is no gone.csv"),
    "list": (["--guard", "[digits, {path: digits, name: other}]"], "ConfigError: guard digits: digits is what the run is adapted to"),
    "key": (["--guard", "{path: a, imags: 3}"], "ConfigError: guard: there is no key imags. Did you mean images?"),
    "balanced": (["--watch.monitor", "balanced"], "ConfigError: watch: monitor balanced weighs validation against guards, and there is"),
    "keep": (["--watch.keep", "0.9"], "ConfigError: watch: keep 0.9 is a share of guards' scores, and there is none. Set guard: [PATH]"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_one_line_before_training(config: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    words, expected = ERRORS[case]
    assert error_of(capsys, "fit", "--config", str(config), *words).startswith(expected)
    assert not list(Path("runs").glob("*")) if Path("runs").exists() else True
