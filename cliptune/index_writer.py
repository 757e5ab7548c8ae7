"""Makes an index of images, or brings one up to date: rows that an index before has, or a build that was killed, are not computed again.

New rows go to a draft, a shelf that only grows. In the end a new part is put together from the draft and the part before, and `index.json`
names it: until then the index before answers. Imports no torch.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import cliptune
from cliptune.data.kept.locks import acquire
from cliptune.data.kept.shelf_files import ABOUT, KEY_BYTES, KEYS, ROWS, ShelfFiles, remove, size_of
from cliptune.data.kept.store import digest
from cliptune.errors import DataError
from cliptune.index import CODES, DRAFT, FORMAT, INDEX, NAMES, Index, mapped, needs_codes, read_about
from cliptune.nearest import BLOCK, HINT, has_faiss, unit_rows, write_codes
from cliptune.whole import write_whole

log = logging.getLogger(__name__)

LOCK, PART = "lock", "part-"
AWAITED = -1  # in the place of a row's number: the image was asked for, and has none yet


class IndexWriter:
    """Gives a folder an index of the images that this writer is told of, and of no others.

        with IndexWriter(folder, model, fingerprint, width) as writer:
            for names, stamps in batches:
                new = [i for i in range(len(names)) if not writer.known(names[i], stamps[i])]
                writer.add([names[i] for i in new], [stamps[i] for i in new], encode(...))  # [len(new), width]
            index = writer.finish()

    Rows are on the disk when `add` returns, which costs two syncs, so give many. An image takes its name and some 300 bytes of memory.

    Args:
        folder: new, empty, or an index of the same model.
        model: as the user names it; search reads it from `Index.about`.
        fingerprint: of all that the rows depend on: the model's weights and preprocessing.
        width: values of a row.

    Raises:
        DataError: the folder holds other things or a damaged index, cannot be written, or is being written by another process.
        CheckpointError: it is an index of another model.
    """

    def __init__(self, folder: str | Path, model: str, fingerprint: str, width: int) -> None:
        self.folder = Path(folder)
        _check_folder(self.folder)
        self._about: dict[str, Any] = {
            "format": FORMAT,
            "version": cliptune.__version__,
            "model": model,
            "fingerprint": fingerprint,
            "width": width,
        }
        draft = json.dumps({name: self._about[name] for name in ("format", "fingerprint", "width")}).encode()
        self._draft = ShelfFiles(self.folder / DRAFT, draft, width * 4)
        try:
            self._lock = acquire(self.folder / LOCK, shared=False, wait=False)
            if self._lock is None:
                raise DataError(f"another process is writing the index {self.folder}. Wait for it, or make one in another folder.")
            self._old = Index.open(self.folder, fingerprint) if (self.folder / INDEX).is_file() else None
            self._drop_stale_draft(draft)
            self._draft.open()
        except OSError as error:
            raise self._unwritable(error) from None
        self._before = 0 if self._old is None else len(self._old)
        keys = [] if self._old is None else _split(np.fromfile(self._old.part / KEYS, dtype="S16"))
        keys += _split(self._draft.keys())
        self._known = {key: number for number, key in enumerate(keys)}  # rows of the index before, then of the draft
        self._wanted: dict[str, int] = {}

    def known(self, name: str, stamp: str) -> bool:
        """Say whether an image has a row already; if so it is in the new index too. Images stand there in the order they are asked in.

        Args:
            name: what search shall give, such as its path.
            stamp: what changes when the image does, such as its size and time of change.
        """
        number = self._known.get(_key(name, stamp), AWAITED)
        self._wanted[name] = number
        return number != AWAITED

    def add(self, names: Sequence[str], stamps: Sequence[str], rows: Any) -> None:
        """Add images.

        Args:
            names: see `known`; of an image that is told twice the last counts.
            stamps: see `known`.
            rows: [B, width], an array or a tensor; they are made unit.

        Raises:
            DataError: a row is zero or not a number, or the disk does not take it. What was added before is kept.
        """
        if not len(names):
            return
        values = unit_rows(rows, names)
        if values.shape != (len(names), self._about["width"]) or len(names) != len(stamps):
            raise ValueError(f"{len(names)} names, {len(stamps)} stamps and rows {list(values.shape)}. Give [B, {self._about['width']}].")
        keys = [_key(name, stamp) for name, stamp in zip(names, stamps, strict=True)]
        numbers = range(self._before + self._draft.count(), self._before + self._draft.count() + len(keys))
        try:
            self._draft.append(np.array(keys, dtype="S16"), values)
        except OSError as error:
            raise self._unwritable(error) from None
        self._known.update(zip(keys, numbers, strict=True))
        self._wanted.update(zip(names, numbers, strict=True))

    def finish(self) -> Index:
        """Put the new index in the place of the one before. The writer is done then.

        Raises:
            DataError: there was no image, or the disk does not take it. What was added is kept, and so is the index before.
        """
        self._wanted = {name: number for name, number in self._wanted.items() if number != AWAITED}  # some could not be read
        if not self._wanted:
            raise DataError(f"no image was found for the index {self.folder}. Give a folder that holds images.")
        numbers = np.fromiter(self._wanted.values(), dtype=np.int64, count=len(self._wanted))
        try:
            if self._old is not None and np.array_equal(numbers, np.arange(self._before)):
                _write_missing_codes(self._old.rows, self._old.part)
            else:
                self._write(numbers)
        except OSError as error:
            raise self._unwritable(error) from None
        self._old = None
        self._draft.close()
        with suppress(OSError):  # where a reader keeps a file, on Windows, the next build removes it
            remove(self.folder / DRAFT)
        part = read_about(self.folder)["part"]
        for folder in self.folder.glob(f"{PART}*"):
            if folder.name != part:
                shutil.rmtree(folder, ignore_errors=True)
        return Index.open(self.folder)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._draft.close()
        if self._lock is not None:
            self._lock.release()

    def _drop_stale_draft(self, about: bytes) -> None:
        """Remove a draft of another model's build, and one whose rows are the index's own: it was killed as it removed the draft."""
        draft, other = self._draft.folder, False
        if (draft / ABOUT).is_file():
            other = (draft / ABOUT).read_bytes() != about
        if (draft / ROWS).is_file() and self._old is not None:
            other = other or (draft / ROWS).samefile(self._old.part / ROWS)
        if other:
            remove(draft)

    def _write(self, numbers: np.ndarray) -> None:
        """Write the new part, then `index.json`."""
        last = 0 if self._old is None else int(self._old.about["part"].removeprefix(PART))
        part = self.folder / f"{PART}{last + 1}"
        if part.is_dir():
            shutil.rmtree(part)  # of a build that was killed here
        part.mkdir()
        for name, dtype, width in ((ROWS, "float32", self._about["width"]), (KEYS, "V16", 1)):
            self._write_array(part / name, dtype, width, numbers)
        write_whole(part / NAMES, lambda file: file.writelines(f"{json.dumps(name)}\n".encode() for name in self._wanted))
        _write_missing_codes(mapped(part / ROWS, "float32", (len(numbers), self._about["width"])), part)
        sizes = {name: size_of(part / name) for name in (ROWS, KEYS, NAMES)}
        about = {**self._about, "count": len(numbers), "part": part.name, "bytes": sizes}
        write_whole(self.folder / INDEX, lambda file: file.write(json.dumps(about, indent=1).encode()))

    def _write_array(self, file: Path, dtype: str, width: int, numbers: np.ndarray) -> None:
        drafted = self._draft.count()
        if np.array_equal(numbers, np.arange(self._before, self._before + drafted)):  # a first build: the draft as it is
            with suppress(OSError):  # a disk without links
                os.link(self._draft.folder / file.name, file)
                return
        old = mapped((self._old.part if self._old else file.parent) / file.name, dtype, (self._before, width))
        new = mapped(self._draft.folder / file.name, dtype, (drafted, width))
        blocks = (numbers[start : start + BLOCK] for start in range(0, len(numbers), BLOCK))
        write_whole(file, lambda handle: handle.writelines(_gather(old, new, block).tobytes() for block in blocks))

    def _unwritable(self, error: OSError) -> DataError:
        why = error.strerror or error
        return DataError(f"cannot write the index {self.folder}: {why}. Mend that and run it again: what was computed is kept.")


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, but an index is a folder. Give the name of a new one.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there - {LOCK} and not there & {INDEX, DRAFT}:
        raise DataError(f"{folder} holds other things than an index. Give the name of a new folder.")


def _key(name: str, stamp: str) -> bytes:
    return digest(f"{name}\0{stamp}".encode("utf-8", "surrogatepass"))  # what os.fsdecode makes of names that are not UTF-8


def _split(keys: np.ndarray) -> list[bytes]:
    """All 16 bytes of each key, of which numpy's own strings lack the last where they are zero."""
    data = keys.tobytes()
    return [data[at : at + KEY_BYTES] for at in range(0, len(data), KEY_BYTES)]


def _gather(old: np.ndarray, new: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Take rows of [old; new], each [N, D] of its own N."""
    rows = np.empty((len(numbers), old.shape[1]), dtype=old.dtype)
    is_old = numbers < len(old)
    rows[is_old], rows[~is_old] = old[numbers[is_old]], new[numbers[~is_old] - len(old)]
    return rows


def _write_missing_codes(rows: np.ndarray, part: Path) -> None:
    if not needs_codes(rows) or (part / CODES).is_file():
        return
    if not has_faiss():
        log.warning("faiss is not installed: searches compare %s rows one by one. %s, and run it again.", f"{len(rows):,}", HINT)
        return
    draft = part / f"{CODES}.tmp"
    write_codes(rows, draft)
    draft.replace(part / CODES)
