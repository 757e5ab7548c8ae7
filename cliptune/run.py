"""The run folder, the same for every command: where a run's files lie, how it is named, and how an older one is found again."""

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

import cliptune
from cliptune.errors import CheckpointError, ConfigError, did_you_mean
from cliptune.whole import write_whole

REPORTED = ("torch", "lightning", "open_clip_torch", "datasets", "torchvision")


class Run:
    """Where a run is written, and what is written beside the model.

    Args:
        name: of the folder; the config's name where not given. A name that exists gets the next number, nothing is overwritten.
        root: the folder of all runs.
        baseline: score the untouched CLIP first, so that what was won can be told.
        pictures: draw `curves.png` and `examples.png`.
        report: write `report.html` at the end of a fit; `cliptune report` writes it later.
    """

    def __init__(
        self, name: str | None = None, root: str = "runs", baseline: bool = True, pictures: bool = True, report: bool = True
    ) -> None:
        if name is not None and (not name.strip() or Path(name).name != name):
            raise ConfigError(f"run.name {name!r} is no plain folder name. Put the folder into run.root.")
        self.name, self.root, self.baseline, self.pictures, self.report = name, Path(root), baseline, pictures, report
        self.folder = Path()
        self.made = False  # by this process

    def create(self) -> Path:
        """Make a folder of its own for a new run."""
        name = self.name or "run"
        for number in range(1, 10_000):
            self.folder = self.root / (name if number == 1 else f"{name}-{number}")
            try:
                self.folder.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise ConfigError(f"run.root {self.root}: the folder cannot be made: {error.strerror}.") from None
            self.made = True
            return self.folder
        raise ConfigError(f"run.name {name}: there are 9,999 runs of this name in {self.root}. Take another.")

    @contextmanager
    def tidy(self) -> Iterator[None]:
        """Leave no folder behind when something fails before anything was measured."""
        try:
            yield
        except BaseException:
            kept = ("metrics.csv", "checkpoints", "bad_samples.csv")  # the last may be another process's
            if self.made and not any((self.folder / name).exists() for name in kept):
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def find_checkpoint(self, wanted: str, default: str) -> Path:
        """Turn `--ckpt_path` into a file.

        Args:
            wanted: `best` or `last` of this name's newest run, a run folder, or a file.
            default: `best` or `last`, for a folder.

        Raises:
            CheckpointError: there is none.
        """
        if wanted not in ("best", "last"):
            path = Path(wanted)
            if path.is_dir():
                path = path / "checkpoints" / f"{default}.ckpt"
            if not path.is_file():
                near = did_you_mean(wanted, (str(folder) for folder in self.root.glob("*/")))
                raise CheckpointError(f"there is no checkpoint {path}. {near}")
            return path
        pattern = re.compile(re.escape(self.name or "run") + r"(-\d+)?")
        found = [p for p in self.root.glob(f"*/checkpoints/{wanted}.ckpt") if pattern.fullmatch(p.parts[-3])]
        if not found:
            raise CheckpointError(
                f"--ckpt_path {wanted}: no run called {self.name or 'run'} in {self.root} has a {wanted}.ckpt yet. Leave it out."
            )
        return max(found, key=lambda p: p.stat().st_mtime)

    def write_config(self, text: str) -> None:
        """Write the resolved config, which refits as it is."""
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.folder / "summary.json", lambda file: file.write(text.encode()))


def refittable(config: str) -> str:
    """A parser's dump without what belongs to one call only."""
    values = yaml.safe_load(config)
    for key in ("ckpt_path", "extend", "seeds", "verbose", "return_predictions", "weights_only", "config"):
        values.pop(key, None)
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"# The resolved config of this run. Again: cliptune fit --config config.yaml\n{body}"


def versions() -> dict[str, str]:
    """What the run ran on."""
    found = {name: version(name) for name in REPORTED}
    return {"cliptune": cliptune.__version__, "python": platform.python_version(), **found}


def peak_memory_mb() -> float:
    """The most memory that this process held, in MB: on the GPU where there is one in use, else resident."""
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    if os.name != "posix":
        return float("nan")
    status = Path("/proc/self/status")
    for line in status.read_text("utf-8").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    import resource  # begins with what the parent held when it started this program: getrusage(2)

    unit = 1 if platform.system() == "Darwin" else 1024  # bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def reset_peak_memory() -> None:
    """Let `peak_memory_mb` begin anew, where the system lets it."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
