"""The files of a shelf of rows: they only grow, and are whole whatever happens to the process that appends.

`rows.bin` has raw values, `keys.bin` 16-byte digests of the items' content, in the same order, and `about.json` is for people. A row
counts once its key is written, and it is on the disk before that, so that a process may be killed at any moment.
"""

import logging
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

KEYS, ROWS, USED, ABOUT = "keys.bin", "rows.bin", "used", "about.json"
FILES = (KEYS, ROWS, USED, "about.tmp", ABOUT)  # in the order of removal: without its keys a shelf is whole, and empty
KEY_BYTES = 16


class ShelfFiles:
    """What a shelf has on the disk.

    Args:
        folder: where; made by `open`.
        about: what `about.json` must say. Where it says something else, the rows are not this shelf's.
        row_bytes: of one row.
    """

    def __init__(self, folder: Path, about: bytes, row_bytes: int) -> None:
        self.folder, self.about, self.row_bytes = folder, about, row_bytes
        self._opened: list[FileIO] = []  # rows and keys

    @property
    def is_open(self) -> bool:
        """Whether rows may be appended."""
        return bool(self._opened)

    def count(self) -> int:
        """How many rows count: those with a whole key."""
        return size_of(self.folder / KEYS) // KEY_BYTES

    def keys(self) -> np.ndarray:
        """The digests of the rows that count, in their order, [N] of S16."""
        with suppress(FileNotFoundError):
            if not self._fault():  # else they are thrown away by the next `open`
                return np.fromfile(self.folder / KEYS, dtype="S16", count=self.count())
        return np.array([], dtype="S16")

    def open(self) -> None:
        """Make the files whole, and ready to be appended to; damaged ones are made anew, with a warning.

        Raises:
            OSError: the disk does not let itself be written.
        """
        fault = self._fault()
        if fault:
            log.warning("the cached rows in %s are damaged (%s): they are thrown away and computed anew.", self.folder, fault)
            remove(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / ABOUT).is_file():
            with FileIO(str(self.folder / "about.tmp"), "w") as file:
                _write(file, np.frombuffer(self.about, dtype="uint8"))
            (self.folder / "about.tmp").replace(self.folder / ABOUT)
            self.touch()
        for name in (ROWS, KEYS):
            self._opened.append(FileIO(str(self.folder / name), "a"))  # raw: nothing is written later than asked
        self._cut(self.count())

    def append(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Write rows, then their keys, and wait for the disk. If that fails, whatever the error, the files are as before.

        Args:
            keys: [N] of S16.
            rows: [N, ...], N times `row_bytes`.
        """
        there = self.count()
        try:
            for file, part in zip(self._opened, (rows, keys), strict=True):
                _write(file, part)
        except BaseException:
            try:
                self._cut(there)
            except OSError:  # nothing is appended after what could not be taken away; the next `open` does it
                self.close()
            raise

    def touch(self) -> None:
        """Note that the shelf is used now."""
        (self.folder / USED).touch()

    def close(self) -> None:
        """Append no more."""
        while self._opened:
            self._opened.pop().close()

    def _fault(self) -> str | None:
        """What is wrong with the shelf beyond what a killed writer leaves."""
        rows = size_of(self.folder / ROWS)
        if rows < self.count() * self.row_bytes:
            return f"{ROWS} has {rows:,} bytes, but {self.count():,} rows take {self.count() * self.row_bytes:,}"
        try:
            right = (self.folder / ABOUT).read_bytes() == self.about
        except FileNotFoundError:
            right = rows == 0
        except OSError:
            right = False
        return None if right else f"{ABOUT} is not what was written"

    def _cut(self, rows: int) -> None:
        """Take away what is beyond so many rows: the rest of a write that came to no end."""
        for file, size in zip(self._opened, (rows * self.row_bytes, rows * KEY_BYTES), strict=True):
            if os.fstat(file.fileno()).st_size > size:
                file.truncate(size)


def remove(folder: Path) -> None:
    """Delete a shelf's own files, and its folder if nothing else is in it."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def size_of(file: Path) -> int:
    """Give a file's bytes, 0 where there is none."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _write(file: FileIO, values: np.ndarray) -> None:
    """Write all of an array, and wait until the disk has it."""
    left = np.ascontiguousarray(values).reshape(-1).view("uint8").data
    while left:
        left = left[file.write(left) or 0 :]
    os.fsync(file.fileno())
