"""Locks between processes: who holds one keeps the others out, until the block or the process ends, however that ends."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import assert_holds, fill, items, live

from cliptune.data.kept import locks
from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore

pytest_plugins = ["stores_fixtures"]


def is_free(lock: Path) -> bool:
    hold = locks.acquire(lock, shared=False, wait=False)
    if hold is not None:
        hold.release()
    return hold is not None


def test_a_lock_ends_with_its_process_even_when_killed(
    store: RowStore, shelf: Shelf, kind: str, other: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = other(kind)
    locks = [store.folder / "locks" / f"{shelf.folder.name}.{name}" for name in ("write", "use")]
    assert [is_free(lock) for lock in locks] == [False, False]
    assert store.clear() == ([], store.shelves())
    assert len(store.shelves()) == 1
    process.kill()
    process.wait()
    assert [is_free(lock) for lock in locks] == [True, True]
    fill(shelf, items(0, 3))
    assert_holds(shelf, items(0, 3))


def test_a_lock_ends_with_its_block_even_when_that_fails(store: RowStore, shelf: Shelf, kind: str) -> None:
    lock = store.folder / "locks" / f"{shelf.folder.name}.write"
    with pytest.raises(FileNotFoundError, match="callers"), shelf.lock():
        (store.folder / ("callers" if not is_free(lock) else "free")).read_bytes()
    assert is_free(lock)
    assert is_free(lock.with_suffix(".use"))
    fill(shelf, items(0, 1))


def test_shared_and_alone_exclude_one_another(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / "locks" / "x.use"
    one, two = (locks.acquire(lock, shared=True, wait=False) for _ in range(2))
    assert one is not None
    assert two is not None
    assert not is_free(lock)
    one.release()
    assert not is_free(lock)
    two.release()
    alone = locks.acquire(lock, shared=False, wait=False)
    assert alone is not None
    assert locks.acquire(lock, shared=True, wait=False) is None
    alone.release()
    assert is_free(lock)


def test_who_waits_long_says_so_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]) -> None:
    lock, polls = tmp_path / "x.write", []
    first = locks.acquire(lock, shared=False)
    assert first is not None

    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 9:
            first.release()

    monkeypatch.setattr(locks, "NOTE_SECONDS", -1.0)
    monkeypatch.setattr(time, "sleep", sleep)
    assert locks.acquire(lock, shared=False) is not None
    assert len(polls) == 9
    assert said() == [f"waiting for another process to finish with the same cached rows (lock {lock})."]


COUNTING = """
locks.POLL_SECONDS = 0.001
counter = Path({folder!r}) / "counter"
for _ in range(60):
    with locks.held(counter.with_name("x.write")):
        text = counter.read_text()
        counter.write_text("")
        time.sleep(0.0005)  # for the others to come in between
        counter.write_text(str(int(text) + 1))
"""


def test_no_two_of_many_hold_a_lock(store: RowStore, kind: str) -> None:
    store.folder.mkdir()
    (store.folder / "counter").write_text("0")
    processes = [subprocess.Popen(live(COUNTING, store, kind)) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert (store.folder / "counter").read_text() == "240"


FORK = multiprocessing.get_context("fork")


def let_go(hold: Any) -> None:
    hold.release()


def stay(hold: Any, end: Any) -> None:
    end.wait()


@pytest.mark.parametrize("shared", [False, True])
def test_a_forked_worker_that_lets_go_leaves_the_lock(tmp_path: Path, kind: str, shared: bool) -> None:
    lock = tmp_path / "x.use"
    hold = locks.acquire(lock, shared)
    assert hold is not None
    process = FORK.Process(target=let_go, args=(hold,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert not is_free(lock)
    hold.release()
    assert is_free(lock)


@pytest.mark.parametrize("shared", [False, True])
def test_a_forked_worker_that_stays_keeps_what_it_reads_and_no_more(tmp_path: Path, shared: bool) -> None:
    lock = tmp_path / "x.use"
    hold, end = locks.acquire(lock, shared), FORK.Event()
    assert hold is not None
    process = FORK.Process(target=stay, args=(hold, end), daemon=True)
    process.start()
    hold.release()
    assert is_free(lock) != shared
    end.set()
    process.join()
    assert is_free(lock)


def test_a_lock_file_that_its_process_left_is_broken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = tmp_path / "x.write"
    lock.write_text(str(dead.pid))
    lock.with_name("x.write.breaking").write_text(str(dead.pid))  # it died while it broke another's
    assert not is_free(lock)
    assert is_free(lock)
    lock.write_text(str(os.getppid()))
    assert not is_free(lock)
    lock.write_text("")  # being written now, or left so
    assert not is_free(lock)
    os.utime(lock, (0, 0))
    assert is_free(lock)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("look", [1, 2])
def test_a_lock_taken_just_after_a_look_is_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int) -> None:
    lock, looks, lives = tmp_path / "x.write", [], locks._lives

    def lives_then_another_comes(file: Path) -> bool | None:
        found = lives(file)
        looks.append(file)
        if len(looks) == look:
            lock.write_text(str(os.getppid()))
        return found

    monkeypatch.setattr(locks, "fcntl", None)
    monkeypatch.setattr(locks, "_lives", lives_then_another_comes)
    locks._break(lock)  # let go by its holder in the moment before
    assert lock.exists() == (len(looks) >= look)
