"""One shelf of a row store: the rows that are computed in one way, found by their items' digests, appended to under a lock.

A disk that fails is a warning and a run without cache. What is on the disk is in `shelf_files`, reading in `table`.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cliptune.data.kept.locks import held
from cliptune.data.kept.shelf_files import KEY_BYTES, ROWS, ShelfFiles
from cliptune.data.kept.table import RowTable

log = logging.getLogger(__name__)

WAY_OUT = "Free space there, or set CLIPTUNE_CACHE to another folder."


def lock_file(folder: Path, kind: str) -> Path:
    """Where a shelf's lock is, to `write` or to `use`: outside its folder, which may be removed under it."""
    return folder.parent / "locks" / f"{folder.name}.{kind}"


class Shelf:
    """The rows that are computed in one way; see `RowStore.shelf`.

        with shelf.lock():
            missing = shelf.missing(digests)
            if len(missing) == 0 or store.make_room(len(missing) * shelf.row_bytes):
                ...  # compute some, shelf.append(digests[some], rows), and so on while it says True
                table = shelf.table(digests)

    Rows stay where they are: readers of the same shelf never notice that another process is appending.
    """

    def __init__(self, folder: Path, about: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.folder, self.shape, self.dtype = folder, shape, dtype
        self.row_bytes = math.prod(shape) * dtype.itemsize
        self._files = ShelfFiles(folder, about.encode(), self.row_bytes)  # open while locked and usable
        self._use_lock = lock_file(folder, "use")
        self._locked = self._warned = False

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
                stack.enter_context(held(lock_file(self.folder, "write")))
                stack.enter_context(held(self._use_lock, shared=True))  # or it could be removed while it is filled
                self._files.open()
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
        return np.sort(first[_find(self._files.keys(), asked) < 0])

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
        try:
            if self._files.is_open and len(keys):
                self._files.append(keys, values)
        except OSError as error:
            self._give_up(error)
        return self._files.is_open

    def table(self, digests: np.ndarray) -> RowTable:
        """Give the rows of items, each of which must be there. Call it before leaving the lock, or the shelf may be removed in between.

        Args:
            digests: [N] of S16 or V16; the same may stand there more than once.

        Raises:
            LookupError: some have no row.
        """
        with ExitStack() as stack:
            with suppress(OSError):  # a store that may only be read
                stack.enter_context(held(self._use_lock, shared=True))
            asked, where = np.unique(_checked(digests), return_inverse=True)
            numbers = _find(self._files.keys(), asked)
            lost = int((numbers < 0).sum())
            if lost:
                raise LookupError(f"{lost} of {len(asked)} items have no row in {self.folder}. Append what missing() names first.")
            with suppress(OSError):
                self._files.touch()
            return RowTable(self.folder / ROWS, self._use_lock, self.shape, self.dtype, numbers[where])

    def _give_up(self, error: OSError) -> None:
        if not self._warned:
            why = error.strerror or error
            log.warning("the cache %s cannot be written (%s): this run goes on without it. %s", self.folder, why, WAY_OUT)
        self._warned = True
        self._files.close()

    def _close(self) -> None:
        self._files.close()
        self._locked = False


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
