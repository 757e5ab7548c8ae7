"""Rows that a frozen tower computed once, kept on disk by content and used again by later runs, methods and seeds.

A bounded folder of shelves, one for each way of computing rows; what a shelf is and how it is filled is in `shelf`. Which rows to
compute, and how, is the caller's business. Imports no torch.
"""

import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cliptune.data.kept.locks import acquire, held
from cliptune.data.kept.shelf import WAY_OUT, Shelf, lock_file
from cliptune.data.kept.shelf_files import ABOUT, FILES, KEY_BYTES, KEYS, USED, remove, size_of
from cliptune.errors import ConfigError

log = logging.getLogger(__name__)

FORMAT = 1  # part of every shelf's key: rows of another format are other rows
LIMIT_GB = 20.0
LIMIT_KEY = "CLIPTUNE_CACHE_GB"
DTYPES = ("float16", "float32", "float64", "uint8", "int32", "int64")  # what numpy and torch both have


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

    def shelf(self, about: dict[str, Any], shape: tuple[int, ...], dtype: str = "float32") -> Shelf:
        """Give the shelf of the rows that are computed in one way; nothing is written yet.

        Args:
            about: all that the rows depend on beside the items' content, as plain JSON data: the tower's weights, preprocessing, view,
                precision. The same about, shape and dtype are the same shelf. `backbone`, `tower` and `view` are shown in listings.
            shape: of one row.
            dtype: of the values, one of `DTYPES`.

        Raises:
            ValueError: a shape or dtype that cannot be stored.
        """
        if dtype not in DTYPES:
            raise ValueError(f"rows of dtype {dtype} cannot be stored. Take one of {', '.join(DTYPES)}.")
        if any(side < 1 for side in shape):
            raise ValueError(f"rows of shape {tuple(shape)} hold nothing. Take positive sides.")
        sides, kind = tuple(int(side) for side in shape), np.dtype(dtype)
        whole = {"about": about, "rows": {"shape": sides, "dtype": kind.str, "format": FORMAT}}
        text = json.dumps(whole, indent=2, sort_keys=True)
        return Shelf(self.folder / digest(text.encode()).hex(), text, sides, kind)

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
            with held(self.folder / "locks" / "store"), ExitStack() as stack:
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
            remove(shelf.folder)
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
                    remove(shelf.folder)
                    removed.append(shelf)
                else:
                    in_use.append(shelf)
        return removed, in_use

    def _claim(self, shelf: ShelfInfo, stack: ExitStack) -> bool:
        """Keep all others away from a shelf until the stack is left, if nobody is using it."""
        hold = acquire(lock_file(shelf.folder, "use"), shared=False, wait=False)
        if hold is not None:
            stack.callback(hold.release)
        return hold is not None


def _info(folder: Path) -> ShelfInfo:
    about: Any = {}
    with suppress(OSError, ValueError, TypeError, KeyError):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["about"]
    used = 0.0
    for file in (folder, folder / USED):  # the second where it is there
        with suppress(OSError):
            used = file.stat().st_mtime
    size = sum(size_of(folder / name) for name in FILES)
    return ShelfInfo(folder, about if isinstance(about, dict) else {}, size_of(folder / KEYS) // KEY_BYTES, size, used)
