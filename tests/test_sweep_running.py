"""Jobs in processes of their own, forked from one that has imported everything."""

import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cliptune.sweep.running import Ended, Job, Lane, last_line, run_jobs

pytestmark = pytest.mark.usefixtures("elsewhere")
IMPORTED = ("cliptune.launch",)


def look(words: list[str]) -> int:
    """Say what this process is like."""
    warned = getattr(torch, "changed_by_a_job", False)
    torch.changed_by_a_job = True  # type: ignore[attr-defined]
    devices, threads = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.get_num_threads()
    print(words[0], devices, threads, warned, multiprocessing.get_start_method(), sys.argv[1:], os.getsid(0) == os.getpid())
    random.random()
    return int(words[0])


def jobs(*words: str) -> list[Job]:
    return [Job(i, lambda word=word: [word], Path(f"{i}.log")) for i, word in enumerate(words)]  # type: ignore[misc]


def test_each_job_has_a_process_as_if_it_were_the_first() -> None:
    ended = list(run_jobs(jobs("0", "3", "0"), [Lane("5", 2)], look, IMPORTED))
    assert [(one.key, one.status) for one in ended] == [(0, 0), (1, 3), (2, 0)]
    usual = multiprocessing.get_start_method()
    assert [one.said for one in ended] == [f"{word} 5 2 False {usual} ['{word}'] True" for word in ("0", "3", "0")]
    assert Path("0.log").read_text(encoding="utf-8").startswith("$ cliptune 0\n")


def wait_for_other(words: list[str]) -> int:
    """End when both jobs have begun."""
    Path(f"{words[0]}.began").touch()
    until = time.monotonic() + 30
    while len(list(Path().glob("*.began"))) < 2:
        if time.monotonic() > until:
            return 1
        time.sleep(0.01)
    return 0


def test_as_many_go_on_at_a_time_as_there_are_lanes() -> None:
    ended = list(run_jobs(jobs("a", "b"), [Lane(None, 1), Lane(None, 1)], wait_for_other, IMPORTED))
    assert sorted((one.key, one.status) for one in ended) == [(0, 0), (1, 0)]


def sleep(words: list[str]) -> int:
    """Take long."""
    Path(f"{words[0]}.pid").write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(60)
    return 0


def fail_or_sleep(words: list[str]) -> int:
    """One fails when the other sleeps."""
    if words[0] == "sleep":
        return sleep(words)
    while not Path("sleep.pid").exists():
        time.sleep(0.01)
    raise ValueError("broken")


def test_whoever_wants_no_more_ends_what_runs() -> None:
    found = run_jobs(jobs("sleep", "fail", "more"), [Lane(None, 1)] * 2, fail_or_sleep, IMPORTED)
    first = next(found)
    assert (first.key, first.status, first.said) == (1, 1, "ValueError: broken")
    began = time.monotonic()
    found.close()
    assert time.monotonic() - began < 30
    time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("sleep.pid").read_text(encoding="utf-8") or 0), 0)


ORPHAN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_sweep_running import sleep
from cliptune.sweep.running import Job, Lane, run_jobs
if __name__ == "__main__":
    list(run_jobs([Job(0, lambda: ["orphan"], Path("o.log"))], [Lane(None, 1)], sleep, ()))
"""


@pytest.mark.slow
def test_jobs_end_with_a_sweep_that_is_killed() -> None:
    Path("orphan.py").write_text(ORPHAN.format(tests=str(Path(__file__).parent)), encoding="utf-8")
    with subprocess.Popen([sys.executable, "orphan.py"]) as parent:
        while not Path("orphan.pid").exists() or not Path("orphan.pid").read_text(encoding="utf-8"):
            time.sleep(0.05)
        pid = int(Path("orphan.pid").read_text(encoding="utf-8"))
        parent.kill()
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_the_last_line_is_the_last_that_says_something() -> None:
    Path("x.log").write_text("one\ntwo \n\n", encoding="utf-8")
    assert last_line(Path("x.log")) == "two"
    assert last_line(Path("none.log")) == ""
    assert Ended(1, 0, 1.0, "two").said == "two"
