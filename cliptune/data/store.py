"""Rows that a frozen tower computed once, kept on disk by content and used again by later runs, methods and seeds.

A folder of shelves, one for each way of computing rows; a shelf is `rows.bin` (raw values), `keys.bin` (16-byte digests of the items'
content, in the same order) and `about.json` (for people). A row counts once its key is written, and it is on the disk before that, so
that a process may be killed at any moment. Which rows to compute, and how, is the caller's business. Imports no torch before a read.
"""

import hashlib
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import FileIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

import numpy as np

from cliptune.errors import ConfigError, DataError

try:
    import fcntl
except ImportError:  # Windows: files that hold a process id, see `_try_pid`
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

FORMAT = 1  # part of every shelf's key: rows of another format are other rows
LIMIT_GB = 20.0
LIMIT_KEY = "CLIPTUNE_CACHE_GB"
KEYS, ROWS, USED, ABOUT = "keys.bin", "rows.bin", "used", "about.json"
FILES = (KEYS, ROWS, USED, "about.tmp", ABOUT)  # in the order of removal: without its keys a shelf is whole, and empty
KEY_BYTES = 16
DTYPES = ("float16", "float32", "float64", "uint8", "int32", "int64")  # what numpy and torch both have
POLL_SECONDS, NOTE_SECONDS = 0.05, 1.0
WAY_OUT = "Free space there, or set CLIPTUNE_CACHE to another folder."
ORPHAN_SECONDS = 10.0  # a lock file without a process id is being written, or was left so by a crash


def digest(data: bytes) -> bytes:
    """Give the 16 bytes that stand for an item's content."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES).digest()


def digests_of(chunks: Iterable[bytes]) -> np.ndarray:
    """Give the digests of items, [N] of S16."""
    return np.array([digest(chunk) for chunk in chunks], dtype="S16")


def default_folder() -> Path:
    """Where rows are kept: CLIPTUNE_CACHE, else `cliptune` in XDG_CACHE_HOME, else `~/.cache/cliptune`."""
    own, shared = os.environ.get("CLIPTUNE_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if own:
        return Path(own).expanduser()
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "cliptune"  # a relative one is invalid, says XDG


def default_limit_gb() -> float:
    """How much is kept at most, in GB of 10^9 bytes: CLIPTUNE_CACHE_GB, else 20.

    Raises:
        ConfigError: the environment's is no number.
    """
    value = os.environ.get(LIMIT_KEY) or LIMIT_GB
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{LIMIT_KEY} is {value}, but must be a number of GB. Take {LIMIT_GB:g}.") from None


# The store and its shelves


class ShelfInfo(NamedTuple):
    """A shelf as a listing sees it."""

    folder: Path
    about: dict[str, Any]  # what the caller gave; empty where it cannot be read
    rows: int
    size: int  # bytes
    used: float  # seconds since 1970


class RowStore:
    """A bounded folder of shelves.

    Args:
        folder: where the shelves are; made when the first is written. By default that of the environment.
        limit_gb: how much they may take together, in GB of 10^9 bytes. By default that of the environment.
        limit_key: what the user sets to change the limit, for messages.

    Raises:
        ConfigError: a limit that is negative or no number.
    """

    def __init__(self, folder: Path | None = None, limit_gb: float | None = None, limit_key: str = LIMIT_KEY) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.limit_gb = default_limit_gb() if limit_gb is None else limit_gb
        self.limit_key = limit_key
        if math.isnan(self.limit_gb) or self.limit_gb < 0:
            raise ConfigError(f"{limit_key} is {self.limit_gb:g}, but must be 0 or more GB. Take {LIMIT_GB:g}.")

    def shelf(self, about: dict[str, Any], shape: tuple[int, ...], dtype: str = "float32") -> "Shelf":
        """Give the shelf of the rows that are computed in one way; nothing is written yet.

        Args:
            about: all that the rows depend on beside the items' content, as plain JSON data: the tower's weights, preprocessing, view,
                precision. The same about, shape and dtype are the same shelf. `backbone`, `tower` and `view` are shown in listings.
            shape: of one row.
            dtype: of the values, one of `DTYPES`.

        Raises:
            ValueError: a shape or dtype that cannot be stored.
        """
        return Shelf(self.folder, about, shape, dtype)

    def shelves(self) -> list[ShelfInfo]:
        """List what there is, the least recently used first."""
        if not self.folder.is_dir():
            return []
        names = [path for path in self.folder.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
        found = [_info(path) for path in names if path.is_dir() and not path.is_symlink()]
        return sorted(found, key=lambda shelf: (shelf.used, shelf.folder.name))

    def make_room(self, size: int) -> bool:
        """Make sure that so many bytes may be appended, removing the least recently used shelves that no process is using.

        To be called under the lock of the shelf that will take them, which keeps that one from being removed. The room is not reserved:
        runs that fill the store at the same time may go beyond the limit, until the next one makes room.

        Returns:
            Whether there is room. If not, nothing was removed, a log line says why, and the caller goes on without cache.
        """
        try:
            with _held(self.folder / "locks" / "store"), ExitStack() as stack:
                return self._make_room(size, stack)
        except OSError as error:
            why = error.strerror or error
            log.warning("the cache %s cannot be used (%s): this run goes on without it. %s", self.folder, why, WAY_OUT)
            return False

    def _make_room(self, size: int, stack: ExitStack) -> bool:
        shelves = self.shelves()
        over = sum(shelf.size for shelf in shelves) + size - self.limit_gb * 1e9
        chosen = []
        for shelf in shelves:
            if over > 0 and self._claim(shelf, stack):
                chosen.append(shelf)
                over -= shelf.size
        if over > 0:
            message = "%s bytes do not fit in the cache %s of %g GB, beside what is in use: this run goes on without it. Raise %s."
            log.info(message, f"{size:,}", self.folder, self.limit_gb, self.limit_key)
            return False
        for shelf in chosen:
            _remove(shelf.folder)
            log.info("removed the cached rows %s, %s bytes, to make room in %s.", shelf.folder.name, f"{shelf.size:,}", self.folder)
        return True

    def clear(self, older_than: float = 0.0) -> tuple[list[ShelfInfo], list[ShelfInfo]]:
        """Remove the shelves that no process is using.

        Args:
            older_than: days since the last use; younger ones stay.

        Returns:
            Those removed, and those that would have been but are in use.
        """
        before = time.time() - older_than * 86400
        removed, in_use = [], []
        for shelf in self.shelves():
            if older_than and shelf.used > before:
                continue
            with ExitStack() as stack:
                if self._claim(shelf, stack):
                    _remove(shelf.folder)
                    removed.append(shelf)
                else:
                    in_use.append(shelf)
        return removed, in_use

    def _claim(self, shelf: ShelfInfo, stack: ExitStack) -> bool:
        """Keep all others away from a shelf until the stack is left, if nobody is using it."""
        hold = _acquire(self.folder / "locks" / f"{shelf.folder.name}.use", shared=False, wait=False)
        if hold is not None:
            stack.callback(hold.release)
        return hold is not None


class Shelf:
    """The rows that are computed in one way; see `RowStore.shelf`.

        with shelf.lock():
            missing = shelf.missing(digests)
            if len(missing) == 0 or store.make_room(len(missing) * shelf.row_bytes):
                ...  # compute some, shelf.append(digests[some], rows), and so on while it says True
                table = shelf.table(digests)

    Rows stay where they are: readers of the same shelf never notice that another process is appending.
    """

    def __init__(self, store: Path, about: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"rows of dtype {dtype} cannot be stored. Take one of {', '.join(DTYPES)}.")
        if any(side < 1 for side in shape):
            raise ValueError(f"rows of shape {tuple(shape)} hold nothing. Take positive sides.")
        self.shape, self.dtype = tuple(int(side) for side in shape), np.dtype(dtype)
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize
        whole = {"about": about, "rows": {"shape": self.shape, "dtype": self.dtype.str, "format": FORMAT}}
        self._about = json.dumps(whole, indent=2, sort_keys=True)
        self.folder = store / digest(self._about.encode()).hex()
        self._locks = store / "locks"
        self._locked = self._warned = False
        self._files: list[FileIO] = []  # rows and keys, open while locked and usable

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep all other writers out, waiting for one that is there, and mend what a killed one left.

        A shelf that is damaged is made anew, with a warning. Where the disk does not let itself be written there is one warning, and
        `append` says False. Not to be nested.
        """
        if self._locked:
            raise RuntimeError(f"the shelf {self.folder} is locked already. Take the lock once.")
        with ExitStack() as stack:
            self._locked = True
            try:
                stack.enter_context(_held(self._locks / f"{self.folder.name}.write"))
                stack.enter_context(_held(self._use_lock, shared=True))  # or it could be removed while it is filled
                self._open()
            except OSError as error:
                self._give_up(error)
            finally:
                stack.callback(self._close)
            yield

    def missing(self, digests: np.ndarray) -> np.ndarray:
        """Say which items have no row yet.

        Args:
            digests: [N] of S16 or V16.

        Returns:
            The numbers of the first occurrence of each, growing.
        """
        asked, first = np.unique(_checked(digests), return_index=True)
        return np.sort(first[_find(self._keys(), asked) < 0])

    def append(self, digests: np.ndarray, rows: Any) -> bool:
        """Add rows that `missing` named, under the lock. They are on the disk when this returns; an append costs two syncs, so give many.

        Args:
            digests: [N] of S16 or V16.
            rows: [N, *shape], an array or a tensor on the CPU, of the shelf's dtype.

        Returns:
            Whether they are kept. If not (the disk is full, say), the shelf is as before, and the caller goes on without cache.

        Raises:
            ValueError: rows of another shape or dtype.
            RuntimeError: the shelf is not locked.
        """
        if not self._locked:
            raise RuntimeError(f"the shelf {self.folder} is not locked. Append inside `with shelf.lock():`.")
        keys, values = _checked(digests), np.asarray(rows)
        wanted = (len(keys), *self.shape)
        if values.shape != wanted or values.dtype != self.dtype:
            raise ValueError(f"rows are {values.dtype} {values.shape}, but the shelf takes {self.dtype} {wanted} for {len(keys)} digests.")
        if not self._files or not len(keys):
            return bool(self._files)
        there = self._count()
        try:
            for file, part in zip(self._files, (values, keys), strict=True):
                _write(file, part)
        except BaseException as error:
            self._take_back(there)
            if not isinstance(error, OSError):
                raise
            self._give_up(error)
        return bool(self._files)

    def table(self, digests: np.ndarray) -> "RowTable":
        """Give the rows of items, each of which must be there. Call it before leaving the lock, or the shelf may be removed in between.

        Args:
            digests: [N] of S16 or V16; the same may stand there more than once.

        Raises:
            LookupError: some have no row.
        """
        with ExitStack() as stack:
            with suppress(OSError):  # a store that may only be read
                stack.enter_context(_held(self._use_lock, shared=True))
            asked, where = np.unique(_checked(digests), return_inverse=True)
            numbers = _find(self._keys(), asked)
            lost = int((numbers < 0).sum())
            if lost:
                raise LookupError(f"{lost} of {len(asked)} items have no row in {self.folder}. Append what missing() names first.")
            with suppress(OSError):
                (self.folder / USED).touch()
            return RowTable(self.folder / ROWS, self._use_lock, self.shape, self.dtype, numbers[where])

    @property
    def _use_lock(self) -> Path:
        return self._locks / f"{self.folder.name}.use"

    def _count(self) -> int:
        """How many rows count: those with a whole key."""
        return _size(self.folder / KEYS) // KEY_BYTES

    def _keys(self) -> np.ndarray:
        if self._fault():
            return np.array([], dtype="S16")  # thrown away by the next lock
        with suppress(FileNotFoundError):
            return np.fromfile(self.folder / KEYS, dtype="S16", count=self._count())
        return np.array([], dtype="S16")

    def _fault(self) -> str | None:
        """What is wrong with the shelf beyond what a killed writer leaves."""
        rows = _size(self.folder / ROWS)
        if rows < self._count() * self.row_bytes:
            return f"{ROWS} has {rows:,} bytes, but {self._count():,} rows take {self._count() * self.row_bytes:,}"
        try:
            right = (self.folder / ABOUT).read_bytes() == self._about.encode()
        except FileNotFoundError:
            right = rows == 0
        except OSError:
            right = False
        return None if right else f"{ABOUT} is not what was written"

    def _open(self) -> None:
        """Make the shelf whole, and open its files to append."""
        fault = self._fault()
        if fault:
            log.warning("the cached rows in %s are damaged (%s): they are thrown away and computed anew.", self.folder, fault)
            _remove(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / ABOUT).is_file():
            with FileIO(str(self.folder / "about.tmp"), "w") as file:
                _write(file, np.frombuffer(self._about.encode(), dtype="uint8"))
            (self.folder / "about.tmp").replace(self.folder / ABOUT)
            (self.folder / USED).touch()
        for name in (ROWS, KEYS):
            self._files.append(FileIO(str(self.folder / name), "a"))  # raw: nothing is written later than asked
        self._cut(self._count())

    def _cut(self, rows: int) -> None:
        """Take away what is beyond so many rows: the rest of a write that came to no end."""
        for file, size in zip(self._files, (rows * self.row_bytes, rows * KEY_BYTES), strict=True):
            if os.fstat(file.fileno()).st_size > size:
                file.truncate(size)

    def _take_back(self, rows: int) -> None:
        try:
            self._cut(rows)
        except OSError:  # nothing is appended after what could not be taken away; the next lock does it
            self._close_files()

    def _give_up(self, error: OSError) -> None:
        if not self._warned:
            why = error.strerror or error
            log.warning("the cache %s cannot be written (%s): this run goes on without it. %s", self.folder, why, WAY_OUT)
        self._warned = True
        self._close_files()

    def _close_files(self) -> None:
        while self._files:
            self._files.pop().close()

    def _close(self) -> None:
        self._close_files()
        self._locked = False


class RowTable:
    """The rows of items, read from the disk as they are asked for; made by `Shelf.table`.

    As long as it lives the shelf is not removed. It may be pickled to a worker process, which maps the file anew.
    """

    def __init__(self, file: Path, lock: Path, shape: tuple[int, ...], dtype: np.dtype[Any], numbers: np.ndarray) -> None:
        self._file, self._lock, self._shape, self._dtype = file, lock, shape, dtype
        self._numbers = numbers  # [N], the items' rows in the file
        self._identity: tuple[int, int] | None = None
        self._map()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, numbers: Any) -> "Tensor":
        """Read rows.

        Args:
            numbers: n numbers of items, in any order, or a slice; a single one counts as n = 1.

        Returns:
            [n, *shape], in the order asked, in memory of its own.
        """
        import torch

        if not isinstance(numbers, slice):
            numbers = np.asarray(numbers)
            numbers = numbers if numbers.size else numbers.astype(np.int64)
        return torch.from_numpy(self._rows[np.atleast_1d(self._numbers[numbers])])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_rows", "_hold")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()

    def _map(self) -> None:
        self._hold: _Hold | None = None
        with suppress(OSError):
            self._hold = _acquire(self._lock, shared=True)
        if not len(self._numbers):
            self._rows = np.empty((0, *self._shape), dtype=self._dtype)
            return
        try:
            with self._file.open("rb") as handle:
                found = os.fstat(handle.fileno())
                if self._identity not in (None, (found.st_dev, found.st_ino)):
                    raise FileNotFoundError
                self._identity = (found.st_dev, found.st_ino)
                shape = (int(self._numbers.max()) + 1, *self._shape)
                self._rows = np.asarray(np.memmap(handle, dtype=self._dtype, mode="r", shape=shape))
        except FileNotFoundError:
            raise DataError(f"the cached rows {self._file} were removed while a run was using them. Start the run again.") from None


def _info(folder: Path) -> ShelfInfo:
    about: Any = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["about"]
    used = 0.0
    for file in (folder, folder / USED):  # the second where it is there
        with suppress(OSError):
            used = file.stat().st_mtime
    size = sum(_size(folder / name) for name in FILES)
    return ShelfInfo(folder, about if isinstance(about, dict) else {}, _size(folder / KEYS) // KEY_BYTES, size, used)


def _remove(folder: Path) -> None:
    """Delete a shelf's own files, and its folder if nothing else is in it."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _checked(digests: np.ndarray) -> np.ndarray:
    digests = np.asarray(digests)
    if digests.ndim == 1 and not len(digests):
        return np.array([], dtype="S16")
    if digests.ndim != 1 or digests.dtype.kind not in "SV" or digests.itemsize != KEY_BYTES:
        raise ValueError(f"digests are {digests.dtype} {digests.shape}, but must be [N] of 16 bytes each. Take those of digests_of().")
    return np.ascontiguousarray(digests).view("S16")


def _find(keys: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The place of each asked digest among the keys, the first where there are several, or -1; fastest where the asked are sorted."""
    if not len(keys):
        return np.full(len(asked), -1)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    at = np.minimum(np.searchsorted(ordered, asked), len(keys) - 1)
    return np.where(ordered[at] == asked, order[at], -1)


def _write(file: FileIO, values: np.ndarray) -> None:
    """Write all of an array, and wait until the disk has it."""
    left = np.ascontiguousarray(values).reshape(-1).view("uint8").data
    while left:
        left = left[file.write(left) or 0 :]
    os.fsync(file.fileno())


# Locks between processes


class _Hold:
    """A lock that is held until it is let go, or nothing refers to it any more."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        self.release = finalize(self, let_go)


@contextmanager
def _held(file: Path, shared: bool = False) -> Iterator[None]:
    hold = _acquire(file, shared)
    try:
        yield
    finally:
        if hold is not None:
            hold.release()


def _acquire(file: Path, shared: bool, wait: bool = True) -> _Hold | None:
    """Take a lock, together with others or alone; None where that is not possible now and there is no waiting."""
    file.parent.mkdir(parents=True, exist_ok=True)
    started, told = time.monotonic(), False
    while True:
        let_go = _try_flock(file, shared) if fcntl is not None else _try_pid(file, shared)
        if let_go is not None:
            return _Hold(let_go)
        if not wait:
            return None
        if not told and time.monotonic() - started > NOTE_SECONDS:
            log.info("waiting for another process to finish with the same cached rows (lock %s).", file)
            told = True
        time.sleep(POLL_SECONDS)


def _try_flock(file: Path, shared: bool) -> Callable[[], None] | None:
    """By the system, which lets go when the process ends, however it ends."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return partial(_unlock, handle, shared, os.getpid())


def _unlock(handle: int, shared: bool, owner: int) -> None:
    """Forked workers have the same lock: alone it ends for all of them, together when the last of them closes it."""
    if not shared and os.getpid() == owner:
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


# Without fcntl a lock alone is a file made with O_EXCL, together a file for each holder; both hold the process id, so that those of dead
# processes are broken. Weaker in one way: where a new process has a dead one's id, the lock stands until that ends or the file is removed.

_NUMBERS = count()


def _try_pid(file: Path, shared: bool) -> Callable[[], None] | None:
    mine = file.with_name(f"{file.name}.{os.getpid()}-{next(_NUMBERS)}") if shared else file
    if shared:
        mine.unlink(missing_ok=True)  # a dead process's that had our id
    if not _create(mine):
        _break(mine)
        if not _create(mine):
            return None
    others = [file] if shared else file.parent.glob(f"{file.name}.*-*")
    if any(_lives(other) for other in others):  # each side makes its file before it looks for the other's, so that never both go on
        mine.unlink()
        return None
    return partial(_unlink, mine, os.getpid())


def _unlink(file: Path, owner: int) -> None:
    if os.getpid() == owner:
        file.unlink(missing_ok=True)


def _create(file: Path) -> bool:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except (FileExistsError, PermissionError):  # the second: Windows, of a file that is just being removed
        return False
    os.write(handle, str(os.getpid()).encode())
    os.close(handle)
    return True


def _break(file: Path) -> None:
    """Remove a dead process's lock, one process at a time, or a second could remove the lock that the first then takes."""
    guard = file.with_name(f"{file.name}.breaking")
    if _lives(file) is not False:
        return
    if not _create(guard):
        if _lives(guard) is False:
            guard.unlink(missing_ok=True)
        return
    if _lives(file) is False:
        file.unlink(missing_ok=True)
    guard.unlink(missing_ok=True)


def _lives(file: Path) -> bool | None:
    """Whether a lock file's process runs; None where there is no file: it was let go, and may be another's the moment after."""
    try:
        text, made = file.read_text(encoding="ascii"), file.stat().st_mtime
    except OSError:
        return None
    return _runs(int(text)) if text.isdigit() else time.time() - made < ORPHAN_SECONDS


def _runs(process: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x1000, False, process)  # PROCESS_QUERY_LIMITED_INFORMATION
        code = ctypes.c_ulong()
        running = bool(handle) and kernel.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value == 259  # STILL_ACTIVE
        kernel.CloseHandle(handle)
        return bool(running)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
