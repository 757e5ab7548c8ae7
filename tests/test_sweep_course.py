"""What a sweep does with its cells, with a program that takes no time in the place of fit."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sweeps import cells, program, sweep

from cliptune.errors import Stopped, TrainingError
from cliptune.sweep.course import reason_of, run_sweep
from cliptune.sweep.running import Ended

pytestmark = pytest.mark.usefixtures("elsewhere")


def data() -> dict[str, Any]:
    return dict(json.loads(Path("out/sweep.json").read_text(encoding="utf-8")))


def test_all_cells_are_run_few_shots_first_and_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(sweep(shots=(1, None)), cells(shots=(None, 1), seeds=(1, 2)), program)
    found = data()
    assert [(one["method"], one["shots"], one["seed"]) for one in found["cells"]] == [
        (method, shots, seed) for shots in (1, "all") for seed in (1, 2) for method in ("good", "cheap")
    ]
    said = capsys.readouterr().out
    assert "[1 of 8, about " in said
    assert "[8 of 8] cheap, all images, seed 2: test/top1 0.780 (zero-shot 0.450)" in said
    assert "good      │ 0.800 ± 0.000 │ 0.800 ± 0.000 │      5 s │      10" in said
    assert [file.name for file in Path("out/cells/good-1-seed1/checkpoints").iterdir()] == ["best.ckpt"]


def test_runs_side_by_side_give_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    run_sweep(sweep(jobs=3), cells(seeds=(1, 2, 3)), program)
    assert [(one["method"], one["seed"]) for one in data()["cells"]] == [(name, seed) for seed in (1, 2, 3) for name in ("good", "cheap")]


def test_what_failed_is_listed_and_only_that_is_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match=r"^2 of 4 runs failed, for the reasons told above\. The same command") as caught:
        run_sweep(sweep("good fails"), cells("good fails", seeds=(1, 2)), program)
    assert caught.value.status == 1
    assert [(one["method"], one["reason"]) for one in data()["failed"]] == [("fails", "TrainingError: it went wrong")] * 2
    said = capsys.readouterr().out
    assert "  fails, 1 shot, seed 1: TrainingError: it went wrong (out/logs/fails-1-seed1.log); the same for 1 more\n" in said
    assert "fails, 1 shot, seed 2: failed like fails, 1 shot, seed 1\n" in said
    assert said.count("it went wrong") == 2  # when it failed, and at the end
    with pytest.raises(TrainingError, match=r"^2 of 4"):
        run_sweep(sweep("good fails"), cells("good fails", seeds=(1, 2)), program)
    said = capsys.readouterr().out
    assert "4 runs, of which 2 have ended before" in said
    assert "[2 of 2] fails" in said
    assert Path("out/cells/fails-1-seed1/checkpoints/last.ckpt").read_text(encoding="utf-8") == "--ckpt_path=out/cells/fails-1-seed1"


def test_when_the_first_fail_alike_the_others_are_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        TrainingError,
        match=r"^no run succeeded, for the reason told above, the same for 2 more; not tried: 1\. The log of fails, 1 shot, seed 1: out/",
    ) as caught:
        run_sweep(sweep("fails"), cells("fails", seeds=(1, 2, 3, 4)), program)
    assert caught.value.status == 2
    assert not Path("out/cells/fails-1-seed4").exists()
    assert capsys.readouterr().out.count("TrainingError: it went wrong") == 1
    with pytest.raises(TrainingError, match=r"^no run succeeded, for the reason told above\. The log of fails, 1 shot, seed 1: out/logs/"):
        run_sweep(sweep("fails"), cells("fails"), program)
    assert "fails, 1 shot, seed 1: failed. TrainingError: it went wrong\n" in capsys.readouterr().out


def test_a_run_that_the_system_kills_says_so_and_the_next_one_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TrainingError, match="1 of 2 runs failed"):
        run_sweep(sweep("dies good"), cells("dies good"), program)
    assert data()["failed"][0]["reason"].startswith("ended by SIGKILL. Systems end so what takes more memory than there is")
    assert len(data()["cells"]) == 1
    assert reason_of(Ended(None, 3, 1.0, "")) == "status 3"


def test_methods_that_saw_other_images_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"^out/cells/other_images-1-seed1 trained on other images than out/cells/good-1-seed1 \("):
        run_sweep(sweep("good other_images"), cells("good other_images", seeds=(1, 2)), program)
    assert not Path("out/cells/good-1-seed2").exists()
    with pytest.raises(TrainingError, match="trained on other images"):  # read again, too
        run_sweep(sweep("good other_images"), cells("good other_images", seeds=(1,)), program)


def test_another_config_is_another_run() -> None:
    run_sweep(sweep("good"), cells("good"), program)
    other = cells("good")
    changed = other[0].planned._replace(config=other[0].planned.config + "more: 1\n")
    assert changed.folder() == (None, False)
    assert other[0].planned.folder() == (Path("out/cells/good-1-seed1"), True)


def test_a_signal_ends_what_runs_and_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        while not Path("out/cells/sleeps-1-seed1/began").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=stop, daemon=True).start()
    all_cells = cells("good sleeps", seeds=(1, 2))
    with pytest.raises(Stopped) as caught:
        run_sweep(sweep("good sleeps"), all_cells, program)
    assert caught.value.status == 143
    assert signal.getsignal(signal.SIGTERM) == before
    said = capsys.readouterr().out
    assert "sleeps, 1 shot, seed 1: cut off" in said
    assert "not run, or cut off: 3" in said
    assert [one["reason"] for one in data()["failed"]] == ["", "", ""]
    run_sweep(sweep("good sleeps"), all_cells[:2], program)
    assert [one["method"] for one in data()["cells"]] == ["good", "sleeps"]
    assert len(list(Path("out/cells").iterdir())) == 2
