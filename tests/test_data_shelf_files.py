"""A shelf's files: whole whatever is killed, damaged or full."""

import errno
import os
import random
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stores import ABOUT, SHAPE, assert_holds, fill, items, live, rows_of

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.shelf_files import FILES
from cliptune.data.kept.store import RowStore

pytest_plugins = ["stores_fixtures"]


def sound(shelf: Shelf, most: int) -> int:
    """Open the shelf after a kill; each item that is there must have its own row. Gives how many there are."""
    with shelf.lock():
        asked = items(0, most)
        there = np.setdiff1d(np.arange(most), shelf.missing(asked))
        count = len(there)
        np.testing.assert_array_equal(shelf.table(asked[there])[:].numpy(), rows_of(asked[there]))
        assert (shelf.folder / "rows.bin").stat().st_size == count * shelf.row_bytes
        assert (shelf.folder / "keys.bin").stat().st_size == count * 16
    return count


# Killed

APPENDING = """
with shelf.lock():
    at = 0
    while True:
        digests = items(at, at + 40)
        digests = digests[shelf.missing(digests)]
        if len(digests):
            assert shelf.append(digests, rows_of(digests))
            print(at, flush=True)
        at += 40
"""
KILLED_AT_A_SYNC = """
sync, left = os.fsync, {number}
def fsync(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = fsync
with shelf.lock():
    for at in (0, 4, 8):
        assert shelf.append(items(at, at + 4), rows_of(items(at, at + 4)))
"""


@pytest.mark.parametrize("number", range(2, 8))  # the first sync is that of about.json; then rows, keys, rows, keys, rows, keys
def test_killed_before_a_sync_the_rows_before_it_are_there(store: RowStore, shelf: Shelf, number: int) -> None:
    killed = subprocess.run(live(KILLED_AT_A_SYNC, store, number=number), check=False)
    assert killed.returncode == -signal.SIGKILL
    surplus = number % 2 == 0  # rows were written, their keys not yet
    assert ((shelf.folder / "rows.bin").stat().st_size > (shelf.folder / "keys.bin").stat().st_size // 16 * shelf.row_bytes) == surplus
    assert sound(shelf, 12) == 4 * ((number - 1) // 2)
    fill(shelf, items(0, 12)[shelf.missing(items(0, 12))])
    assert_holds(shelf, items(0, 12))


def test_killed_at_any_moment_the_shelf_is_whole(store: RowStore, shelf: Shelf, said: Callable[[], list[str]]) -> None:
    draw, before = random.Random(0), 0
    for _ in range(12):
        with subprocess.Popen(live(APPENDING, store), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(draw.randrange(1, 8)):
                done = int(process.stdout.readline()) + 40
            for _ in range(draw.randrange(20_000)):
                pass  # somewhere in the appends that follow
            process.kill()
        assert process.returncode == -signal.SIGKILL
        count = sound(shelf, done + 4_000)
        assert count >= max(before, done)
        before = count
    assert said() == []  # a kill is no damage


# Damage


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def change_about(folder: Path) -> None:
    text = (folder / "about.json").read_text(encoding="utf-8")
    (folder / "about.json").write_text(text.replace("nano", "mano"), encoding="utf-8")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "rows cut": cut("rows.bin", 5 * 60 - 1),
    "rows empty": cut("rows.bin", 0),
    "rows gone": lambda folder: (folder / "rows.bin").unlink(),
    "about junk": lambda folder: (folder / "about.json").write_bytes(b"\xff{"),
    "about of another": change_about,
    "about gone": lambda folder: (folder / "about.json").unlink(),
    "about empty": cut("about.json", 0),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_shelf_is_made_anew_with_one_warning(store: RowStore, shelf: Shelf, case: str, said: Callable[[], list[str]]) -> None:
    fill(shelf, items(0, 5))
    DAMAGE[case](shelf.folder)
    assert len(shelf.missing(items(0, 5))) == 5
    assert len(store.shelves()) == 1
    with shelf.lock():
        assert len(shelf.missing(items(0, 5))) == 5
        assert shelf.append(items(0, 5), rows_of(items(0, 5)))
        assert_holds(shelf, items(0, 5))
    assert_holds(shelf, items(0, 5))
    assert len(said()) == 1
    assert "are damaged" in said()[0]
    assert "thrown away and computed anew" in said()[0]


@pytest.mark.parametrize(("keys", "left"), [(5 * 16 - 1, 4), (3 * 16, 3), (7, 0), (0, 0)])
def test_keys_cut_short_lose_their_own_rows_only(shelf: Shelf, keys: int, left: int, said: Callable[[], list[str]]) -> None:
    fill(shelf, items(0, 5))
    cut("keys.bin", keys)(shelf.folder)
    assert shelf.missing(items(0, 5)).tolist() == list(range(left, 5))
    assert sound(shelf, 5) == left
    fill(shelf, items(left, 9))
    assert_holds(shelf, items(0, 9))
    assert said() == []


def test_removal_that_is_killed_leaves_a_whole_shelf(shelf: Shelf, said: Callable[[], list[str]]) -> None:
    for most in range(1, len(FILES)):
        fill(shelf, items(0, 5)[shelf.missing(items(0, 5))])
        for name in FILES[:most]:
            (shelf.folder / name).unlink(missing_ok=True)
        assert sound(shelf, 5) == 0
    assert said() == []


# A disk that does not take it


def full_after(monkeypatch: pytest.MonkeyPatch, syncs: int) -> None:
    sync, left = os.fsync, [syncs]

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("syncs", [0, 1])  # full at the rows, full at the keys
def test_a_full_disk_leaves_the_shelf_whole_and_warns_once(
    shelf: Shelf, syncs: int, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]
) -> None:
    fill(shelf, items(0, 5))
    with monkeypatch.context() as patch, shelf.lock():
        full_after(patch, syncs)
        assert not shelf.append(items(5, 9), rows_of(items(5, 9)))
        assert not shelf.append(items(9, 12), rows_of(items(9, 12)))
        assert (shelf.folder / "rows.bin").stat().st_size == 5 * shelf.row_bytes
        assert_holds(shelf, items(0, 5))
        assert shelf.missing(items(0, 12)).tolist() == list(range(5, 12))
    assert len(said()) == 1
    assert "No space left on device" in said()[0]
    assert "goes on without it. Free space there, or set CLIPTUNE_CACHE" in said()[0]
    fill(shelf, items(5, 12))  # there is room again
    assert_holds(shelf, items(0, 12))


def test_a_write_that_the_system_cuts_short_is_taken_back(shelf: Shelf, said: Callable[[], list[str]]) -> None:
    fill(shelf, items(0, 5))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with shelf.lock():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 * shelf.row_bytes + 7, before[1]))
        try:
            kept = shelf.append(items(5, 100), rows_of(items(5, 100)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not kept
        assert (shelf.folder / "rows.bin").stat().st_size == 5 * shelf.row_bytes
    assert sound(shelf, 100) == 5
    assert len(said()) == 1


def test_an_append_that_is_interrupted_is_taken_back(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    with shelf.lock():
        assert shelf.append(items(0, 5), rows_of(items(0, 5)))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", interrupt)
            with pytest.raises(KeyboardInterrupt):
                shelf.append(items(5, 9), rows_of(items(5, 9)))
        assert shelf.append(items(9, 12), rows_of(items(9, 12)))
    assert sound(shelf, 12) == 8


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, said: Callable[[], list[str]]) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = RowStore(tmp_path / "file" / "cache", 1)
    shelf = store.shelf(ABOUT, SHAPE)
    for _ in range(2):
        with shelf.lock():
            assert shelf.missing(items(0, 3)).tolist() == [0, 1, 2]
            assert not store.make_room(1)
            assert not shelf.append(items(0, 3), rows_of(items(0, 3)))
    assert store.shelves() == []
    assert store.clear() == ([], [])
    assert sum("cannot be written (Not a directory)" in line for line in said()) == 1
