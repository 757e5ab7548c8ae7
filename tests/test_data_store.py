"""The row store: what was appended comes back, whatever is killed, damaged, full or going on at the same time. No torch at the top: the
worker processes import this file."""

import errno
import json
import logging
import multiprocessing
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cliptune.data import store as module
from cliptune.data.store import RowStore, RowTable, Shelf, default_folder, default_limit_gb, digest, digests_of
from cliptune.errors import ConfigError, DataError

ABOUT = {"backbone": "nano", "tower": "image", "view": "eval", "weights": "0123", "precision": "32-true"}
SHAPE = (3, 5)
SPAWN = multiprocessing.get_context("spawn")


def items(start: int, stop: int) -> np.ndarray:
    return digests_of(str(i).encode() for i in range(start, stop))


def rows_of(digests: np.ndarray, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> np.ndarray:
    """Rows that are a function of the digests alone, as a tower's are: small whole numbers, exact in every dtype."""
    seeds = [np.frombuffer(bytes(item), "<u4")[0] for item in digests.view("V16")]
    values = [np.random.default_rng(seed).integers(0, 100, shape) for seed in seeds]
    return np.array(values, dtype=dtype).reshape(len(digests), *shape)


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


def use_locks(kind: str, set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    if kind == "pid":
        set_attribute(module, "fcntl", None)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was logged, with the logger as `launch` sets it up or not."""
    logger = logging.getLogger("cliptune")
    before = (logger.propagate, logger.level)
    logger.propagate = True
    with caplog.at_level(logging.INFO, logger="cliptune"):
        yield lambda: [record.getMessage() for record in caplog.records]
    logger.propagate = before[0]
    logger.setLevel(before[1])


def fill(shelf: Shelf, digests: np.ndarray) -> None:
    with shelf.lock():
        assert shelf.append(digests, rows_of(digests, shelf.shape, shelf.dtype.name))


def assert_holds(shelf: Shelf, digests: np.ndarray) -> None:
    assert len(shelf.missing(digests)) == 0
    np.testing.assert_array_equal(shelf.table(digests)[:].numpy(), rows_of(digests, shelf.shape, shelf.dtype.name))


# Keys and places


def test_a_digest_is_that_of_b2sum() -> None:
    assert digest(b"cliptune").hex() == "ccb8298c7878015dbb7fe74d27683761"  # printf cliptune | b2sum -l 128
    assert digests_of([b"cliptune", b""]).tobytes() == digest(b"cliptune") + digest(b"")
    assert digests_of([]).shape == (0,)


def test_the_folder_and_the_limit_are_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CLIPTUNE_CACHE", "XDG_CACHE_HOME", "CLIPTUNE_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (default_folder(), default_limit_gb()) == (tmp_path / ".cache" / "cliptune", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # "must be absolute ... should consider the path invalid", XDG base directories 0.8
    assert default_folder() == tmp_path / ".cache" / "cliptune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "cliptune"
    monkeypatch.setenv("CLIPTUNE_CACHE", "~/mine")
    monkeypatch.setenv("CLIPTUNE_CACHE_GB", "1.5")
    assert (RowStore().folder, RowStore().limit_gb) == (tmp_path / "mine", 1.5)
    for value in ("much", "-1", "nan"):
        monkeypatch.setenv("CLIPTUNE_CACHE_GB", value)
        with pytest.raises(ConfigError, match=f"CLIPTUNE_CACHE_GB is {value}, but must be .* Take 20"):
            RowStore()


def test_what_the_rows_depend_on_names_the_shelf(store: RowStore) -> None:
    shelf = store.shelf(ABOUT, SHAPE)
    assert store.shelf(dict(reversed(ABOUT.items())), SHAPE).folder == shelf.folder
    others = [store.shelf({**ABOUT, key: "other"}, SHAPE) for key in ABOUT]
    others += [store.shelf(ABOUT, (5, 3)), store.shelf(ABOUT, SHAPE, "float16")]
    assert len({shelf.folder, *(other.folder for other in others)}) == len(others) + 1
    fill(shelf, items(0, 2))
    assert json.loads((shelf.folder / "about.json").read_text(encoding="utf-8"))["about"] == ABOUT


# Rows in and out


@pytest.mark.parametrize("dtype", module.DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_rows_come_back_to_the_bit(store: RowStore, shape: tuple[int, ...], dtype: str) -> None:
    shelf = store.shelf(ABOUT, shape, dtype)
    digests = items(0, 20)
    with shelf.lock():
        assert shelf.append(digests[:15], rows_of(digests[:15], shape, dtype))
        assert shelf.append(digests[15:], rows_of(digests[15:], shape, dtype))
    again = RowStore(store.folder, 1).shelf(ABOUT, shape, dtype)
    found = again.table(digests)[:]
    assert (str(found.dtype), found.shape) == (f"torch.{dtype}", (20, *shape))
    assert_holds(again, digests)
    assert (shelf.folder / "rows.bin").stat().st_size == 20 * shelf.row_bytes == 20 * int(np.prod(shape)) * np.dtype(dtype).itemsize
    assert (shelf.folder / "keys.bin").read_bytes() == digests.tobytes()


def test_a_tensor_is_appended_like_an_array(shelf: Shelf) -> None:
    import torch

    with shelf.lock():
        assert shelf.append(items(0, 3), torch.from_numpy(rows_of(items(0, 3))))
    assert_holds(shelf, items(0, 3))


def test_missing_are_first_occurrences_in_order(shelf: Shelf) -> None:
    fill(shelf, items(0, 3))
    asked = np.concatenate([items(5, 6), items(1, 2), items(9, 10), items(5, 6), items(4, 5), items(1, 2)])
    assert shelf.missing(asked).tolist() == [0, 2, 4]
    assert shelf.missing(asked.view("V16")).tolist() == [0, 2, 4]
    assert shelf.missing(asked[::2]).tolist() == [0, 1, 2]


def test_digests_that_end_in_zeros_are_told_apart(shelf: Shelf) -> None:
    digests = np.array([b"", b"a", b"a\0b", b"\0a", b"\xff"], dtype="S16")  # numpy pads with zeros
    fill(shelf, digests)
    assert_holds(shelf, digests[::-1])
    assert shelf.missing(np.array([b"a\0a", b"a", b"\0"], dtype="S16")).tolist() == [0]


def test_a_table_gives_rows_in_the_order_asked(shelf: Shelf) -> None:
    fill(shelf, items(0, 10))
    asked = np.concatenate([items(7, 9), items(2, 3), items(7, 8)])
    table, expected = shelf.table(asked), rows_of(asked)
    assert len(table) == 4
    for numbers in ([3, 0, 2], np.array([1, 1]), (0,), slice(1, None), [-1]):
        np.testing.assert_array_equal(table[numbers].numpy(), expected[list(numbers) if isinstance(numbers, tuple) else numbers])
    np.testing.assert_array_equal(table[2].numpy(), expected[2:3])
    with pytest.raises(IndexError):
        table[[4]]


def test_rows_read_are_memory_of_their_own(shelf: Shelf) -> None:
    fill(shelf, items(0, 2))
    table = shelf.table(items(0, 2))
    table[[0]].fill_(-1)
    table[:].fill_(-1)
    assert_holds(shelf, items(0, 2))


def test_nothing_asked_is_nothing_done(shelf: Shelf) -> None:
    none = items(0, 0)
    assert shelf.missing(none).shape == (0,)
    assert shelf.table(none)[[]].shape == (0, *SHAPE)  # before there is a shelf
    fill(shelf, none)
    assert len(shelf.table(none)) == len(pickle.loads(pickle.dumps(shelf.table(none)))) == 0
    fill(shelf, items(0, 2))
    assert shelf.table(items(0, 2))[[]].shape == (0, *SHAPE)
    assert_holds(shelf, items(0, 2))


WRONG: dict[str, tuple[Callable[[Shelf], Any], type[Exception], str]] = {
    "shape": (
        lambda s: s.append(items(0, 2), np.zeros((2, 5, 3), "float32")),
        ValueError,
        r"\(2, 5, 3\), but .* takes .*\(2, 3, 5\)",
    ),
    "count": (lambda s: s.append(items(0, 2), np.zeros((1, 3, 5), "float32")), ValueError, r"\(1, 3, 5\), but .* for 2 digests"),
    "dtype": (lambda s: s.append(items(0, 2), np.zeros((2, 3, 5))), ValueError, "rows are float64 .* but the shelf takes float32"),
    "digests": (lambda s: s.missing(np.zeros(3)), ValueError, "digests are float64 .* must be .* 16 bytes"),
    "flat digests": (lambda s: s.missing(items(0, 4).reshape(2, 2)), ValueError, r"\(2, 2\), but must be \[N\]"),
    "not there": (lambda s: s.table(items(0, 5)), LookupError, "5 of 5 items have no row"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line_and_changes_nothing(shelf: Shelf, case: str) -> None:
    wrong, error, message = WRONG[case]
    with shelf.lock(), pytest.raises(error, match=message) as caught:
        wrong(shelf)
    assert "\n" not in str(caught.value)
    assert len(shelf.missing(items(0, 5))) == 5


def test_what_cannot_be_stored_is_refused(store: RowStore, shelf: Shelf) -> None:
    with pytest.raises(ValueError, match=r"dtype bfloat16 cannot be stored\. Take one of float16"):
        store.shelf(ABOUT, SHAPE, "bfloat16")
    with pytest.raises(ValueError, match=r"shape \(3, 0\) hold nothing"):
        store.shelf(ABOUT, (3, 0))
    with pytest.raises(RuntimeError, match=r"is not locked. Append inside `with shelf.lock\(\):`"):
        shelf.append(items(0, 1), rows_of(items(0, 1)))
    with shelf.lock(), pytest.raises(RuntimeError, match="locked already"), shelf.lock():
        pass


# Killed


LIVE = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_data_store import *
from pathlib import Path
use_locks({kind!r})
shelf = RowStore(Path({folder!r}), 1).shelf(ABOUT, SHAPE)
"""
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


def live(code: str, store: RowStore, kind: str = "flock", **values: Any) -> list[str]:
    """A process's command line: the code, on the store's shelf."""
    whole = (LIVE + code).format(tests=str(Path(__file__).parent), folder=str(store.folder), kind=kind, **values)
    return [sys.executable, "-c", whole]


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


# Two at once


def compute(folder: Path, kind: str, first: bool, barrier: Any, waiting: Any, out: Any) -> None:
    """The first takes the lock, and lets it go only when the second has said that it waits."""
    use_locks(kind)

    class Tell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())
            waiting.set()

    notes: list[str] = []
    logging.getLogger("cliptune").addHandler(Tell())
    logging.getLogger("cliptune").setLevel(logging.INFO)
    shelf = RowStore(folder, 1).shelf(ABOUT, SHAPE)
    digests = items(0, 100)
    if not first:
        assert barrier.wait(60)
    with shelf.lock():
        if first:
            barrier.set()
            assert waiting.wait(60)
        missing = shelf.missing(digests)
        assert shelf.append(digests[missing], rows_of(digests[missing])) or not first
    out.put((first, len(missing), notes))


def test_of_two_at_once_one_computes_and_the_other_waits_and_finds(store: RowStore, kind: str) -> None:
    barrier, waiting, out = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=compute, args=(store.folder, kind, first, barrier, waiting, out), daemon=True) for first in (True, False)
    ]
    for process in processes:
        process.start()
    results = {first: rest for first, *rest in (out.get(timeout=120) for _ in processes)}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert_holds(RowStore(store.folder, 1).shelf(ABOUT, SHAPE), items(0, 100))
    assert results[True] == [100, []]
    assert results[False][0] == 0
    assert len(results[False][1]) == 1
    assert "waiting for another process to finish with the same cached rows" in results[False][1][0]


LOCKING = """
with shelf.lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


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


def is_free(lock: Path) -> bool:
    hold = module._acquire(lock, shared=False, wait=False)
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
    one, two = (module._acquire(lock, shared=True, wait=False) for _ in range(2))
    assert one is not None
    assert two is not None
    assert not is_free(lock)
    one.release()
    assert not is_free(lock)
    two.release()
    alone = module._acquire(lock, shared=False, wait=False)
    assert alone is not None
    assert module._acquire(lock, shared=True, wait=False) is None
    alone.release()
    assert is_free(lock)


def test_who_waits_long_says_so_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, said: Callable[[], list[str]]) -> None:
    lock, polls = tmp_path / "x.write", []
    first = module._acquire(lock, shared=False)
    assert first is not None

    def sleep(seconds: float) -> None:
        polls.append(seconds)
        if len(polls) == 9:
            first.release()

    monkeypatch.setattr(module, "NOTE_SECONDS", -1.0)
    monkeypatch.setattr(module.time, "sleep", sleep)
    assert module._acquire(lock, shared=False) is not None
    assert len(polls) == 9
    assert said() == [f"waiting for another process to finish with the same cached rows (lock {lock})."]


COUNTING = """
module.POLL_SECONDS = 0.001
counter = Path({folder!r}) / "counter"
for _ in range(60):
    with module._held(counter.with_name("x.write")):
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
    hold = module._acquire(lock, shared)
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
    hold, end = module._acquire(lock, shared), FORK.Event()
    assert hold is not None
    process = FORK.Process(target=stay, args=(hold, end), daemon=True)
    process.start()
    hold.release()
    assert is_free(lock) != shared
    end.set()
    process.join()
    assert is_free(lock)


def test_a_lock_file_that_its_process_left_is_broken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fcntl", None)
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
    lock, looks, lives = tmp_path / "x.write", [], module._lives

    def lives_then_another_comes(file: Path) -> bool | None:
        found = lives(file)
        looks.append(file)
        if len(looks) == look:
            lock.write_text(str(os.getppid()))
        return found

    monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.setattr(module, "_lives", lives_then_another_comes)
    module._break(lock)  # let go by its holder in the moment before
    assert lock.exists() == (len(looks) >= look)


# Readers


def test_a_reader_goes_on_while_another_appends(shelf: Shelf) -> None:
    fill(shelf, items(0, 4))
    table = shelf.table(items(0, 4))
    fill(RowStore(shelf.folder.parent, 1).shelf(ABOUT, SHAPE), items(4, 500))
    np.testing.assert_array_equal(table[:].numpy(), rows_of(items(0, 4)))
    assert_holds(shelf, items(0, 500))


def read(table: RowTable, numbers: list[int], out: Any) -> None:
    out.put(table[numbers].numpy())


def test_a_table_goes_to_a_spawned_process(shelf: Shelf) -> None:
    fill(shelf, items(0, 50))
    out = SPAWN.Queue()
    process = SPAWN.Process(target=read, args=(shelf.table(items(10, 50)), [39, 0, 7], out))
    process.start()
    np.testing.assert_array_equal(out.get(timeout=120), rows_of(items(10, 50))[[39, 0, 7]])
    process.join()


def test_a_pickle_holds_no_rows_and_keeps_the_shelf_from_removal(store: RowStore, shelf: Shelf, kind: str) -> None:
    big = store.shelf(ABOUT, (1000,))
    fill(big, items(0, 100))
    table = big.table(items(0, 100))
    pickled = pickle.dumps(table)
    assert len(pickled) < 5_000  # the rows are 400,000 bytes
    again = pickle.loads(pickled)
    del table
    assert store.clear()[0] == []
    np.testing.assert_array_equal(again[[5]].numpy(), rows_of(items(5, 6), (1000,)))
    del again
    assert len(store.clear()[0]) == 1


def test_a_pickle_of_removed_rows_is_refused(store: RowStore, shelf: Shelf) -> None:
    fill(shelf, items(0, 4))
    table = shelf.table(items(0, 4))
    pickled = pickle.dumps(table)
    module._remove(shelf.folder)
    with pytest.raises(DataError, match=r"were removed while a run was using them\. Start the run again"):
        pickle.loads(pickled)
    fill(shelf, items(0, 4)[::-1])  # others in their place
    with pytest.raises(DataError, match="were removed"):
        pickle.loads(pickled)
    np.testing.assert_array_equal(table[:].numpy(), rows_of(items(0, 4)))  # who has them mapped keeps them


# Damage


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def change_about(folder: Path) -> None:
    text = (folder / "about.json").read_text(encoding="utf-8")
    (folder / "about.json").write_text(text.replace("nano", "mano"), encoding="utf-8")


DAMAGE: dict[str, Callable[[Path], None]] = {
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
    for most in range(1, len(module.FILES)):
        fill(shelf, items(0, 5)[shelf.missing(items(0, 5))])
        for name in module.FILES[:most]:
            (shelf.folder / name).unlink(missing_ok=True)
        assert sound(shelf, 5) == 0
    assert said() == []


# Bounds


@pytest.fixture
def three(store: RowStore) -> list[Shelf]:
    """Shelves of 1,000 rows, used one, two and three hours ago, the second one the longest ago."""
    shelves = [store.shelf({**ABOUT, "view": str(i)}, SHAPE) for i in range(3)]
    for shelf, hours in zip(shelves, (2, 3, 1), strict=True):
        fill(shelf, items(0, 1_000))
        os.utime(shelf.folder / "used", (time.time() - hours * 3600,) * 2)
    return shelves


def there(shelves: list[Shelf]) -> list[bool]:
    return [shelf.folder.exists() for shelf in shelves]


def sizes(store: RowStore) -> int:
    return sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file() and file.parent.name != "locks")


def test_the_least_recently_used_are_removed_and_no_more_than_needed(store: RowStore, three: list[Shelf]) -> None:
    assert [shelf.about["view"] for shelf in store.shelves()] == ["1", "0", "2"]
    assert [shelf.rows for shelf in store.shelves()] == [1_000] * 3
    assert sum(shelf.size for shelf in store.shelves()) == sizes(store)
    store.limit_gb = (sizes(store) + 100) / 1e9
    assert store.make_room(100)
    assert there(three) == [True, True, True]
    assert store.make_room(101)
    assert there(three) == [True, False, True]
    assert store.make_room(80_000)
    assert there(three) == [False, False, True]


def test_use_is_what_counts(store: RowStore, three: list[Shelf]) -> None:
    three[1].table(items(0, 1))
    store.limit_gb = sizes(store) / 1e9
    assert store.make_room(1)
    assert there(three) == [False, True, True]


def test_what_is_in_use_stays_and_without_room_nothing_goes(
    kind: str, store: RowStore, three: list[Shelf], said: Callable[[], list[str]]
) -> None:
    table = three[0].table(items(0, 1))
    store.limit_gb = sizes(store) / 1e9
    with three[1].lock():
        assert store.make_room(50_000)  # the third, though it was used last
        assert there(three) == [True, True, False]
        assert not store.make_room(123_456)
        assert there(three) == [True, True, False]
    assert len(said()) == 2
    for part in ("123,456 bytes", str(store.folder), f"{store.limit_gb:g} GB", "goes on without", "Raise CLIPTUNE_CACHE_GB"):
        assert part in said()[1]
    assert store.make_room(123_456)
    assert there(three) == [True, False, False]
    assert not store.make_room(200_000)
    del table
    assert store.make_room(200_000)
    assert there(three) == [False, False, False]


def test_another_process_keeps_what_it_uses(
    kind: str, store: RowStore, shelf: Shelf, three: list[Shelf], other: Callable[[str], subprocess.Popen[str]]
) -> None:
    fill(shelf, items(0, 1_000))
    os.utime(shelf.folder / "used", (0, 0))
    other(kind)
    store.limit_gb = sizes(store) / 1e9
    assert store.make_room(1)
    assert there([shelf, *three]) == [True, True, False, True]


def test_no_limit_of_zero_is_passed(store: RowStore, shelf: Shelf) -> None:
    store.limit_gb = 0
    with shelf.lock():
        assert not store.make_room(1)


def test_clear_goes_by_age_and_leaves_what_is_not_ours(store: RowStore, three: list[Shelf]) -> None:
    (three[0].folder / "notes.txt").write_text("mine")
    (store.folder / "photos").mkdir()
    (store.folder / "photos" / "rows.bin").write_bytes(b"mine")
    assert store.clear(older_than=1) == ([], [])
    removed, in_use = store.clear(older_than=2.5 / 24)
    assert ([shelf.about["view"] for shelf in removed], in_use) == (["1"], [])
    assert [shelf.about["view"] for shelf in store.clear()[0]] == ["0", "2"]
    kept = {path.relative_to(store.folder).as_posix() for path in store.folder.rglob("*") if path.is_file() and "locks" not in path.parts}
    assert kept == {f"{three[0].folder.name}/notes.txt", "photos/rows.bin"}


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


def test_workers_of_a_data_loader_read_the_table(shelf: Shelf) -> None:
    from torch.utils.data import DataLoader

    fill(shelf, items(0, 30))
    order = [[3, 1], [29, 0, 4], [7]]
    loader = DataLoader(shelf.table(items(0, 30)), batch_size=None, sampler=order, num_workers=2)  # type: ignore[arg-type]
    for numbers, rows in zip(order, loader, strict=True):
        np.testing.assert_array_equal(rows.numpy(), rows_of(items(0, 30))[numbers])
