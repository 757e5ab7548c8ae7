"""What a frozen tower gives is computed once: rows of images and texts, or what enters its first block that learns, kept in a `RowStore`.

A row is found again by the content of the image or text, so that other runs, methods, seeds and splits share it. An image that cannot be
read costs no run: it is named, and the others have their rows.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from cliptune.data.bad import Bad, Item, readable
from cliptune.data.batches import Rows
from cliptune.data.kept.filling import APPEND, LOST, Part, fill
from cliptune.data.kept.filling import Encoder as Encoder
from cliptune.data.kept.store import RowStore, digest, digests_of
from cliptune.data.kept.table import RowTable
from cliptune.data.split import Row
from cliptune.data.views import ImageView, content
from cliptune.data.workers import NONE, Marks, WatchedLoader
from cliptune.distributed import gathered, rank, world
from cliptune.preprocess import Preprocess

log = logging.getLogger(__name__)

IMAGES, TEXTS = 64, 256  # of a batch
READERS = 8  # threads that read and hash images
AT_ONCE = 32  # images that a thread takes at a time


class ImageTables(list[RowTable]):
    """The rows of a split's images, a table for each view; empty where nothing is kept.

    Args:
        tables: of the views.
        bad: by their numbers the images that cannot be read, and why. In the tables their rows are another image's.
    """

    def __init__(self, tables: Sequence[RowTable] = (), bad: dict[int, str] | None = None) -> None:
        super().__init__(tables)
        self.bad = bad or {}


class TextTable:
    """Rows by the text itself."""

    def __init__(self, table: RowTable, texts: Sequence[str]) -> None:
        self.table, self.number = table, {text: i for i, text in enumerate(texts)}

    def __getitem__(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of N texts."""
        return self.table[[self.number[text] for text in texts]]


class Collate(Protocol):
    """From items to a batch, with what cannot be read as its `bad`."""

    marks: Marks  # of the row that each worker is at

    def __call__(self, items: list[Item]) -> dict[str, Any]:
        """Read the items."""
        ...


class Images:
    """Collates images alone, under one view, for a tower to see them once; what cannot be read is named in `bad`.

    Args:
        view: how images are seen.
        k: the number of the view.
        workers: processes that collate.
    """

    def __init__(self, view: ImageView, k: int, workers: int) -> None:
        self.view, self.k, self.marks = view, k, Marks(workers)

    def __call__(self, items: list[Item]) -> dict[str, Any]:
        """Decode, transform, stack."""
        blank = torch.zeros(3, *self.view.preprocess.size, dtype=torch.uint8)
        images, _, bad = readable(items, self._see, "", lambda: blank)
        self.marks.at(NONE)
        return {"images": torch.stack(images), "bad": bad}

    def _see(self, item: Item) -> Tensor:
        _, number, row = item
        self.marks.at(number)
        return self.view(self.k, number, row, np.random.default_rng(0))  # not drawn from: no view here is fresh


def image_tables(store: RowStore, encoder: Encoder, rows: Rows, view: ImageView, workers: int, most_gb: float) -> ImageTables:
    """Give what a frozen tower says of a split's images, a table for each view.

    Args:
        store: where it is kept.
        encoder: of images.
        rows: of the split.
        view: how images are seen.
        workers: processes that decode.
        most_gb: GB that what enters a block may take; rows are small, and only the store's limit counts.

    Returns:
        The tables; none where views are fresh, or there is no room.
    """
    if view.views == "fresh":
        return ImageTables()
    count = max(int(view.views), 1)
    size = 4e-9 * len(rows) * count * prod(encoder.shape)
    if encoder.key == "image_inner" and size > most_gb:
        log.info(f"not cached: what enters the first block that learns takes {size:.1f} GB, more than data.activations_gb, {most_gb:g}")
        return ImageTables()
    digests, bad = image_digests(rows)
    tables = []
    for k in range(count):
        parts = partial(image_parts, rows, Images(view, k, workers), "images", workers)
        table, unread = fill(store, encoder, view.about(k), digests, parts, "images")
        if table is None:
            return ImageTables()
        tables.append(table)
        bad |= unread
        digests[list(unread)] = LOST  # the next views need not try again
    return ImageTables(tables, bad)


def image_parts(rows: Rows, collate: Collate, key: str, workers: int, numbers: np.ndarray) -> Iterator[Part]:
    """Read images in worker processes.

    Args:
        rows: of the split.
        collate: from items to a batch.
        key: of the batch: the encoder's inputs.
        workers: how many.
        numbers: [N], of the images.
    """
    shares = np.array_split(numbers, -(-len(numbers) // IMAGES))
    places: Any = [[(0, int(i)) for i in share] for share in shares]
    watched: Any = {"marks": collate.marks, "describe": lambda number: rows[[(0, number)]][0][2].key}
    loader = WatchedLoader(rows, batch_size=None, sampler=places, collate_fn=collate, num_workers=workers, **watched)
    for share, batch in zip(shares, loader, strict=True):
        yield Part(share, batch[key], {one.number: one.reason for one in batch["bad"]})


def text_table(store: RowStore, encoder: Encoder, texts: Sequence[str], preprocess: Preprocess) -> TextTable | None:
    """Give the rows of texts, or None where there is no room for them."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return None

    def parts(missing: np.ndarray) -> Iterator[Part]:
        for share in np.array_split(missing, -(-len(missing) // TEXTS)):
            yield Part(share, preprocess.tokenize([distinct[i] for i in share]), {})

    table, _ = fill(store, encoder, {"view": "text"}, digests_of(text.encode() for text in distinct), parts, "texts")
    return None if table is None else TextTable(table, distinct)


def all_texts(rows: Rows, options: Callable[[Row], list[str]]) -> list[str]:
    """Every text that a split's rows may be given with, once."""
    found: dict[str, None] = {}
    for start in range(0, len(rows), APPEND):
        for _, _, row in rows[[(0, i) for i in range(start, min(start + APPEND, len(rows)))]]:
            found.update(dict.fromkeys(options(row)))
    return list(found)


def image_digests(rows: Rows, look: Callable[[bytes], None] | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """Give the digests of the bytes of a split's image files, of which each process reads its share.

    Args:
        rows: of the split.
        look: is shown the bytes of each file that this process reads, from several threads.

    Returns:
        [N] of S16, `LOST` for a file that is not there; and the numbers of those, and why.
    """
    own = np.arange(rank(), len(rows), world())
    found: list[bytes] = []
    lost: dict[int, str] = {}
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(own), APPEND):
            items = rows[[(0, int(i)) for i in own[start : start + APPEND]]]
            digests, unread = _digests(pool, items, look)
            found += digests
            lost |= {one.number: one.reason for one in unread}
    whole = np.full(len(rows), LOST, dtype="S16")
    for i, part in enumerate(gathered([np.array(found, dtype="S16")])):
        whole[i :: world()] = part
    return whole, {number: why for part in gathered([lost]) for number, why in part.items()}


def _digests(pool: Executor, items: list[Item], look: Callable[[bytes], None] | None) -> tuple[list[bytes], list[Bad]]:
    def read(item: Item) -> bytes:
        data = content(item[2])
        if look is not None:
            look(data)
        return digest(data)

    def share(start: int) -> tuple[list[bytes], list[Bad]]:  # a task for each image would take longer than reading a small one
        digests, _, unread = readable(items[start : start + AT_ONCE], read, "", lambda: bytes(LOST))
        return digests, unread

    parts = list(pool.map(share, range(0, len(items), AT_ONCE)))
    return [one for digests, _ in parts for one in digests], [one for _, unread in parts for one in unread]
