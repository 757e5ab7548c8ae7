"""Fixtures of the row store's tests: a store, a shelf, both kinds of locks, what was logged, another process. A plugin of the files that
name it, which must not import it."""

import logging
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stores import ABOUT, SHAPE, live, use_locks

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore

LOCKING = """
with shelf.lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    return RowStore(tmp_path / "cache", limit_gb=1)


@pytest.fixture
def shelf(store: RowStore) -> Shelf:
    return store.shelf(ABOUT, SHAPE)


@pytest.fixture(params=["flock", "pid"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of locks: the system's, and the files of systems without fcntl. Asked for first, for one folder is of one kind."""
    use_locks(request.param, monkeypatch.setattr)
    return str(request.param)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was logged."""
    with caplog.at_level(logging.INFO, logger="cliptune"):
        yield lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def other(store: RowStore) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start another process that holds the shelf's lock."""
    started = []

    def start(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(live(LOCKING, store, kind), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
