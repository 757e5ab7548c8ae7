"""An index of images: their rows and names in a folder, searched by the rows of words or of an image.

`index.json` names the part of the folder that has the files. How an index is written is in `index_writer`, how rows are compared in
`nearest`; finding images and encoding them is the caller's. Imports no torch.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

import cliptune
from cliptune.data.kept.shelf_files import ROWS, size_of
from cliptune.errors import CheckpointError, ConfigError, DataError
from cliptune.nearest import HINT, fits_codes, has_faiss, nearest, read_codes, unit_rows

log = logging.getLogger(__name__)

FORMAT = 1  # raised when an old reader would misread a new index
INDEX, NAMES, CODES, DRAFT = "index.json", "names.jsonl", "ann.faiss", "draft"
FIELDS = ("version", "model", "fingerprint", "width", "count", "part", "bytes")
EXACT_VALUES = 2**27  # 262,144 rows of 512: exact search takes about 45 ms on one core, the codes of a million rows 12 ms


class Names:
    """The names of an index's images, decoded as they are asked for."""

    def __init__(self, file: Path, count: int) -> None:
        self._text = mapped(file, "uint8", (size_of(file),))
        self._count = count
        self._ends: np.ndarray | None = None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        if not -self._count <= number < self._count:
            raise IndexError(f"image {number} of {self._count}")
        if self._ends is None:
            self._ends = np.flatnonzero(self._text == ord("\n"))
        at = int(number) % self._count
        start = int(self._ends[at - 1]) + 1 if at else 0
        return str(json.loads(self._text[start : int(self._ends[at])].tobytes()))


class Index:
    """An index that is whole; `Index.open` reads it. One that is replaced while it is open goes on answering as it was.

    Args:
        folder: where.
        about: what `index.json` says.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.part = folder / about["part"]
        for name, size in about["bytes"].items():
            found = (self.part / name).stat().st_size
            if found != size:
                raise _damaged(folder, f"{name} has {found:,} bytes, but was written with {size:,}")
        self.rows = mapped(self.part / ROWS, "float32", (about["count"], about["width"]))  # [N, D]
        self.paths = Names(self.part / NAMES, about["count"])
        self._codes: Any = None
        self._asked_codes = False

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def open(cls, folder: str | Path, fingerprint: str | None = None) -> Index:
        """Open an index; its rows stay on the disk.

        Args:
            folder: where `IndexWriter` made it.
            fingerprint: of the model that will make the queries, where it is known already; else see `check_model`.

        Raises:
            DataError: there is none, or it is damaged.
            CheckpointError: it is of another model, or a newer cliptune's.
        """
        folder = Path(folder)
        about = read_about(folder)
        while True:
            try:
                index = cls(folder, about)
                break
            except FileNotFoundError as error:
                before, about = about, read_about(folder)
                if about == before:  # else it was replaced between the two reads
                    raise _damaged(folder, f"{Path(error.filename).name} is missing") from None
        if fingerprint is not None:
            index.check_model(fingerprint)
        return index

    def check_model(self, fingerprint: str) -> None:
        """Make sure that rows of a model can be compared with these.

        Raises:
            CheckpointError: the index is of another model.
        """
        if fingerprint != self.about["fingerprint"]:
            raise CheckpointError(
                f"the index {self.folder} has rows of the model {self.about['model']} ({self.about['fingerprint']}), which cannot be "
                f"compared with those of another ({fingerprint}). Use that model, or make an index of this one in another folder."
            )

    def search(self, queries: Any, k: int = 10, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Find the images that are most like each query.

        Args:
            queries: [Q, D], rows of texts or images by the same model, of any length; an array or a tensor.
            k: how many images for each; all where there are fewer.
            exact: compare with every row, whatever their number.

        Returns:
            The cosines, [Q, k] float32, falling, and the images' numbers, [Q, k] int64; of equal ones the lower number first.

        Raises:
            ConfigError: k is not positive.
            CheckpointError: the queries are of another width.
            DataError: a query is zero or not a number.
        """
        if k < 1:
            raise ConfigError(f"k is {k}, but must be 1 or more images. Take 10.")
        rows = unit_rows(queries)
        if rows.shape[1] != self.rows.shape[1]:
            raise CheckpointError(
                f"the queries have {rows.shape[1]} values, but the rows of the index {self.folder} have {self.rows.shape[1]}. "
                f"Use its model, {self.about['model']}."
            )
        large = needs_codes(self.rows) and fits_codes(k) and not exact
        return nearest(self.rows, rows, min(k, len(self)), self._find_codes() if large else None)

    def _find_codes(self) -> Any:
        """The codes, or None, with the reason in the log, once."""
        if self._asked_codes:
            return self._codes
        self._asked_codes = True
        file, slow = self.part / CODES, f"{len(self):,} rows are compared one by one, which takes longer"
        if not has_faiss():
            log.warning("faiss is not installed: %s. %s", slow, HINT)
        elif not file.is_file():
            log.warning("the index %s was made without faiss: %s. Run `cliptune index` again.", self.folder, slow)
        else:
            try:
                self._codes = read_codes(file, self.rows.shape)
            except RuntimeError:
                log.warning("%s is damaged: %s. Remove it, and run `cliptune index` again.", file, slow)
        return self._codes


def needs_codes(rows: np.ndarray) -> bool:
    """Whether rows, [N, D], are too many for exact search."""
    return rows.size > EXACT_VALUES


def mapped(file: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Map an array's file into memory; of no rows, there needs be no file."""
    return np.asarray(np.memmap(file, dtype=dtype, mode="r", shape=shape)) if shape[0] else np.empty(shape, dtype=dtype)


def read_about(folder: Path) -> dict[str, Any]:
    """Read what `index.json` says; see `Index.open` for the errors."""
    file = folder / INDEX
    if not file.is_file():
        begun = f"the index {folder} is not finished. Run `cliptune index` again, which goes on with it."
        raise DataError(begun if (folder / DRAFT).is_dir() else f"there is no index in {folder}. Make one with `cliptune index`.")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        lacking = [name for name in FIELDS if name not in about]
        newer = about["format"] > FORMAT
    except (ValueError, TypeError, KeyError):
        raise _damaged(folder, f"{INDEX} is not what was written") from None
    if newer:
        raise CheckpointError(
            f"the index {folder} was written by cliptune {about.get('version')}, newer than this {cliptune.__version__}. Upgrade."
        )
    if lacking:
        raise _damaged(folder, f"{INDEX} lacks {', '.join(lacking)}")
    return dict(about)


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(f"the index {folder} is damaged: {why}. Remove the folder, and make it again with `cliptune index`.")
