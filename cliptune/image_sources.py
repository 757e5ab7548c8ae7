"""What holds images: files by their paths, and the rows of a table; read from any place on. Which ones there are is `inputs`' business.

Of images that are files the paths are held, and nothing else; tables are read a few rows at a time, with the bytes of their images.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Any, NamedTuple

from datasets import Dataset
from PIL import Image

from cliptune.data.columns import Columns, detect
from cliptune.data.formats.features import is_vector
from cliptune.data.formats.reading import SPLITS, Source
from cliptune.data.formats.sources import open_source
from cliptune.data.opening import fingerprint
from cliptune.data.split import Split
from cliptune.errors import DataError, did_you_mean

Label = str | int | None
READ = 16  # rows of a table that are read at once, with the bytes of their images
PATHS = 4096  # the same where a row holds a path


class Item(NamedTuple):
    """One image before decoding."""

    name: str  # its own among the inputs, and the same in every run
    image: Path | bytes | Image.Image
    stamp: str  # another one when the image is: size and time of a file, a hash of bytes
    label: Label = None  # what the source says it is: a word, or a number that counts into the classes


class Files:
    """Images that are files.

    Args:
        labels: from path to label; a path that is named twice is here once.
    """

    def __init__(self, labels: dict[str, Label]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether any is labelled."""
        return any(label is not None for label in self.labels.values())

    def about(self) -> Iterator[str]:
        """All that another list of files would differ in."""
        return (f"{path}\0{stamp(path)}\0{label!r}\0" for path, label in self.labels.items())

    def items(self, first: int) -> Iterator[Item]:
        """The images from number `first` on; one that is missing is found out when it is decoded."""
        for path, label in islice(self.labels.items(), first, None):
            yield Item(_as_text(path), Path(path), stamp(path), label)


class Table:
    """Images that lie in a table; a row is called `PATH/SPLIT:NUMBER`.

    Args:
        rows: of a split.
        path: that the user named.
    """

    def __init__(self, rows: Split, path: str) -> None:
        self.rows, self.path = rows, path
        self.labelled = rows.labels is not None

    def __len__(self) -> int:
        return len(self.rows)

    def about(self) -> Iterator[str]:
        """What another table would most likely differ in."""
        return iter((self.rows.name, stamp(self.path), fingerprint({self.rows.name: [self.rows]})))

    def items(self, first: int) -> Iterator[Item]:
        """The rows from number `first` on; one without an image has no bytes."""
        for start in range(first, len(self), READ):
            numbers = list(range(start, min(start + READ, len(self))))
            for number, row in zip(numbers, self.rows.read(numbers), strict=True):
                name, label = f"{self.rows.name}:{number}", _label(self.rows, row.label)
                if isinstance(row.image, bytes):
                    yield Item(name, row.image, hashlib.blake2b(row.image, digest_size=16).hexdigest(), label)
                else:
                    yield Item(name, Path(str(row.image)), stamp(str(row.image)), label)


class _Pictures(Split):
    """A split in which a row may lack its image."""

    def image_of(self, value: Any) -> bytes | str:
        """No bytes, where there is no image."""
        lacks = not (value.get("bytes") or value.get("path")) if isinstance(value, dict) else not value
        return b"" if lacks else super().image_of(value)


def open_tables(path: str, split: str | None) -> list[Files | Table]:
    """Open what `data.sources` opens, for its images.

    Args:
        path: see `data.sources.open_source`.
        split: one of its splits, or None for all.

    Raises:
        DataError: it cannot be read, has no such split, or holds no images.
    """
    source = open_source(path)
    tables: dict[str, Dataset] = dict(source.tables) if split is None else {split: _chosen(source, split, path)}
    first = next(iter(source.roots.values()))
    splits = [_Pictures(table, _columns(table, path), source.roots.get(name, first), f"{path}/{name}") for name, table in tables.items()]
    return [_files(rows) or Table(rows, path) for rows in splits]


def _chosen(source: Source, wanted: str, path: str) -> Dataset:
    """The split of that name, of a usual other name for it, or, in a table with a column called split, of that value."""
    table = next(iter(source.tables.values()))
    column = next((name for name in table.column_names if name.strip().lower() == "split"), None)
    if len(source.tables) == 1 and column is not None:
        values = [str(value) for value in table.with_format("arrow")[column][:].to_pylist()]
        if wanted not in values:
            raise DataError(f"{path} has no split {wanted}. {did_you_mean(wanted, dict.fromkeys(values))}")
        return table.select([i for i, value in enumerate(values) if value == wanted])
    usual = next((names for names in SPLITS.values() if wanted.lower() in names), ())
    found = [name for name in source.tables if name == wanted] or [name for name in source.tables if str(name).lower() in usual]
    if not found:
        raise DataError(f"{path} has no split {wanted}. {did_you_mean(wanted, map(str, source.tables))}")
    return source.tables[found[0]]


def _columns(table: Dataset, path: str) -> Columns:
    """The columns of images and labels; what predicts needs no texts, unlike what learns."""
    image = detect(table, "image")
    if image is None:
        raise DataError(f"{path} has no column of images or of image paths; it has {', '.join(table.column_names)}. Call the column image.")
    if is_vector(table.features[image]):
        raise DataError(f"{path} holds vectors in its column {image}, not images. Give the images that they were computed from.")
    return Columns(image, None, detect(table, "label"))


def _files(rows: Split) -> Files | None:
    """A table that holds nothing but paths is a list of files; one with several rows for an image, for its captions, has it once."""
    labels: dict[str, Label] = {}
    start = 0
    while start < len(rows):
        numbers = list(range(start, min(start + (PATHS if start else READ), len(rows))))
        for row in rows.read(numbers):
            if isinstance(row.image, str):
                labels.setdefault(row.image, _label(rows, row.label))
            elif len(row.image):
                return None
        start = numbers[-1] + 1
    return Files(labels)


def _label(rows: Split, label: str | None) -> Label:
    return label if label is None or (rows.labels is not None and rows.labels.are_text) else int(label)


def stamp(path: str) -> str:
    """Size and time of a file; nothing where there is none."""
    try:
        found = Path(path).expanduser().stat()
    except (OSError, ValueError):  # the latter for what no file can be called
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}" if S_ISREG(found.st_mode) else ""


def _as_text(path: str) -> str:
    """A path as text that every format can hold, whatever bytes the file system has in it."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
