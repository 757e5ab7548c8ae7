"""Side-by-side timing: two ways of doing the same work take turns in one process, so that load, heat and caches meet both.

What is compared lives in the other files here. A figure is the ratio of each pair of neighbours, not of two separate runs.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("cliptune", "torch", "torchvision", "lightning", "open_clip_torch", "pillow", "numpy")
PEERS = ("peft", "transformers", "onnxruntime", "scikit-learn", "webdataset", "clip-benchmark")


@dataclass
class Pairs:
    """Seconds of A and of B, taken in turns."""

    a: list[float] = field(default_factory=list)
    b: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """A over B of each pair."""
        return [a / b for a, b in zip(self.a, self.b, strict=True)]


@dataclass
class Line:
    """One line of a result.

    Args:
        case: what was compared.
        pairs: the times.
        items: images of each call, for images/s.
        at_most: the goal for the median of A / B, where it is an upper bound.
        at_least: the goal, where it is a lower bound.
        notes: further figures, such as the peak memory of both.
    """

    case: str
    pairs: Pairs
    items: int
    at_most: float | None = None
    at_least: float | None = None
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def goal(self) -> str:
        """The goal and whether it is met, in words."""
        if self.at_most is None and self.at_least is None:
            return ""
        ratio = median(self.pairs.ratios)
        met = ratio <= self.at_most if self.at_most is not None else ratio >= (self.at_least or 0)
        bound = f"<= {self.at_most}" if self.at_most is not None else f">= {self.at_least}"
        return f"{bound} {'met' if met else 'missed'}"


def timed(call: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternate(a: Callable[[], object], b: Callable[[], object], pairs: int, warmup: int = 2) -> Pairs:
    """Time A B A B, after `warmup` pairs that do not count."""
    for _ in range(warmup):
        a(), b()
    found = Pairs()
    for _ in range(pairs):
        found.a.append(timed(a))
        found.b.append(timed(b))
    return found


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


def absent_of(peer: str, modules: Sequence[str], install: str) -> list[str]:
    """What to say of a peer that cannot run here: nothing where all of its modules are there."""
    missing = [name for name in modules if find_spec(name) is None]
    return [f"{peer} is absent ({', '.join(missing)} cannot be imported): pip install {install}"] if missing else []


def report(
    name: str, a: str, b: str, lines: list[Line], absent: Sequence[str] = (), folder: Path = RESULTS, unit: str = "images/s"
) -> None:
    """Print a table, and write NAME.json with the machine and the versions.

    Args:
        name: of the file.
        a: what A is.
        b: what B is.
        lines: the measurements.
        absent: of each peer that was not there, what to say.
        folder: for the file.
        unit: of what items are, a second.
    """
    for said in absent:
        print(said)
    notes = list(dict.fromkeys(key for line in lines for key in line.notes))
    table = Table("case", f"{a}, {unit}", f"{b}, {unit}", f"time of {a} / {b}", "min", "max", "goal", *notes)
    for line in lines:
        rates = [line.items / median(seconds) for seconds in (line.pairs.a, line.pairs.b)]
        ratios = line.pairs.ratios
        figures = [f"{rate:.1f}" for rate in rates] + [f"{value:.3f}" for value in (median(ratios), min(ratios), max(ratios))]
        table.add_row(line.case, *figures, line.goal, *(f"{line.notes[key]:.4g}" if key in line.notes else "" for key in notes))
    Console(width=None if os.isatty(1) else 180).print(table)
    if not lines and (folder / f"{name}.json").is_file():
        print(f"nothing was measured: {name}.json stays as it is")
        return
    found = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
        "a": a,
        "b": b,
        "lines": [_as_dict(line) for line in lines],
        **({"absent": list(absent)} if absent else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """The processor, its cores, torch's threads, and the load by others."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    cpu = names[0] if names else platform.processor()
    capability = torch.backends.cpu.get_cpu_capability()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"cpu": cpu, "capability": capability, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": load}


def versions() -> dict[str, str]:
    """Python's and the packages' versions."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *PEERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _as_dict(line: Line) -> dict[str, Any]:
    ratios = line.pairs.ratios
    pairs = {side: [round(value, 6) for value in seconds] for side, seconds in asdict(line.pairs).items()}
    summary = {"median": round(median(ratios), 4), "min": round(min(ratios), 4), "max": round(max(ratios), 4)}
    return {"case": line.case, "ratio": summary, "goal": line.goal, "items": line.items, "seconds": pairs, **line.notes}


def _extra_of(make: Callable[..., Callable[[], object]], *arguments: object) -> float:
    step = make(*arguments)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak counts from here
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


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
    before, start = _status("VmRSS"), time.perf_counter()
    said = step()
    seconds, peak = time.perf_counter() - start, _status("VmHWM")
    return Alone(seconds, peak - before, peak, said)


def _status(name: str) -> float:
    """MB, by the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1e3


def _peak_of(target: Callable[..., object], *arguments: object) -> float:
    target(*arguments)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss is that of the parent, where it was greater
        return _status("VmHWM")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # getrusage(2): bytes there, KB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
