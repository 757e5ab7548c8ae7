"""From rows to batches: which rows, in which order, on which process; how they are seen is in `views.py`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cliptune.data.split import Row, Split
from cliptune.errors import DataError

Place = tuple[int, int]  # (epoch, row)
FILL = -1  # the epoch of a row that only fills a batch
AGAIN = 1_000_003  # added to the epoch of a row that comes again in it, for another view; a prime, which no number of views divides


class Batch(TypedDict, total=False):
    """What a step sees."""

    images: Tensor  # [B, 3, h, w], uint8; or, where a frozen tower has seen them before:
    image_rows: Tensor  # [B, D], the rows; the data itself may hold them too
    image_inner: Tensor  # [B, ...], what enters the first block that learns
    label: Tensor  # [B], the first class; -1 where not known
    labels: Tensor  # [B, C], 1 for each class of an image, where images may have several
    tokens: Tensor  # [U, L], each distinct text of the batch once
    text_rows: Tensor  # [U, D], instead of `tokens` where the text tower is frozen
    piece: Tensor  # [U], which text each row of `tokens` is a piece of, where long ones are seen in pieces
    text: Tensor  # [B], training: the text that is the image's
    negative: Tensor  # [H], training: the texts that are nobody's
    negative_identity: Tensor  # [H], training: as the captions' column of `identity`
    owner: Tensor  # [U], evaluation: the image in 0..B-1 that each text belongs to
    text_identity: Tensor  # [U], evaluation: the same for the same words
    identity: Tensor  # [B, 3], training: see objectives.base.IDENTITIES
    row: Tensor  # [B], the place in the table; -1 for what only fills a batch
    bad: list[Any]  # the images that could not be read, see data.bad.Bad


KEPT = 20_000  # rows without images that are read once for all epochs, some 10 MB


class Rows(Dataset[list[tuple[int, int, Row]]]):
    """The rows of one or more splits, one after another; read a batch at a time."""

    def __init__(self, splits: Sequence[Split], images: bool = True) -> None:
        self.splits, self.images = splits, images
        self.vectors = all(split.holds_vectors for split in splits)  # instead of images
        other = [split.name for split in splits if split.holds_vectors != splits[0].holds_vectors]
        if other:
            raise DataError(f"{splits[0].name} and {other[0]}: one holds vectors, the other images. Give paths of one kind.")
        self.ends = np.cumsum([len(split) for split in splits])
        self.kept: dict[int, Row] = {}

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, places: list[Place]) -> list[tuple[int, int, Row]]:
        """Fetch (epoch, row number, row) for each place, with one read per split; images only where they are wanted."""
        found = self.kept if not (self.images or self.vectors) and len(self) <= KEPT else {}
        numbers = np.array([row for row in dict.fromkeys(row for _, row in places) if row not in found], dtype=int)
        which = np.searchsorted(self.ends, numbers, side="right")
        for i in np.unique(which):
            chosen = numbers[which == i]
            start = int(self.ends[i]) - len(self.splits[i])
            for number, row in zip(chosen, self.splits[i].read([int(n) - start for n in chosen], self.images), strict=True):
                found[int(number)] = row
        return [(epoch, row, found[row]) for epoch, row in places]


class Order(Sampler[list[Place]]):
    """This process's batches of (epoch, row): those of all processes together are the batches of one process with as many times the rows.

    Shuffled, a batch that is not full everywhere is left out. In order, all processes have equally many batches, the last ones filled up
    with rows of epoch `FILL`, which do not count: collectives in a step wait for every process.

    Args:
        rows: how many there are.
        batch_size: rows of a batch, of each process.
        shuffle: a new order each epoch, by the seed.
        seed: of the order.
        epoch: the first one. Lightning tells of the next ones, but of a resumed run's first only after workers have begun on it.
        share: this process's number, and how many processes there are.
        done: batches of the first epoch that were seen before.
        draw: gives an epoch's rows in order, `rows` of them; a permutation where not given.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        epoch: int = 0,
        share: tuple[int, int] = (0, 1),
        done: int = 0,
        draw: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed, self.epoch = rows, batch_size, shuffle, seed, epoch
        self.first_epoch, self.done = epoch, done
        self.rank, self.world = share
        self.draw = draw

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = self.batch_size * self.world
        return self.rows // whole if self.shuffle else -(-self.rows // whole)

    def __iter__(self) -> Iterator[list[Place]]:
        order = self._order() if self.shuffle else np.arange(self.rows)
        epochs = self.epoch + AGAIN * _times_before(order) if self.draw is not None else np.full(len(order), self.epoch)
        for i in range(self.done if self.epoch == self.first_epoch else 0, len(self)):
            first = i * self.batch_size * self.world
            whole = order[first : first + self.batch_size * self.world]
            size = -(-len(whole) // self.world)  # the last batch of evaluation is shared evenly
            places = range(first + self.rank * size, min(first + (self.rank + 1) * size, first + len(whole)))
            own = [(int(epochs[place]), int(order[place])) for place in places]
            yield own + [(FILL, int(whole[0]))] * (size - len(own))

    def _order(self) -> np.ndarray:
        return self.draw(self.epoch) if self.draw is not None else np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)


def _times_before(order: np.ndarray) -> np.ndarray:
    """How often each row stands further ahead in the order."""
    by_row = np.argsort(order, kind="stable")
    ordered = order[by_row]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else np.empty(0, dtype=np.int64)
    found = np.empty(len(order), dtype=np.int64)
    found[by_row] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return found
