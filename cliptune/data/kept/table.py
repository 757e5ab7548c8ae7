"""The rows of items as a run reads them: a view of a shelf's file that may go to worker processes. Imports no torch before a read."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cliptune.data.kept.locks import Hold, acquire
from cliptune.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


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

    def row(self, number: int) -> np.ndarray:
        """The row of one item, [*shape], where it lies: nothing is read before it is looked at, and it must not be written to."""
        found: np.ndarray = self._rows[self._numbers[number]]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_rows", "_hold")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()

    def _map(self) -> None:
        self._hold: Hold | None = None
        with suppress(OSError):
            self._hold = acquire(self._lock, shared=True)
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
