"""Where a run's time and memory go: seconds and peak memory of each of its phases."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cliptune.run import peak_memory_mb, reset_peak_memory


class Phase(NamedTuple):
    """A part of a run."""

    name: str
    seconds: float
    peak_memory_mb: float  # see `run.peak_memory_mb`; where peaks cannot be taken back, the greatest so far


class Phases:
    """Takes the time and the peak memory of what is done under each name, in order.

    Args:
        began: `time.perf_counter()` at the start of the program; what is before the first phase is one too.
    """

    def __init__(self, began: float) -> None:
        self.began = began
        self.found: list[Phase] = []

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure a phase; one that fails is none."""
        if not self.found:
            self.found.append(Phase("start", time.perf_counter() - self.began, peak_memory_mb()))
        reset_peak_memory()
        began = time.perf_counter()
        yield
        self.found.append(Phase(name, time.perf_counter() - began, peak_memory_mb()))

    @property
    def peak_memory_mb(self) -> float:
        """Of the whole run until now."""
        return max([peak_memory_mb(), *(phase.peak_memory_mb for phase in self.found)])

    @property
    def told(self) -> list[dict[str, str | float]]:
        """As plain data, for `summary.json`."""
        return [{"name": name, "seconds": round(seconds, 2), "peak_memory_mb": round(peak, 1)} for name, seconds, peak in self.found]
