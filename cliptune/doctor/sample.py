"""Which rows zero-shot is measured on, and how they come: a few batches are decoded ahead, and no more of them are held."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from cliptune.data.batches import Batch
from cliptune.data.images import ImageTextData
from cliptune.data.split import Row
from cliptune.errors import DataError
from cliptune.images import decode

SPLITS = ("train", "validation")
READ = 100_000  # rows of a split whose labels are read to choose from
LOOKED_AT = 128  # images whose pixels are looked at
BATCH, CHUNK = 64, 4096
Items = list[tuple[int, int, Row]]


class Sample(NamedTuple):
    """Rows to be seen: split and number of each, labelled rows of each class and rows at all that they were drawn from."""

    places: list[tuple[str, int]]
    counts: list[int]
    rows: int


def choose(data: ImageTextData, images: int) -> Sample:
    """Draw rows of train and validation by the data's seed, each image once: all classes alike, or any where there are no classes."""
    rng = np.random.default_rng(data.options.seed)
    places, classes = _candidates(data, rng)
    drawn = rng.permutation(len(places))
    counts = np.bincount(classes[classes >= 0], minlength=len(data.class_names)).tolist()
    if data.class_names and sum(counts):
        most, taken, kept = quota(counts, images), [0] * len(counts), []
        for i in drawn:
            if classes[i] >= 0 and taken[classes[i]] < most:
                taken[classes[i]] += 1
                kept.append(i)
        drawn = np.array(kept, np.int64)
    return Sample([places[i] for i in drawn[:images]], counts, len(places))


def _candidates(data: ImageTextData, rng: np.random.Generator) -> tuple[list[tuple[str, int]], npt.NDArray[np.int64]]:
    """Split and number of each image, and its class, -1 for none."""
    places, classes, keys = [], [], set()
    for split in SPLITS:
        rows = data.rows(split, images=False)
        numbers = np.sort(rng.permutation(len(rows))[:READ]) if len(rows) > READ else np.arange(len(rows))
        for part in np.split(numbers, range(CHUNK, len(numbers), CHUNK)):
            for _, number, row in rows[[(0, int(number)) for number in part]]:
                if row.key not in keys:  # one row for each caption of an image is one image
                    keys.add(row.key)
                    places.append((split, number))
                    classes.append((labels_of(row, data) or (-1,))[0])
    return places, np.array(classes, np.int64)


def quota(counts: list[int], images: int) -> int:
    """How many of each class, so that all together are `images` at most; 1 at least."""
    most = 1
    while sum(min(count, most + 1) for count in counts) <= images and most < max(counts):
        most += 1
    return most


def labels_of(row: Row, data: ImageTextData) -> tuple[int, ...]:
    """The numbers of a row's classes, the first one first."""
    several = getattr(row, "labels", ()) or (row.label,)
    return tuple(data.class_number[label] for label in map(str, several) if label in data.class_number)


def batches(data: ImageTextData, sample: Sample) -> Iterator[tuple[Items, Batch]]:
    """Evaluation's view of the sample, with the rows that each batch is of; rows whose image cannot be read are missing, or -1."""
    see, rows = _Seer(data.eval_view("validation")), {split: data.rows(split) for split in SPLITS}
    with ThreadPoolExecutor(max(data.workers, 1)) as pool:
        ahead: deque[Future[tuple[Items, Batch]]] = deque()
        for split in SPLITS:
            numbers = [number for name, number in sample.places if name == split]
            for start in range(0, len(numbers), BATCH):
                items = rows[split][[(0, number) for number in numbers[start : start + BATCH]]]
                ahead.append(pool.submit(see, items))
                if len(ahead) > max(data.workers, 1):
                    yield ahead.popleft().result()
        for future in ahead:
            yield future.result()


class _Seer:
    """A view that leaves out what it cannot take."""

    def __init__(self, view: Callable[[Items], Batch]) -> None:
        self.view = view

    def __call__(self, items: Items) -> tuple[Items, Batch]:
        try:
            return items, self.view(items)
        except DataError:
            good = [item for item in items if self._takes(item)]
            return good, self.view(good) if good else Batch()

    def _takes(self, item: tuple[int, int, Row]) -> bool:
        try:
            self.view([item])
        except DataError:
            return False
        return True


def pixels(data: ImageTextData, sample: Sample) -> list[Tensor]:
    """Some images of the sample as they are."""
    found: list[Tensor] = []
    if data.vectors:
        return found
    for split in SPLITS:
        numbers = [number for name, number in sample.places[:LOOKED_AT] if name == split]
        for _, _, row in data.rows(split)[[(0, number) for number in numbers]] if numbers else []:
            try:
                found.append(decode(row.image, row.key))  # type: ignore[arg-type]
            except DataError:
                continue
    return found
