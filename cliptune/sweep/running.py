"""Runs command lines, each in a process of its own, several at a time, started from one that has imported everything already.

That one is multiprocessing's fork server: it imports once and then does nothing but fork, so that each run begins as a fresh program does,
less the imports. What a run changes in its process (random states, warnings, threads, a GPU's memory) ends with it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from cliptune.errors import Stopped

ENDING = (signal.SIGINT, signal.SIGTERM)


class Job(NamedTuple):
    """A command line to run.

    Args:
        key: the caller's.
        words: of the command line.
        log: the file that takes what it says.
    """

    key: Any
    words: Callable[[], list[str]]  # asked for when it begins
    log: Path


class Ended(NamedTuple):
    """A command that has run."""

    key: Any
    status: int  # of the process; negative where a signal ended it
    seconds: float
    said: str  # the last line of its log


class Lane(NamedTuple):
    """A place where one run at a time goes on."""

    device: str | None  # what it sees of the devices, as CUDA_VISIBLE_DEVICES has it
    threads: int  # of each of its runs


class _Running(NamedTuple):
    job: Job
    lane: Lane
    process: Any
    began: float


Work = Callable[[list[str]], int]  # runs a command line in this process, and gives its status


def run_jobs(jobs: Sequence[Job], lanes: Sequence[Lane], work: Work, imported: Sequence[str]) -> Generator[Ended, None, None]:
    """Run jobs in order, as many at a time as there are lanes, and give each when it has ended.

    A signal is handed to all that run, nothing more is begun, and when all have ended it is told.

    Args:
        jobs: to run.
        lanes: at least one.
        work: a function of a module, since it is called in other processes.
        imported: modules that all need.

    Raises:
        Stopped: it was asked to.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload(list(imported))
    waiting, free, running, heard = deque(jobs), deque(lanes), list[_Running](), list[int]()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        for one in running:
            _send(one.process, number)

    before = {number: signal.signal(number, hear) for number in ENDING} if _is_main_thread() else {}
    try:
        while running or (waiting and not heard):
            while waiting and free and not heard:
                running.append(_start(context, waiting.popleft(), free.popleft(), work))
            wait([one.process.sentinel for one in running])
            for one in [one for one in running if one.process.exitcode is not None]:
                running.remove(one)
                free.append(one.lane)
                yield Ended(one.job.key, one.process.exitcode, time.monotonic() - one.began, last_line(one.job.log))
    finally:
        for one in running:  # the caller wants no more
            _send(one.process, signal.SIGTERM)
        for one in running:
            one.process.join()
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Stopped("stopped. The same command goes on: what has ended is not run again, what was cut off goes on.", 128 + heard[0])


def _start(context: Any, job: Job, lane: Lane, work: Work) -> _Running:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    words, usual = job.words(), multiprocessing.get_start_method()
    process = context.Process(target=_run, args=(words, str(job.log), lane, work, usual), daemon=False)  # it may have workers
    process.start()
    return _Running(job, lane, process, time.monotonic())


def _run(words: list[str], log: str, lane: Lane, work: Work, start_method: str) -> None:
    """What the process of a job does."""
    multiprocessing.set_start_method(start_method, force=True)  # or loaders would start their workers by a server of their own
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C goes to the sweep alone, which hands it on once
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(handle, stream)
    for text in (sys.stdout, sys.stderr):
        text.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(f"$ cliptune {' '.join(words)}")
    sys.argv = [sys.argv[0], *words]
    if lane.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = lane.device
    _set_threads(lane.threads)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    sys.exit(work(words))


def _set_threads(count: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(count)  # which is read when torch is imported, here or in processes that this one starts
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)


def _end_with(parent: BaseProcess | None) -> None:
    """Stop, as by a signal, when the sweep itself was killed, since a later one would go on with the same run."""
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _send(process: Any, number: int) -> None:
    if process.exitcode is None:
        os.kill(process.pid, number)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def last_line(log: Path) -> str:
    """The last line that says something."""
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace")[-10_000:].splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
