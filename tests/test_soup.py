"""`cliptune soup`: the average of weights, uniform and greedy, as a run folder like any other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from adapted_runs import METHODS, adapted_run
from small import error_of, run, write_config

import cliptune
from cliptune import LinearProbe, LoRA
from cliptune.blend import folded
from cliptune.main import main
from cliptune.soup import cook


@pytest.mark.parametrize("method", ["full", "lora", "dora", "probe", "prompts"])
def test_a_soup_has_the_mean_of_what_the_runs_do_to_the_weights(tiny: dict[str, str], tmp_path: Path, method: str) -> None:
    runs = [adapted_run(tiny["vit"], METHODS[method](), tmp_path / f"run{seed}", seed=seed) for seed in (1, 2, 3)]
    found = cook(runs, tmp_path / "soup")
    assert [one.taken for one in found.ingredients] == [True] * 3
    assert "config.yaml" in found.why  # these runs have no data
    soup = cliptune.load(tmp_path / "soup")
    parts = [folded(cliptune.load(folder)) for folder in runs]
    for name in ("backbone", "method"):
        states = [getattr(part, name).state_dict() for part in parts]
        for key, value in getattr(folded(soup), name).state_dict().items():
            if value.is_floating_point():
                mean = torch.stack([state[key] for state in states]).mean(dim=0)
                torch.testing.assert_close(value, mean, rtol=0, atol=1e-6, msg=f"{name}.{key}")


def test_factors_of_adapters_are_not_averaged(tiny: dict[str, str], tmp_path: Path) -> None:
    runs = [adapted_run(tiny["vit"], LoRA(rank=2), tmp_path / f"run{seed}", seed=seed, amount=0.2) for seed in (1, 2)]
    cook(runs, tmp_path / "soup")
    states = [torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for folder in runs]
    wrong = cliptune.load(runs[0])
    wrong.backbone.load_state_dict({key[9:]: (value + states[1][key]) / 2 for key, value in states[0].items()}, strict=False)
    pixels = torch.randn(3, 3, 32, 32)
    assert not torch.allclose(wrong.encode_pixels(pixels), cliptune.load(tmp_path / "soup").encode_pixels(pixels), atol=1e-3)


@pytest.fixture(scope="module")
def fitted(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small runs, of other seeds; the last one ruined."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_config(tiny["vit"], trainer={"max_epochs": 1, "limit_train_batches": 4, "log_every_n_steps": 1})
        for seed in ("1", "2", "3"):
            words = ["--seed_everything", seed, "--run.name", f"run{seed}", "--run.pictures", "false"]
            run("fit", "--config", "small.yaml", *words)
        file = Path("runs/run3/checkpoints/best.ckpt")
        content = torch.load(file, weights_only=True)
        generator = torch.Generator().manual_seed(0)
        content["state_dict"] = {key: torch.randn(value.shape, generator=generator) for key, value in content["state_dict"].items()}
        torch.save(content, file)
    return folder


def test_a_greedy_soup_leaves_out_what_lowers_validation_and_is_a_run(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(fitted / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert main(["soup", "runs/run1", "runs/run3", "runs/run2", "--greedy"]) == 0
    assert "run folder: runs/soup" in capsys.readouterr().out
    told = json.loads(Path("runs/soup/summary.json").read_text(encoding="utf-8"))
    best_single = max(one["validation"] for one in told["ingredients"])
    assert told["validation"] >= best_single
    taken = {one["run"]: one["taken"] for one in told["ingredients"]}
    assert taken[max(told["ingredients"], key=lambda one: one["validation"])["run"]]
    assert yaml.safe_load(Path("runs/soup/config.yaml").read_text(encoding="utf-8"))["model"]["method"]["class_path"] == "cliptune.Full"
    tested = run("test", "--config", "runs/soup/config.yaml", "--ckpt_path", "runs/soup", "--run.name", "tested")
    assert tested["adapted"]["test/top1"] == pytest.approx(told["adapted"]["test/top1"], abs=1e-6)
    assert main(["export", "runs/soup", "--format", "open_clip", "--output", "put", "--samples", "4"]) == 0


def test_a_mistake_is_one_line(tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], elsewhere: None) -> None:
    lora = adapted_run(tiny["vit"], LoRA(rank=2), tmp_path / "lora")
    probe = adapted_run(tiny["vit"], LinearProbe(), tmp_path / "probe")
    other = adapted_run(tiny["rn50"], LoRA(rank=2), tmp_path / "other")
    fewer = adapted_run(tiny["vit"], LoRA(rank=2), tmp_path / "fewer", names=["cat", "dog"])
    assert error_of(capsys, "soup", str(lora)).startswith("ConfigError: soup averages several runs, and 1 was given.")
    assert f"{probe} is of another method than {lora}" in error_of(capsys, "soup", str(lora), str(probe))
    assert f"{other} is of another backbone than {lora}" in error_of(capsys, "soup", str(lora), str(other))
    assert f"{fewer} is of another set of classes than {lora}" in error_of(capsys, "soup", str(lora), str(fewer))
    assert "is no run: it was not trained" in error_of(capsys, "soup", str(lora), tiny["vit"])
    again = adapted_run(tiny["vit"], LoRA(rank=2), tmp_path / "again", seed=2)
    assert error_of(capsys, "soup", str(lora), str(again), "--greedy").startswith("DataError: soup --greedy chooses on validation, and")
    assert not Path("runs").exists()
