"""What the scan holds of the data while it reads: texts, labels and names of all rows, and a few hundred bytes of each image."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cliptune.data.batches import Rows
from cliptune.data.images import ImageTextData
from cliptune.doctor.image_facts import Chunk
from cliptune.doctor.places import Place
from cliptune.doctor.signatures import SIGNATURE, hashes

SPLITS = ("train", "validation", "test")
READ = 4096  # rows whose texts are read at once


@dataclass
class SplitRows:
    """The rows of a split, but for their images.

    Args:
        name: train, validation or test.
        keys: what names each image: its path where there is one.
        captions: of each row.
        labels: of each row; several where it has several, none where it has none.
        files: whether keys are paths, so that no row need be read again for its image.
    """

    name: str
    keys: list[str] = field(default_factory=list)
    captions: list[list[str]] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    files: bool = True

    def __len__(self) -> int:
        return len(self.keys)

    def label(self, row: int) -> str | None:
        """A row's label, as one word where it has several."""
        return " + ".join(self.labels[row]) or None

    def place(self, row: int, detail: str = "") -> Place:
        """A row as findings name it."""
        return Place(self.name, int(row), self.keys[row], detail)

    def images(self) -> list[int]:
        """The rows that have an image for the first time; an image has several rows where each caption has its own."""
        first: dict[str, int] = {}
        for row, key in enumerate(self.keys):
            first.setdefault(key, row)
        return list(first.values())


def read_texts(data: ImageTextData) -> dict[str, SplitRows]:
    """Read all rows of all splits, without images."""
    found = {}
    for name in SPLITS:
        rows: Rows = data.rows(name, images=False)
        split = found[name] = SplitRows(name)
        for start in range(0, len(rows), READ):
            for _, _, row in rows[[(0, i) for i in range(start, min(start + READ, len(rows)))]]:
                split.keys.append(row.key)
                split.captions.append(row.captions)
                split.files = split.files and row.image == row.key
                split.labels.append(tuple(getattr(row, "labels", ())) or ((row.label,) if row.label is not None else ()))
    return found


class Images:
    """What is known of all images, an array line for each, in the order in which they came.

    Args:
        count: of all images.
    """

    def __init__(self, count: int) -> None:
        self.count = 0
        self.split = np.zeros(count, np.uint8)  # a place in SPLITS
        self.row = np.zeros(count, np.int64)
        self.sizes = np.zeros((count, 2), np.int32)
        self.bytes = np.zeros(count, np.int64)
        self.digests = np.zeros((count, 2), np.uint64)
        self.signatures = np.zeros((count, SIGNATURE), np.uint8)
        self.decoded, self.plain = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.grey = 0
        self.odd: list[tuple[str, int, str, str, str]] = []  # split, row, kind, path, detail

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk."""
        lines = slice(self.count, self.count + len(chunk.rows))
        self.count = lines.stop
        self.split[lines] = SPLITS.index(chunk.split)
        self.row[lines] = chunk.rows
        for name in ("sizes", "bytes", "digests", "signatures", "decoded", "plain"):
            getattr(self, name)[lines] = getattr(chunk, name)
        self.modes += chunk.modes
        self.formats += chunk.formats
        self.grey += chunk.grey
        self.odd += [(chunk.split, *one) for one in chunk.odd]

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """[N, 2], see `signatures.hashes`; of all at once, since of a few it takes six times as long."""
        parts = range(0, len(self.signatures), READ)
        return np.concatenate([np.zeros((0, 2), np.uint64), *(hashes(self.signatures[i : i + READ].astype(np.float32)) for i in parts)])

    def where(self, i: int) -> tuple[str, int]:
        """The split and the row of an image."""
        return SPLITS[self.split[i]], int(self.row[i])


class Job(NamedTuple):
    """Images to be looked at.

    Args:
        split: of all of them.
        rows: their numbers.
        paths: of the files; None where the images lie in the table.
    """

    split: str
    rows: list[int]
    paths: list[str] | None


def jobs(rows: Iterable[SplitRows], size: int) -> Iterator[Job]:
    """All images in chunks."""
    for split in rows:
        images = split.images()
        for start in range(0, len(images), size):
            numbers = images[start : start + size]
            yield Job(split.name, numbers, [split.keys[row] for row in numbers] if split.files else None)
