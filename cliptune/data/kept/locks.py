"""Locks between processes, alone or together with others, that end with the process that holds them. What they guard is the caller's.

By `flock`; without `fcntl`, on Windows, by files that hold a process id. A folder's locks are of one kind.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from weakref import finalize

try:
    import fcntl
except ImportError:  # Windows: files that hold a process id, see `_try_pid`
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

POLL_SECONDS, NOTE_SECONDS = 0.05, 1.0
ORPHAN_SECONDS = 10.0  # a lock file without a process id is being written, or was left so by a crash


class Hold:
    """A lock that is held until it is let go, or nothing refers to it any more."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        self.release = finalize(self, let_go)


@contextmanager
def held(file: Path, shared: bool = False) -> Iterator[None]:
    """Have a lock as long as the block runs, waiting for it first."""
    hold = acquire(file, shared)
    try:
        yield
    finally:
        if hold is not None:
            hold.release()


def acquire(file: Path, shared: bool, wait: bool = True) -> Hold | None:
    """Take a lock, together with others or alone; None where that is not possible now and there is no waiting."""
    file.parent.mkdir(parents=True, exist_ok=True)
    started, told = time.monotonic(), False
    while True:
        let_go = _try_flock(file, shared) if fcntl is not None else _try_pid(file, shared)
        if let_go is not None:
            return Hold(let_go)
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
