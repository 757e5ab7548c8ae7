"""Memory and time of a step in a process of its own, so that nothing else that was imported or kept counts."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Alone:
    """What a step took in a process of its own.

    Args:
        seconds: of one call.
        extra: MB at most beyond what was there before the call; of the GPU's memory where there is one.
        peak: MB at most, with all that the process holds; likewise.
        said: what the call returned.
    """

    seconds: float
    extra: float
    peak: float
    said: Any


def alone(make: Callable[..., Callable[[], object]], *arguments: object) -> Alone:
    """Make a step in a process of its own, and time one call; on a GPU the second one."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_alone, (make, *arguments))


def command_alone(words: Sequence[str], log: Path, threads: int | None = None) -> tuple[int, float]:
    """Run a command, here and with its output in a file; the clock on the wall tells more of what else runs on a machine.

    Args:
        words: of the command.
        log: the file.
        threads: of torch, where it is not to take those that are there.

    Returns:
        Its status, and its CPU seconds on all cores together.
    """
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    with log.open("w", encoding="utf-8") as handle:
        started = subprocess.Popen(words, stdout=handle, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(started.pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def peak_alone(target: Callable[..., object], *arguments: object) -> float:
    """Run a module's function in a process of its own.

    Returns:
        The MB that were resident at most, imports included.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of, (target, *arguments))


def extra_alone(make: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """Make a step in a process of its own, and run it.

    Returns:
        The MB that the step needed at most beyond what was resident before it.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra_of, (make, *arguments))


def resident(name: str) -> float:
    """MB, by the kernel's account of this process: `VmRSS`, `VmHWM`, `RssAnon`, ..."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1e3


def _extra_of(make: Callable[..., Callable[[], object]], *arguments: object) -> float:
    step = make(*arguments)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak counts from here
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def _alone(make: Callable[..., Callable[[], Any]], *arguments: object) -> Alone:
    step = make(*arguments)
    if torch.cuda.is_available():
        step()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 1e6
        start = time.perf_counter()
        said = step()
        torch.cuda.synchronize()
        seconds, peak = time.perf_counter() - start, torch.cuda.max_memory_allocated() / 1e6
        return Alone(seconds, peak - before, peak, said)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = resident("VmRSS"), time.perf_counter()
    said = step()
    seconds, peak = time.perf_counter() - start, resident("VmHWM")
    return Alone(seconds, peak - before, peak, said)


def _peak_of(target: Callable[..., object], *arguments: object) -> float:
    target(*arguments)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss is that of the parent, where it was greater
        return resident("VmHWM")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # getrusage(2): bytes there, KB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
