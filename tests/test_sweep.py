"""`cliptune sweep` on tiny models: its cells are runs of fit, see the same images, and are not run twice."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from small import SMALL, error_of, run

from cliptune.commands.sweep import lanes_of, own_options, seeds_of, shots_of, work
from cliptune.errors import ConfigError
from cliptune.main import main
from cliptune.seeds import checked_seeds

BRIEF = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, "limit_test_batches": 2, "log_every_n_steps": 1}


def write(tiny: dict[str, str], name: str = "small.yaml", **changes: Any) -> Path:
    model = {**SMALL["model"], "backbone": {"name": tiny["vit"]}, "objective": "CrossEntropy"}
    Path(name).write_text(yaml.safe_dump({**SMALL, "model": model, "trainer": BRIEF, **changes}), encoding="utf-8")
    return Path(name)


def data(folder: str = "runs/small-sweep") -> dict[str, Any]:
    return dict(json.loads(Path(folder, "sweep.json").read_text(encoding="utf-8")))


WORDS = ["sweep", "--config", "small.yaml", "--data.workers", "0"]


class TestASweep:
    """Of two methods and two seeds on the digits, run once; the tests look at what it left, and repeat it."""

    @pytest.fixture(scope="class")
    def folder(self, tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        folder, before = tmp_path_factory.mktemp("sweep"), Path.cwd()
        os.chdir(folder)
        guard = [{"path": "digits", "name": "old", "images": 10, "split": "validation"}]
        write(tiny, data={**SMALL["data"], "batch_size": 8}, guard=guard, evaluation={"resamples": 0, "curve": False})
        assert main([*WORDS, "--methods", "linear_probe_zero,lora", "--shots", "2", "--seeds", "1,2"]) == 0
        yield folder
        os.chdir(before)

    def test_there_is_a_run_for_each_method_shots_and_seed(self, folder: Path) -> None:
        found = data()
        assert [(one["method"], one["shots"], one["seed"]) for one in found["cells"]] == [
            (method, 2, seed) for seed in (1, 2) for method in ("linear_probe_zero", "lora")
        ]
        for one in found["cells"]:
            summary = json.loads(Path(one["folder"], "summary.json").read_text(encoding="utf-8"))
            assert summary["adapted"]["test/top1"] == one["adapted"]
            assert summary["seed"] == one["seed"]
            assert summary["counts"]["train"] == one["train_images"] == 10 * one["shots"]
        assert found["failed"] == []

    def test_all_methods_see_the_same_images_and_seeds_see_others(self, folder: Path) -> None:
        seen: dict[tuple[int, int], set[str]] = {}
        for one in data()["cells"]:
            seen.setdefault((one["shots"], one["seed"]), set()).add(one["images_seen"])
        assert all(len(digests) == 1 for digests in seen.values())
        assert len(set.union(*seen.values())) == 2

    def test_a_run_gives_what_the_same_command_gives_alone(self, folder: Path) -> None:
        name = "lora-2-seed1"
        cell = json.loads(Path("runs/small-sweep/cells", name, "summary.json").read_text(encoding="utf-8"))
        alone = run("fit", "--config", f"runs/small-sweep/configs/{name}.yaml", "--run.root", "runs", "--run.name", "alone")
        for part in ("zero_shot", "adapted", "best", "guard", "few_shot", "base_fingerprint", "counts"):
            assert cell[part] == alone[part], part

    def test_the_table_is_means_over_seeds(self, folder: Path) -> None:
        found = data()
        mean = next(one for one in found["means"] if (one["method"], one["shots"]) == ("lora", 2))
        scores = [one["adapted"] for one in found["cells"] if (one["method"], one["shots"]) == ("lora", 2)]
        assert mean["test"]["mean"] == pytest.approx(sum(scores) / 2)
        assert mean["test"]["std"] == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5)
        with Path("runs/small-sweep/sweep.csv").open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert [float(row["adapted"]) for row in rows] == [one["adapted"] for one in found["cells"]]
        assert {row["guard_old_before"] for row in rows if row["method"] == "lora"} != {""}

    def test_zero_shot_is_that_of_clip_whatever_the_method_starts_from(self, folder: Path) -> None:
        found = data()
        assert [one["zero_shot"] for one in found["cells"]] == [pytest.approx(found["zero_shot"])] * 4

    def test_pictures_page_and_checkpoints_are_there(self, folder: Path) -> None:
        output = Path("runs/small-sweep")
        assert (output / "accuracy.png").stat().st_size > 5_000
        assert (output / "forgetting.png").stat().st_size > 5_000
        assert "Gain against forgetting" in (output / "sweep.html").read_text(encoding="utf-8")
        kept = [file.name for file in output.glob("cells/*/checkpoints/*")]
        assert set(kept) == {"best.ckpt"}
        assert len(kept) == 4

    def test_what_has_ended_is_not_run_again(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = {file: file.stat().st_mtime_ns for file in Path("runs/small-sweep/cells").rglob("*")}
        assert main([*WORDS, "--methods", "linear_probe_zero,lora", "--shots", "2", "--seeds", "1,2"]) == 0
        said = capsys.readouterr().out
        assert "4 runs, of which 4 have ended before" in said
        assert "Recommended: " in said
        assert {file: file.stat().st_mtime_ns for file in Path("runs/small-sweep/cells").rglob("*")} == before


def test_seeds_are_tested_on_the_same_images_of_a_folder_without_splits(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        file = tmp_path / "mine" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (10 * number, 255 - 10 * number, 0)).save(file)
    write(tiny, data={"path": "mine", "batch_size": 2, "workers": 0}, evaluation={"resamples": 0, "curve": False})
    assert main([*WORDS, "--methods", "linear_probe_zero", "--shots", "1", "--seeds", "1,2"]) == 0
    cells = data()["cells"]
    assert len({one["tested_on"] for one in cells}) == 1
    assert len({one["images_seen"] for one in cells}) == 2
    assert "linear_probe_zero" in capsys.readouterr().out


WRONG = {
    ("--shots", "1,two"): "--shots: two is no number of images",
    ("--shots", "4,4"): "names one twice",
    ("--shots", "0"): "--shots: 0 is no number",
    ("--seeds", "1,1"): "names 1 twice",
    ("--seeds", "a"): "is no list of whole numbers",
    ("--jobs", "0"): "--jobs is 0, but must be how many",
    ("--devices", "x"): "is no list of different GPUs' numbers",
    ("--keep", "bst"): "Did you mean best?",
    ("--methods", "lorra"): "Did you mean lora",
    ("--methods", "none.yaml"): "there is no file none.yaml",
    ("--methods", ","): "names nothing",
    ("--methods", "lora,LoRA"): "names lora twice",
    ("--model.method", "LoRA"): "sweep gives --model.method to each of its runs. Write a YAML file",
    ("--model.method.rank", "4"): "sweep gives --model.method",
    ("--data.shots", "4"): "Take --shots 1,4,16",
    ("--run.root", "x"): "Results go to --output FOLDER",
    ("--data.batchsize", "4"): "Did you mean data.batch_size?",
    ("--trainer.devices", "2"): "trainer.devices is 2, but each run of a sweep has one",
    ("--data.shots_file", "x.json"): "sweep gives --data.shots_file",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_mistake_is_one_line_before_anything_is_run(words: tuple[str, str], config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert WRONG[words] in error_of(capsys, "sweep", "--config", str(config), *words)
    assert not Path("runs/small-sweep/cells").exists()


def test_options_are_taken_from_among_those_of_fit() -> None:
    own, rest = own_options(["--config", "x.yaml", "--shots=1,all", "--data.workers", "0", "--jobs", "2"])
    assert (own.shots, own.jobs, own.methods) == ("1,all", "2", "all")
    assert rest == ["--config", "x.yaml", "--data.workers", "0"]
    assert shots_of("all,4,[1]".replace("[1]", "1")) == [1, 4, None]
    with pytest.raises(ConfigError, match="--seeds is missing its value"):
        own_options(["--seeds", "--jobs", "2"])


def test_seeds_are_those_of_the_recipe_where_none_are_given() -> None:
    assert seeds_of("", [{"seeds": [7, 8]}, {}]) == [7, 8]
    assert seeds_of("", [{}]) == checked_seeds([1, 2, 3])
    assert seeds_of("[4, 5]", [{"seeds": [7]}]) == [4, 5]


def test_runs_share_the_cores_and_go_round_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [(lane.device, lane.threads) for lane in lanes_of("", "")] == [(None, 8)]
    assert [(lane.device, lane.threads) for lane in lanes_of("3", "")] == [(None, 2)] * 3
    assert [(lane.device, lane.threads) for lane in lanes_of("", "0,2")] == [("0", 4), ("2", 4)]
    assert [lane.device for lane in lanes_of("3", "0,2")] == ["0", "2", "0"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [lane.threads for lane in lanes_of("2", "")] == [1, 1]


def test_an_error_of_a_run_is_the_last_line_that_it_says(capsys: pytest.CaptureFixture[str], elsewhere: None) -> None:
    assert work(["fit", "--config", "nothing.yaml"]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: config nothing.yaml: there is no such file.")
