"""Several seeds as one command: a run each, mean and spread of all, and nothing run twice."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from small import error_of

from cliptune.errors import ConfigError, Stopped, TrainingError
from cliptune.main import main
from cliptune.seeds import _in_process, asked_seeds, run_seeds

SCORES = {1: (0.5, 0.6), 2: (0.5, 0.8), 3: (0.5, 0.7)}


class Runs:
    """Stands for the program: resolves a command line, and runs one by writing what a run leaves."""

    def __init__(self, lr: float = 0.1, **status: int) -> None:
        self.lr, self.status, self.started = lr, status, list[list[str]]()

    def resolve(self, words: list[str]) -> str:
        given = dict(word.lstrip("-").split("=") for word in words if "=" in word)
        run = {"name": given.get("run.name", "x"), "root": "runs"}
        return yaml.safe_dump({"seed_everything": int(given.get("seed_everything", 0)), "lr": self.lr, "run": run})

    def __call__(self, words: list[str]) -> int:
        self.started.append(words)
        values = yaml.safe_load(self.resolve(words))
        seed = values["seed_everything"]
        folder = Path("runs", values["run"]["name"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(self.resolve(words), encoding="utf-8")
        if status := self.status.get(f"seed{seed}", 0):
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.ckpt").touch()
            return status
        before, after = SCORES[seed]
        scores = {"zero_shot": {"val/top1": 0.1, "test/top1": before}, "adapted": {"val/top1": 0.2, "test/top1": after}}
        (folder / "summary.json").write_text(json.dumps({**scores, "few_shot": f"hash {seed}"}), encoding="utf-8")
        return 0

    def run(self, seeds: Sequence[int]) -> None:
        run_seeds(["fit", "--config", "x.yaml"], list(seeds), self.resolve, self)


def summary(folder: str = "x-seeds") -> dict[str, Any]:
    return dict(json.loads(Path("runs", folder, "summary.json").read_text(encoding="utf-8")))


@pytest.mark.usefixtures("elsewhere")
class TestRuns:
    """With a program that takes no time."""

    def test_mean_and_spread_are_over_the_seeds(self, capsys: pytest.CaptureFixture[str]) -> None:
        runs = Runs()
        runs.run([1, 2, 3])
        assert [words[3:] for words in runs.started] == [
            ["--seeds=null", f"--seed_everything={i}", f"--run.name=x-seed{i}"] for i in (1, 2, 3)
        ]
        found = summary()
        assert found["seeds"] == [1, 2, 3]
        adapted = found["adapted"]["test/top1"]
        assert adapted["values"] == [0.6, 0.8, 0.7]
        assert (adapted["n"], adapted["min"], adapted["max"]) == (3, 0.6, 0.8)
        assert adapted["mean"] == pytest.approx(0.7)
        assert adapted["std"] == pytest.approx(math.sqrt((0.01 + 0.01 + 0) / 2))  # of a sample
        assert found["zero_shot"]["test/top1"]["std"] == 0
        assert set(found["adapted"]) == {"test/top1"}
        assert found["runs"]["2"] == {
            "folder": "runs/x-seed2",
            "few_shot": "hash 2",
            "zero_shot": {"test/top1": 0.5},
            "adapted": {"test/top1": 0.8},
        }
        said = capsys.readouterr().out
        assert "test/top1 │ 0.5000 ± 0.0000 │ 0.7000 ± 0.1000 │     3" in said
        assert "all: runs/x-seeds/summary.json" in said

    def test_a_seed_that_has_ended_is_not_run_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        Runs().run([1, 2])
        first = summary()
        again = Runs()
        again.run([1, 2])
        assert again.started == []
        assert "seed 2 (2 of 2): runs/x-seed2 has ended, and is not run again" in capsys.readouterr().out
        assert summary() == first
        again.run([1, 2, 3])
        assert [words[4] for words in again.started] == ["--seed_everything=3"]
        assert summary() == first  # of other seeds is another folder
        assert summary("x-seeds-2")["seeds"] == [1, 2, 3]

    def test_another_config_is_another_run(self) -> None:
        Runs().run([1])
        other = Runs(lr=0.2)
        other.run([1])
        assert len(other.started) == 1
        assert sorted(folder.name for folder in Path("runs").iterdir()) == ["x-seed1", "x-seeds", "x-seeds-2"]

    def test_a_failed_seed_does_not_stop_the_others_and_goes_on_next_time(self) -> None:
        runs = Runs(seed2=2)
        with pytest.raises(TrainingError, match=r"^seed 2 failed, for the reason told above; mean and spread are of the other 2\."):
            runs.run([1, 2, 3])
        assert len(runs.started) == 3
        assert summary()["failed"] == {"2": 2}
        assert summary()["adapted"]["test/top1"]["values"] == [0.6, 0.7]
        again = Runs()
        again.run([1, 2, 3])
        assert [words[4:] for words in again.started] == [["--seed_everything=2", "--run.name=x-seed2", "--ckpt_path=runs/x-seed2"]]
        assert summary()["failed"] == {}
        assert summary()["adapted"]["test/top1"]["n"] == 3

    def test_when_all_fail_nothing_is_reported(self) -> None:
        with pytest.raises(TrainingError, match=r"^seed 1, 2 failed, for the reason told above\. The same"):
            Runs(seed1=2, seed2=2).run([1, 2])
        assert not Path("runs/x-seeds").exists()

    def test_one_seed_has_no_spread(self, capsys: pytest.CaptureFixture[str]) -> None:
        Runs().run([2])
        assert summary()["adapted"]["test/top1"]["std"] is None
        assert "0.8000 │     1" in capsys.readouterr().out


WRONG = {
    "[]": "names no seed",
    "[1,1]": "names 1 twice",
    "[-1]": "-1 is not in 0..4294967295",
    "[4294967296]": "4294967296 is not in 0..4294967295",
    "[1.5]": "is no list of whole numbers",
    "[true]": "is no list of whole numbers",
    "3": "is no list of whole numbers",
    "[1,": "without spaces",
}


@pytest.mark.parametrize("seeds", WRONG)
@pytest.mark.parametrize("where", ["words", "config"])
def test_a_wrong_list_is_one_line(seeds: str, where: str, elsewhere: None) -> None:
    if where == "config" and seeds == "[1,":
        return  # no YAML, which is told before
    Path("x.yaml").write_text(f"seeds: {seeds}" if where == "config" else "{}", encoding="utf-8")
    words = ["fit", "--config", "x.yaml", *(["--seeds", seeds] if where == "words" else [])]
    with pytest.raises(ConfigError, match=r"^seeds") as caught:
        asked_seeds(words, ["x.yaml"])
    assert WRONG[seeds] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_wins_over_the_config_and_null_is_one_run(elsewhere: None) -> None:
    Path("x.yaml").write_text("seeds: [4, 5]", encoding="utf-8")
    assert asked_seeds(["fit"], ["x.yaml"]) == [4, 5]
    assert asked_seeds(["fit", "--seeds", "[1, 2]"], ["x.yaml"]) == [1, 2]
    assert asked_seeds(["fit", "--seeds=[7]"], ["x.yaml"]) == [7]
    assert asked_seeds(["fit", "--seeds=null"], ["x.yaml"]) is None
    assert asked_seeds(["test"], ["x.yaml"]) is None
    assert asked_seeds(["fit"], []) is None


def test_seeds_are_for_a_fit_that_begins_in_one_process(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"^--seeds is for fit, not test\."):
        asked_seeds(["test", "--seeds", "[1]"], [])
    with pytest.raises(ConfigError, match=r"each begins a run, and --ckpt_path goes on with one\."):
        asked_seeds(["fit", "--seeds", "[1]", "--ckpt_path=last"], [])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one of 2 processes already"):
        asked_seeds(["fit", "--seeds", "[1]"], [])


SLEEPER = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nprint(flush=True)\nwhile True: signal.pause()"


def test_a_signal_is_handed_to_the_run_and_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def sleeper(words: list[str], **options: Any) -> subprocess.Popen[str]:
        assert words[1:] == ["-m", "cliptune", "fit"]
        child = popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True, **options)
        assert child.stdout is not None
        child.stdout.readline()  # it listens
        started.append(child)
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        return child

    monkeypatch.setattr("cliptune.seeds.subprocess.Popen", sleeper)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as caught:
        _in_process(["fit"])
    assert caught.value.status == 143
    assert started[0].returncode == 143
    started[0].stdout.close()  # type: ignore[union-attr]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Runs a seed in this process."""
    monkeypatch.setattr("cliptune.seeds._in_process", lambda words: main(words))
    return main


SHORT = ["--run.pictures", "false", "--trainer.max_epochs", "1"]


@pytest.mark.usefixtures("here")
def test_a_fit_of_two_seeds_is_two_runs_that_are_not_run_again(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with config.open("a", encoding="utf-8") as handle:
        handle.write("seeds: [4, 5]\n")
    words = ["fit", "--config", str(config), *SHORT]
    assert main(words) == 0
    found = summary("small-seeds")
    runs = [json.loads(Path(run["folder"], "summary.json").read_text(encoding="utf-8")) for run in found["runs"].values()]
    assert [run["seed"] for run in runs] == [4, 5]
    assert found["adapted"]["test/top1"]["values"] == [run["adapted"]["test/top1"] for run in runs]
    assert sorted(folder.name for folder in Path("runs").iterdir()) == ["small-seed4", "small-seed5", "small-seeds"]
    capsys.readouterr()
    assert main(words) == 0
    assert main(["fit", "--config", "runs/small-seeds/config.yaml"]) == 0
    assert capsys.readouterr().out.count("has ended, and is not run again") == 4
    assert len(list(Path("runs").iterdir())) == 3


@pytest.mark.usefixtures("here")
def test_a_mistake_in_the_config_is_told_once_before_any_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = error_of(capsys, "fit", "--config", str(config), "--seeds", "[1,2]", "--data.batchsize", "3")
    assert "Did you mean data.batch_size?" in error
    assert not Path("runs").exists()


@pytest.mark.slow
def test_each_seed_is_a_process_of_its_own(config: Path) -> None:
    assert main(["fit", "--config", str(config), *SHORT, "--seeds", "[1,2]"]) == 0
    assert summary("small-seeds")["adapted"]["test/top1"]["n"] == 2
