"""Side-by-side timing: two ways of doing the same work take turns in one process, so that load, heat and caches meet both.

What is compared lives in the other files here. A figure is the ratio of each pair of neighbours, not of two separate runs.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
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


def absent_of(peer: str, modules: Sequence[str], install: str) -> list[str]:
    """What to say of a peer that cannot run here: nothing where all of its modules are there."""
    missing = [name for name in modules if find_spec(name) is None]
    return [f"{peer} is absent ({', '.join(missing)} cannot be imported): pip install {install}"] if missing else []


def skip_without(*files: Path) -> None:
    """End the script, with status 0 so that `make bench` goes on, where data that it reads is not there."""
    missing = [file for file in files if not file.exists()]
    if missing:
        print(f"{Path(sys.argv[0]).name}: skipped, because {missing[0]} is not there.")
        raise SystemExit(0)


def report(
    name: str, a: str, b: str, lines: list[Line], absent: Sequence[str] = (), folder: Path = RESULTS, unit: str = "images/s"
) -> None:
    """Print a table, and write NAME.json with the machine and the versions; NAME_gpu.json where there is a GPU, beside the CPU's.

    Args:
        name: of the file.
        a: what A is.
        b: what B is.
        lines: the measurements.
        absent: of each peer that was not there, what to say.
        folder: for the file.
        unit: of what items are, a second.
    """
    file = folder / f"{name}{'_gpu' * (torch.cuda.is_available() and not name.startswith('gpu'))}.json"
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
    if not lines and file.is_file():
        print(f"nothing was measured: {file.name} stays as it is")
        return
    found = {
        **circumstances(),
        "a": a,
        "b": b,
        "lines": [_as_dict(line) for line in lines],
        **({"absent": list(absent)} if absent else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def circumstances() -> dict[str, Any]:
    """The day, the machine and the versions: what every file of results begins with."""
    return {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "machine": machine(), "versions": versions()}


def machine() -> dict[str, Any]:
    """The processor, its cores, torch's threads, the load by others, the precision that cliptune takes by itself, and the GPU."""
    from cliptune.devices import default_precision

    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    cpu = names[0] if names else platform.processor()
    capability = torch.backends.cpu.get_cpu_capability()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    found = {"cpu": cpu, "capability": capability, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load": load}
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {**found, "default precision": default_precision("auto"), **gpu}


def versions() -> dict[str, str]:
    """Python's and the packages' versions, and the commit where this is a checkout."""
    found = {"python": platform.python_version(), **({"commit": commit} if (commit := checkout()) else {})}
    for name in (*PACKAGES, *PEERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def checkout() -> str:
    """The commit, short, with a + where code differs from it; empty outside of a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "--", "cliptune", "benchmarks/*.py"))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _as_dict(line: Line) -> dict[str, Any]:
    ratios = line.pairs.ratios
    pairs = {side: [round(value, 6) for value in seconds] for side, seconds in asdict(line.pairs).items()}
    summary = {"median": round(median(ratios), 4), "min": round(min(ratios), 4), "max": round(max(ratios), 4)}
    return {"case": line.case, "ratio": summary, "goal": line.goal, "items": line.items, "seconds": pairs, **line.notes}
