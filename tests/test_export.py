"""`cliptune export` as a user runs it: all or nothing, a card with what was measured, blends, refusals in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from adapted_runs import adapted_run
from safetensors import safe_open
from small import error_of, run, write_config

import cliptune
from cliptune import LinearProbe, LoRA
from cliptune.blend import Blend, Point, chosen
from cliptune.export import exporting, proof
from cliptune.export.base import ROWS
from cliptune.export.intervals import wilson
from cliptune.export.licences import licence_of
from cliptune.main import main
from cliptune.rescore import data_of, score


@pytest.fixture(scope="module")
def fitted(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a small run of LoRA, for reading only."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config(tiny["vit"], trainer={"max_epochs": 1, "limit_train_batches": 8, "log_every_n_steps": 1})
        run("fit", "--config", "small.yaml", "--model.method", "LoRA", "--model.objective", "CrossEntropy", "--run.name", "adapted")
    return folder


@pytest.fixture
def there(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own copy of it, as the working folder."""
    shutil.copytree(fitted / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_export_is_proven_told_and_loads_again(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "runs/adapted", "--format", "open_clip", "--output", "out/put", "--samples", "12", "--guard", "digits"]) == 0
    said = capsys.readouterr().out
    assert "the same choice for 100.0% of 12 images of the run's test split; accuracy 0." in said
    assert sorted(file.name for file in Path("out").iterdir()) == ["put"]
    told = json.loads(Path("out/put/export.json").read_text(encoding="utf-8"))
    assert told["proof"]["holds"]
    assert 0 < max(value for key, value in told["proof"]["differences"].items() if not key.startswith("own")) < ROWS * 100
    assert told["proof"]["before"] == told["proof"]["after"]
    summary = json.loads(Path("runs/adapted/summary.json").read_text(encoding="utf-8"))
    assert told["adapted"] == {k.removeprefix("test/"): value for k, value in summary["adapted"].items() if k.startswith("test/")}
    assert told["evaluated"] == {"images": 359, "texts": 0}
    card = Path("out/put/README.md").read_text(encoding="utf-8")
    low, high = wilson(told["adapted"]["top1"], 359)
    assert f"{told['adapted']['top1']:.4f} ({low:.3f} to {high:.3f})" in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "open_clip"
    assert "metric on digits" in card
    assert str(there) not in card + json.dumps(told)
    model, again = cliptune.load("runs/adapted"), cliptune.load("out/put")
    pixels = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(again.encode_pixels(pixels), model.encode_pixels(pixels), rtol=0, atol=1e-5)
    assert again.class_names == model.class_names


def test_auto_blends_by_the_curve_on_validation(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "runs/adapted", "--format", "classifier", "--output", "half", "--blend", "0.5"]) == 0
    assert main(["export", "runs/adapted", "--format", "open_clip", "--output", "auto", "--blend", "auto", "--guard", "digits"]) == 0
    told = json.loads(Path("auto/export.json").read_text(encoding="utf-8"))
    curve = [Point(share, won, (guard,)) for share, won, guard in told["curve"]]
    assert [point.share for point in curve] == [i / 10 for i in range(11)]
    assert told["share"] == chosen(curve)
    summary = json.loads(Path("runs/adapted/summary.json").read_text(encoding="utf-8"))
    assert curve[0].validation == pytest.approx(summary["zero_shot"]["val/top1"], abs=1e-6)
    one = 1 / 359  # image, which bfloat16 may turn where products are merged
    assert curve[-1].validation == pytest.approx(summary["best"]["score"], abs=1.01 * one)
    assert Path("auto/blend.png").stat().st_size > 5_000
    assert main(["export", "runs/adapted", "--format", "classifier", "--output", "whole"]) == 0
    half, whole = (json.loads(Path(name, "export.json").read_text(encoding="utf-8")) for name in ("half", "whole"))
    assert whole["moved"]["images"] < half["moved"]["images"] < 1 - 1e-6
    model = cliptune.load("runs/adapted")
    Blend(model).set(0.5)
    assert half["adapted"] == score(model, data_of(Path("runs/adapted"), model), "test").metrics  # measured, and not the run's
    assert half["adapted"] != whole["adapted"]


def test_auto_takes_no_blend_that_keeps_too_little(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "runs/adapted", "--format", "classifier", "--blend", "auto", "--guard", "digits", "--output", "kept"]
    assert main([*words, "--keep", "1"]) == 0
    told = json.loads(Path("kept/export.json").read_text(encoding="utf-8"))
    curve = {share: Point(share, won, (guard,)) for share, won, guard in told["curve"]}
    assert told["share"] == chosen([*curve.values()], 1.0)
    assert curve[told["share"]].guards >= curve[0.0].guards
    assert f"blend {told['share']:g} is best on validation of those that keep 100% of the guard" in capsys.readouterr().out
    words[-1] = "again"
    assert error_of(capsys, *words, "--keep", "1.5").startswith("ConfigError: --keep 1.5 is not in 0..1.")
    assert error_of(capsys, *words[:4], "--keep", "0.9") == (
        "ConfigError: --keep 0.9 is for --blend auto with a --guard, of which that much is to be kept. Give both."
    )


def test_what_is_not_equal_leaves_nothing_behind(there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = proof.read

    def wrong(name: str, jobs: Any) -> Any:
        found = whole(name, jobs)
        found[0][0]["logits"] += 1.0
        return found

    monkeypatch.setattr(proof, "read", wrong)
    line = error_of(capsys, "export", "runs/adapted", "--format", "classifier", "--output", "out/put")
    assert line.startswith("ExportError: class rows does not say what the model says: logits differ by 1.0e+00")
    assert list(Path("out").iterdir()) == []


def test_without_its_data_a_run_is_exported_and_the_card_says_so(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path("runs/adapted/config.yaml")
    config.write_text(config.read_text(encoding="utf-8").replace("path: digits", "path: gone/away.csv"), encoding="utf-8")
    assert main(["export", "runs/adapted", "--format", "classifier", "--output", "put"]) == 0
    assert "64 bundled digits (the run's data is not at hand" in capsys.readouterr().out
    assert json.loads(Path("put/export.json").read_text(encoding="utf-8"))["proof"]["before"] is None
    line = error_of(capsys, "export", "runs/adapted", "--format", "classifier", "--output", "other", "--blend", "auto")
    assert line.startswith("DataError: --blend auto picks on validation, and the run's data is not at hand")


ERRORS = {
    "format": (["runs/adapted"], "ConfigError: export needs a form: --format open_clip, transformers"),
    "no model": (["--format", "onnx"], "ConfigError: export lacks MODEL."),
    "unknown": (["runs/adapted", "--format", "onx"], "ConfigError: --format onx is not known. Did you mean onnx?"),
    "precision": (["runs/adapted", "--format", "open_clip", "--precision", "fp16"], "ConfigError: --precision fp16 is of onnx"),
    "no precision": (["runs/adapted", "--format", "onnx", "--precision", "fp8"], "ConfigError: export --precision is fp8, but must be"),
    "exists": (["runs/adapted", "--format", "onnx", "--output", "runs"], "ConfigError: --output runs exists already."),
    "share": (["runs/adapted", "--format", "peft", "--blend", "1.5"], "ConfigError: --blend 1.5 is not in 0..1"),
    "word": (["runs/adapted", "--format", "peft", "--blend", "best"], "ConfigError: export --blend is best, but must be a number or auto."),
    "samples": (["runs/adapted", "--format", "peft", "--samples", "0"], "ConfigError: --samples 0 is not positive."),
    "guard": (["runs/adapted", "--format", "peft", "--guard", "./none.csv"], "DataError: data path ./none.csv: there is no none.csv"),
    "run": (["runs/adopted", "--format", "peft"], "CheckpointError: there is no checkpoint runs/adopted."),
    "extra": (["runs/adapted", "peft"], "ConfigError: export does not know what peft is for."),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_one_line(there: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    words, expected = ERRORS[case]
    assert error_of(capsys, "export", *words).startswith(expected)
    assert [entry.name for entry in there.iterdir()] == ["runs"]


def test_a_missing_library_is_named_with_its_extra(
    there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting.Onnx, "modules", ("onnx", "no_such_runtime"))
    line = error_of(capsys, "export", "runs/adapted", "--format", "onnx")
    assert line == "ExportError: --format onnx needs no_such_runtime. Install: pip install 'cliptune[onnx]'"


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # scipy.stats.binomtest(k, n).proportion_ci(method="wilson"), scipy 1.16
    [(0.5, 10, 0.2366, 0.7634), (0.0, 20, 0.0, 0.1611), (1.0, 20, 0.8389, 1.0), (0.9, 100, 0.8256, 0.9448)],
)
def test_intervals_are_wilsons(share: float, count: int, low: float, high: float) -> None:
    assert wilson(share, count) == pytest.approx((low, high), abs=1e-4)


def test_licences_are_read_beside_the_weights_or_known_by_the_tag(tmp_path: Path) -> None:
    assert licence_of("ViT-B-32", "laion2b_s34b_b79k")[0] == "mit"
    assert licence_of("ViT-B-32", "some.safetensors")[0] == "unknown"
    assert licence_of("nano", None)[0].startswith("The weights are for research only")
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# x\n", encoding="utf-8")
    assert licence_of(f"local-dir:{tmp_path}", None)[0] == "cc-by-4.0"


def test_a_raw_checkpoint_and_an_untouched_clip_are_exported_too(tiny: dict[str, str], tmp_path: Path, capsys: Any) -> None:
    folder = adapted_run(tiny["vit"], LinearProbe(), tmp_path / "run")
    file = folder / "checkpoints" / "best.ckpt"
    assert main(["export", str(file), "--format", "classifier", "--output", str(tmp_path / "a"), "--samples", "4"]) == 0
    assert main(["export", tiny["vit"], "--format", "open_clip", "--output", str(tmp_path / "b"), "--samples", "4"]) == 0
    assert "None are known" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert cliptune.load(tmp_path / "b").class_names == []
    assert json.loads((tmp_path / "a" / "export.json").read_text(encoding="utf-8"))["run"] == {}


@pytest.mark.parametrize(
    ("method", "tower"), [(LoRA(rank=2), "adapted"), (LoRA(rank=2, towers="text"), "untouched"), (LinearProbe(), "untouched")]
)
def test_class_rows_say_beside_which_image_tower_they_stand(tiny: dict[str, str], tmp_path: Path, method: Any, tower: str) -> None:
    folder, kind = tmp_path / "export", exporting.Classifier()
    folder.mkdir()
    model = cliptune.load(adapted_run(tiny["vit"], method, tmp_path / "run"))
    kind.write(model, folder, "fp32")
    with safe_open(folder / "classifier.safetensors", "numpy") as opened:
        assert opened.metadata()["image_tower"] == tower
    assert ("the untouched CLIP" in kind.usage(model, "x")) == (tower == "untouched")
