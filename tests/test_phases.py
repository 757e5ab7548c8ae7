"""Where a run's time and memory go."""

import mmap
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from cliptune.phases import Phases
from cliptune.run import peak_memory_mb


@pytest.mark.skipif(sys.platform != "linux", reason="peaks can be taken back on Linux only")
def test_memory_that_a_phase_gave_back_is_not_the_next_one_s() -> None:
    phases = Phases(time.perf_counter())
    with phases.of("large"), mmap.mmap(-1, 160 * 10**6) as held:  # malloc may give what was let go earlier and is still resident
        np.frombuffer(held, dtype=np.uint8).fill(1)
    with phases.of("small"):
        pass
    large, small = (phase.peak_memory_mb for phase in phases.found[1:])
    assert large - small > 100
    assert phases.peak_memory_mb == pytest.approx(large, abs=1)
    assert [phase["name"] for phase in phases.told] == ["start", "large", "small"]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no account of this program alone")
def test_peak_memory_is_this_program_s_and_not_its_parent_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=2**40))  # which begins with the parent's
    assert 10 < peak_memory_mb() < 2**20


def test_a_phase_that_fails_is_none() -> None:
    phases = Phases(time.perf_counter())
    with pytest.raises(ZeroDivisionError), phases.of("broken"):
        1 / 0  # noqa: B018
    assert [phase["name"] for phase in phases.told] == ["start"]


def test_seconds_are_those_of_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 2.0, 4.0, 5.0, 8.5])
    monkeypatch.setattr("cliptune.phases.time.perf_counter", lambda: next(now))
    phases = Phases(0.0)
    for name in ("a", "b"):
        with phases.of(name):
            pass
    assert [phase["seconds"] for phase in phases.told] == [1.0, 2.0, 3.5]
