"""The raw examples of a stream, shard by shard: from any place on, and on from the same place after a hiccup of the network."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

import datasets
import fsspec  # type: ignore[import-untyped]

from cliptune.data.formats.reading import is_url
from cliptune.errors import DataError
from cliptune.retries import passes, retried

READ = 64  # examples that are taken out of Arrow at a time
SHARD = 32  # bits of a number that count within a shard
SPREAD = 16  # shards that a sample is taken from
T = TypeVar("T")
Example = dict[str, Any]


class Retrying(Generic[T]):
    """An iterator that is opened again where it stood when the network or a disk fails; nothing is lost, nothing comes twice.

    Args:
        opened: from a place to the items from there on; always the same ones.
        what: it is, for the log.
        start: the first place.

    Raises:
        DataError: it fails again and again.
    """

    def __init__(self, opened: Callable[[int], Iterable[T]], what: str, start: int = 0) -> None:
        self.opened, self.what, self.place = opened, what, start
        self._items: Iterator[T] | None = None

    def __iter__(self) -> "Retrying[T]":
        return self

    def __next__(self) -> T:
        try:
            item = retried(self._next, self.what)
        except Exception as error:
            if not passes(error):
                raise
            said = str(error).partition("\n")[0].rstrip(".")
            raise DataError(
                f"{self.what} failed again and again: {said}. See to the network or the disk, and go on with the run."
            ) from error
        self.place += 1
        return item

    def _next(self) -> T:
        try:
            self._items = iter(self.opened(self.place)) if self._items is None else self._items
            return next(self._items)
        except StopIteration:
            raise
        except Exception:
            self._items = None
            raise


class Shards:
    """A stream's examples by shard. Each has a number: that of its shard, and its place in it.

    Args:
        stream: of which nothing is shuffled.
    """

    def __init__(self, stream: datasets.IterableDataset) -> None:
        self.stream = stream
        self._images = [name for name, feature in (stream.features or {}).items() if isinstance(feature, datasets.Image)]

    def __len__(self) -> int:
        return int(self.stream.num_shards)

    def examples(self, shard: int, start: int = 0) -> Iterator[tuple[int, Example]]:
        """(number, example) of a shard, from a place on."""
        found = Retrying(lambda place: self._opened(shard, place), f"reading part {shard + 1} of {len(self)} of the data", start)
        for place, example in enumerate(found, start):
            yield shard << SHARD | place, example

    def _opened(self, shard: int, place: int) -> Iterator[Example]:
        part = self.stream.shard(len(self), shard)
        for batch in (part.skip(place) if place else part).iter(READ):  # unlike iter(part), it knows nothing of a loader's workers
            yield from (dict(zip(batch, cells, strict=True)) for cells in zip(*batch.values(), strict=True))

    def whole(self, example: Example) -> Example:
        """An example with the bytes of images that the stream gives by URL."""
        far = {name: value["path"] for name in self._images if (value := example.get(name)) and value["bytes"] is None}
        return example | {name: {"bytes": _fetched(path), "path": path} for name, path in far.items() if is_url(path or "")}


def _fetched(url: str) -> bytes:
    def fetch() -> bytes:
        with fsspec.open(url, "rb") as opened:
            return bytes(opened.read())

    return retried(fetch, f"fetching {url}")


def sample(stream: datasets.IterableDataset, rows: int, seed: int) -> list[tuple[int, Example]]:
    """Some rows of a stream, with their numbers, from the beginnings of a few shards; such as stand in for a split that it lacks.

    Args:
        stream: of which nothing is shuffled.
        rows: at most.
        seed: of the shards.
    """
    shards = Shards(stream)
    order = random.Random(seed).sample(range(len(shards)), len(shards))
    each = -(-rows // min(len(shards), SPREAD))
    found = (pair for shard in order for pair in islice(shards.examples(shard), each))
    return [(number, shards.whole(example)) for number, example in islice(found, rows)]
