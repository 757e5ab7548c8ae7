"""Batches of a stream: its rows dealt out to processes and their workers, shuffled a bufferful at a time, equally many batches everywhere.

What comes when is a function of the seed, the epoch and the numbers of processes and workers alone, so that a run that goes on sees what
an unbroken one would have seen.
"""

import random
from collections.abc import Callable, Collection, Iterator
from itertools import count, islice
from typing import Any

import datasets
import torch
from torch.utils.data import IterableDataset, get_worker_info

from cliptune.data.batches import FILL
from cliptune.data.examples import Example, Shards
from cliptune.errors import DataError

START = 10  # a tenth of the buffer is filled before the first row leaves it; as in webdataset, 100 of 1000
Numbered = tuple[int, Example]
Placed = list[tuple[int, int, Any]]  # (epoch, number, row)


class Stream(IterableDataset[Placed]):
    """A stream's batches, for a DataLoader with `batch_size=None`.

    Shuffled, an epoch has the same number of whole batches on every process; the stream begins anew where it ends before. Shards go to
    processes and workers in a new order each pass; those that are over, or all where there are fewer than workers, are read by each
    worker, and dealt out row by row. Where an epoch is less than the stream, the next one goes on about where it ended.

    In order, each row comes once, the batches are `data.batches.Order`'s, and each worker reads all and keeps its part.

    Args:
        stream: its raw examples, not shuffled, images not decoded.
        make: from examples and their numbers to rows.
        batch_size: rows of a batch, of each process.
        seed: of the order.
        buffer: rows that each process shuffles together, over all its workers.
        share: this process's number, and how many processes there are.
        epoch_rows: rows of an epoch, over all processes; in order at most so many, all where not given.
        rows: of the stream, where known, about: by them the next epoch finds its beginning.
        epoch: the first one.
        done: batches of the first epoch that this process has seen before.
        shuffle: whether for training.
        held: numbers of examples that are not given.

    Raises:
        DataError: there is no batch in an epoch, or its length is not known.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        make: Callable[[list[Example], list[int]], list[Any]],
        batch_size: int,
        seed: int = 0,
        buffer: int = 10_000,
        share: tuple[int, int] = (0, 1),
        epoch_rows: int | None = None,
        rows: int | None = None,
        epoch: int = 0,
        done: int = 0,
        shuffle: bool = True,
        held: Collection[int] = frozenset(),
    ) -> None:
        self.shards, self.make, self.batch_size, self.seed, self.buffer = Shards(stream), make, batch_size, seed, buffer
        self.rank, self.world = share
        self.epoch_rows, self.rows, self.shuffle, self.held = epoch_rows, rows, shuffle, held
        self.first_epoch, self.done = epoch, done
        self._epoch = torch.tensor(epoch).share_memory_()  # workers that live on from epoch to epoch see it change
        if shuffle and epoch_rows is None:
            raise DataError("the streamed data does not say how many rows it has. Set data.epoch_rows to the rows of an epoch.")
        if shuffle and not len(self):
            most = (epoch_rows or 0) // self.world
            raise DataError(
                f"batch_size {batch_size} is more than the {most} rows of an epoch on each device. Set data.batch_size to less."
            )

    @property
    def epoch(self) -> int:
        """The one that the next iteration is of."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, before it is iterated; in workers too."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        whole = self.batch_size * self.world
        if self.epoch_rows is None:
            raise TypeError("a stream in order, of which nobody said how long it is, has no length")
        return self.epoch_rows // whole if self.shuffle else -(-self.epoch_rows // whole)

    def __iter__(self) -> Iterator[Placed]:
        epoch, about = self.epoch, get_worker_info()
        worker, workers = (about.id, about.num_workers) if about is not None else (0, 1)
        done = self.done if epoch == self.first_epoch else 0
        worker = (worker + done) % workers  # the loader's first batch is its first worker's, and was another's in the unbroken run
        batches = self._shuffled(epoch, worker, workers) if self.shuffle else self._in_order(epoch)
        for i, batch, fill in batches:
            if i >= done and i % workers == worker:
                yield self._made(epoch, batch) + self._made(FILL, fill)

    def _made(self, epoch: int, pairs: list[Numbered]) -> Placed:
        numbers = [number for number, _ in pairs]
        rows = self.make([self.shards.whole(example) for _, example in pairs], numbers) if pairs else []
        return [(epoch, number, row) for number, row in zip(numbers, rows, strict=True)]

    def _in_order(self, epoch: int) -> Iterator[tuple[int, list[Numbered], list[Numbered]]]:
        """Batches by number, of rows and of what fills them up."""
        found = (pair for shard in range(len(self.shards)) for pair in self.shards.examples(shard) if pair[0] not in self.held)
        limited = islice(found, self.epoch_rows)
        for i in count():
            whole = list(islice(limited, self.batch_size * self.world))
            if not whole:
                return
            size = -(-len(whole) // self.world)  # the last batch is shared evenly
            own = whole[self.rank * size : (self.rank + 1) * size]
            yield i, own, whole[:1] * (size - len(own))

    def _shuffled(self, epoch: int, worker: int, workers: int) -> Iterator[tuple[int, list[Numbered], list[Numbered]]]:
        """This worker's batches."""
        own = range(worker, len(self), workers)
        lane, lanes = self.rank * workers + worker, self.world * workers
        drawn = self._mixed(
            islice(self._endless(epoch, lane, lanes), len(own) * self.batch_size),
            max(self.buffer // workers, 1),
            random.Random(f"{self.seed} {epoch} {lane}"),
        )
        for i in own:
            yield i, list(islice(drawn, self.batch_size)), []

    def _mixed(self, rows: Iterator[Numbered], size: int, dice: random.Random) -> Iterator[Numbered]:
        """All of the rows, each at most about a bufferful later or sooner; while the buffer fills, two come in for one that leaves."""
        kept: list[Numbered] = []
        for i, row in enumerate(rows):
            kept.append(row)
            if len(kept) > size or (i % 2 and len(kept) > size // START):
                place = dice.randrange(len(kept))
                kept[place], kept[-1] = kept[-1], kept[place]
                yield kept.pop()
        dice.shuffle(kept)
        yield from kept

    def _endless(self, epoch: int, lane: int, lanes: int) -> Iterator[Numbered]:
        """The rows of one of all workers, pass after pass, from where an epoch begins."""
        first, begun = divmod(epoch * (self.epoch_rows or 0), self.rows) if self.rows else (0, 0)
        for turn in count(first):
            skip = begun // lanes if turn == first else 0
            found = False
            for pair in self._pass(epoch, turn, lane, lanes, skip):
                found = True
                yield pair
            if not found and not skip and lanes > 1:  # fewer rows than workers
                lane, lanes = 0, 1
            elif not found and not skip:
                raise DataError("the streamed data holds no row that can be used. Check its path and columns.")

    def _pass(self, epoch: int, turn: int, lane: int, lanes: int, skip: int) -> Iterator[Numbered]:
        """A worker's part of the stream, once, but for about as many rows at its beginning."""
        parts = len(self.shards)
        dice = random.Random(f"{self.seed} {turn}" if self.rows else f"{self.seed} {epoch} {turn}")
        order = dice.sample(range(parts), parts)
        alone = parts // lanes * lanes
        mean = (self.rows or 0) // parts  # of a shard
        for shard, sharers in [(shard, 1) for shard in order[lane:alone:lanes]] + [(shard, lanes) for shard in order[alone:]]:
            if skip and skip * sharers >= mean:
                skip -= mean // sharers
                continue
            for place, pair in enumerate(self.shards.examples(shard, skip * sharers), skip * sharers + shard):
                if place % sharers == lane % sharers and pair[0] not in self.held:
                    yield pair
            skip = 0
