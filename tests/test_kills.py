"""Runs killed at any moment: resumed, they end as one never killed, to the last digit, and no checkpoint is ever half."""

import csv
import json
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from forks import LOG, Forks, Moment, die_in_write, term_at
from small import write_config

import cliptune
from cliptune.checkpoint import read

SIGNALS = ("KILL", "TERM", "KILL", "TERM, then KILL")  # in turns; SIGTERM saves in the middle of an epoch
COMPARED = ("zero_shot", "adapted", "best", "epochs", "counts", "method", "base_fingerprint")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    found = Forks()
    yield found
    found.end()


class Whole(NamedTuple):
    """The run that is never killed."""

    end: dict[str, Any]
    seconds: float
    config: Path


@pytest.fixture(scope="module")
def whole(forks: Forks, tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        config = write_config(tiny["vit"], run={"pictures": False}).absolute()
    began = time.perf_counter()
    assert forks.run(folder, ["fit", "--config", str(config)]) == 0, (folder / LOG).read_text(encoding="utf-8")
    return Whole(end_of(folder / "runs" / "small"), time.perf_counter() - began, config)


def end_of(run: Path) -> dict[str, Any]:
    """Everything that a run ends with and that does not depend on the clock."""
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(handle)]
    tensors = {name: read(run / "checkpoints" / f"{name}.ckpt")["state_dict"] for name in ("best", "last")}
    return {"summary": {key: summary[key] for key in COMPARED}, "rows": rows, "tensors": tensors}


def check_same_end(run: Path, whole: Whole) -> None:
    found, expected = end_of(run), whole.end
    assert found["summary"] == expected["summary"]
    assert found["rows"] == expected["rows"]
    for name, tensors in expected["tensors"].items():
        assert tensors.keys() == found["tensors"][name].keys()
        for key, value in tensors.items():
            assert torch.equal(found["tensors"][name][key], value), (name, key)


def test_the_rows_of_a_run_are_all_there(whole: Whole) -> None:
    """What the others compare with: a loss each step, a score each epoch, the baseline and the best again on both splits."""
    assert [row["step"] for row in whole.end["rows"] if "train/loss" in row] == [str(i) for i in range(15)]
    assert [sum(key in row for row in whole.end["rows"]) for key in ("val/top1", "test/top1")] == [1 + 3 + 1, 2]
    assert len({row["train/loss"] for row in whole.end["rows"] if "train/loss" in row}) == 15


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_as_one_never_killed(forks: Forks, whole: Whole, tmp_path: Path, kills: int) -> None:
    """A run without a checkpoint begins anew; one that ends before it is killed is compared, and a new one begun."""
    random_ = random.Random(kills)
    killed = number = 0
    while True:
        run = newest_run(tmp_path, number)
        words = ["fit", "--config", str(whole.config), "--run.name", f"run{number}", *(["--ckpt_path", "last"] if run else [])]
        forks.start(tmp_path, words)
        status = forks.wait(random_.uniform(0.2, 1.0) * whole.seconds if killed < kills else None)  # the first fifth reads the command line
        if status is None:
            status = end(forks, SIGNALS[killed % len(SIGNALS)], random_)
        if status == 0:
            check_same_end(newest_run(tmp_path, number) or tmp_path, whole)
            number += 1
            if killed == kills:
                return
        else:
            killed += 1
            assert status in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM, 130), (tmp_path / LOG).read_text(encoding="utf-8")


def newest_run(folder: Path, number: int) -> Path | None:
    """The run of this number that has a checkpoint to go on from; attempts without one have left empty folders, and numbers to names."""
    found = [*folder.glob(f"runs/run{number}/checkpoints/last.ckpt"), *folder.glob(f"runs/run{number}-*/checkpoints/last.ckpt")]
    return max(found, key=lambda file: file.stat().st_mtime_ns).parents[1] if found else None


def end(forks: Forks, how: str, random_: random.Random) -> int | None:
    """End the command under way as a system does, and give its status."""
    first, *more = how.split(", then ")
    forks.send(getattr(signal, f"SIG{first}"))
    status = forks.wait(random_.uniform(0, 0.2)) if more else None
    if more and status is None:
        forks.send(signal.SIGKILL)
    return forks.wait() if status is None else status


# The run is killed in each of these writes, one after another: file, which write, moment, step that gets SIGTERM, step of last.ckpt then
WRITES: list[tuple[str, int, Moment, int, int]] = [
    ("best.ckpt", 2, "half", 0, 5),
    ("last.ckpt", 1, "half", 0, 5),
    ("last.ckpt", 1, "drafted", 0, 5),
    ("last.ckpt", 1, "replaced", 0, 10),
    ("last.ckpt", 1, "half", 12, 10),
    ("last.ckpt", 1, "drafted", 12, 10),
    ("last.ckpt", 1, "replaced", 12, 12),
]


def test_a_run_killed_while_it_writes_a_checkpoint_has_a_whole_one_and_ends_as_one_never_killed(
    forks: Forks, whole: Whole, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "run"
    words = ["fit", "--config", str(whole.config), "--run.name", "run"]
    for i, (name, number, moment, asked, step) in enumerate(WRITES):
        resume = ["--ckpt_path", "last"] if i else []
        status = forks.run(tmp_path, [*words, *resume], partial(die_in_write, name, number, moment, asked))
        assert status == -signal.SIGKILL, (tmp_path / LOG).read_text(encoding="utf-8")
        assert (run / "checkpoints" / f".{name}.tmp").is_file() == (moment != "replaced")
        assert read(run / "checkpoints" / "last.ckpt")["global_step"] == step
        cliptune.load(run)  # the best
    run = (tmp_path / "runs").rename(tmp_path / "moved") / "run"  # which is no reason to forget the best score
    assert forks.run(tmp_path, [*words, "--ckpt_path", str(run)]) == 0, (tmp_path / LOG).read_text(encoding="utf-8")
    check_same_end(run, whole)
    assert sorted(file.name for file in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["images_per_second"] > 1  # no time since the machine was started, where an epoch is gone on with in its middle


def test_a_signal_in_the_last_step_is_obeyed_before_the_scoring(forks: Forks, whole: Whole, tmp_path: Path) -> None:
    words = ["fit", "--config", str(whole.config), "--run.name", "run"]
    assert forks.run(tmp_path, words, partial(term_at, 15)) == 128 + signal.SIGTERM
    log = (tmp_path / LOG).read_text(encoding="utf-8")
    assert "stopped after step 15, and saved. Go on with: cliptune fit --config" in log
    assert "scoring adapted" not in log
    assert forks.run(tmp_path, [*words, "--ckpt_path", "last"]) == 0
    check_same_end(tmp_path / "runs" / "run", whole)
