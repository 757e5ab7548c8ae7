"""What a frozen tower gives is computed once: rows of images and texts, or what enters its first block that learns, kept in a `RowStore`.

A row is found again by the content of the image or text, so that other runs, methods, seeds and splits share it.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from cliptune.data.batches import Rows
from cliptune.data.columns import Row
from cliptune.data.store import RowStore, digest, digests_of
from cliptune.data.table import RowTable
from cliptune.data.views import Images, ImageView, content
from cliptune.distributed import gathered, rank, world
from cliptune.errors import DataError
from cliptune.launcher import leads_machine
from cliptune.preprocess import Preprocess

log = logging.getLogger(__name__)

APPEND = 2048  # rows computed before they are written down, so that a killed run loses few
IMAGES, TEXTS = 64, 256  # of a batch
READERS = 8  # threads that read and hash images
ROUND = 2**26  # bytes that a process tells the others at a time
RATE = "seconds_per_item"


@dataclass(frozen=True)
class Encoder:
    """A frozen tower, or its first blocks, and all that its rows depend on beside the items."""

    about: dict[str, Any]  # backbone, tower, weights, preprocessing, precision
    encode: Callable[[Tensor], Tensor]  # images [B, 3, h, w] or tokens [N, L] -> [B, *shape]
    shape: tuple[int, ...]
    key: str = "image_rows"  # of the batch: what is given


class TextTable:
    """Rows by the text itself."""

    def __init__(self, table: RowTable, texts: Sequence[str]) -> None:
        self.table, self.number = table, {text: i for i, text in enumerate(texts)}

    def __getitem__(self, texts: Sequence[str]) -> Tensor:
        """[N, D] of N texts."""
        return self.table[[self.number[text] for text in texts]]


def image_tables(store: RowStore, encoder: Encoder, rows: Rows, view: ImageView, workers: int, most_gb: float) -> list[RowTable]:
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
        return []
    count = max(int(view.views), 1)
    size = 4e-9 * len(rows) * count * prod(encoder.shape)
    if encoder.key == "image_inner" and size > most_gb:
        log.info(f"not cached: what enters the first block that learns takes {size:.1f} GB, more than data.activations_gb, {most_gb:g}")
        return []
    digests = _image_digests(rows)
    tables = [_image_table(store, encoder, rows, digests, view, k, workers) for k in range(count)]
    return [table for table in tables if table is not None] if all(table is not None for table in tables) else []


def _image_table(
    store: RowStore, encoder: Encoder, rows: Rows, digests: np.ndarray, view: ImageView, k: int, workers: int
) -> RowTable | None:
    def batches(missing: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        parts = np.array_split(missing, -(-len(missing) // IMAGES))
        places: Any = [[(0, int(i)) for i in part] for part in parts]
        loader: Any = DataLoader(rows, batch_size=None, sampler=places, collate_fn=Images(view, k), num_workers=workers)
        for part, batch in zip(parts, loader, strict=True):
            yield part, batch["images"]

    return _table(store, encoder, view.about(k), digests, batches, "images")


def text_table(store: RowStore, encoder: Encoder, texts: Sequence[str], preprocess: Preprocess) -> TextTable | None:
    """Give the rows of texts, or None where there is no room for them."""
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return None

    def batches(missing: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        for part in np.array_split(missing, -(-len(missing) // TEXTS)):
            yield part, preprocess.tokenize([distinct[i] for i in part])

    table = _table(store, encoder, {"view": "text"}, digests_of(text.encode() for text in distinct), batches, "texts")
    return None if table is None else TextTable(table, distinct)


def all_texts(rows: Rows, options: Callable[[Row], list[str]]) -> list[str]:
    """Every text that a split's rows may be given with, once."""
    found: dict[str, None] = {}
    for start in range(0, len(rows), APPEND):
        for _, _, row in rows[[(0, i) for i in range(start, min(start + APPEND, len(rows)))]]:
            found.update(dict.fromkeys(options(row)))
    return list(found)


def _image_digests(rows: Rows) -> np.ndarray:
    """[N] of S16: the digests of the bytes of a split's image files, of which each process reads its share."""
    own = list(range(rank(), len(rows), world()))
    with ThreadPoolExecutor(READERS) as pool:
        found: list[bytes] = []
        for start in range(0, len(own), APPEND):
            items = rows[[(0, i) for i in own[start : start + APPEND]]]
            found += pool.map(lambda item: digest(content(item[2])), items)
    whole = np.empty(len(rows), dtype="S16")
    for i, part in enumerate(gathered([np.array(found, dtype="S16")])):
        whole[i :: world()] = part
    return whole


def _table(
    store: RowStore,
    encoder: Encoder,
    view: dict[str, Any],
    digests: np.ndarray,
    batches: Callable[[np.ndarray], Iterable[tuple[np.ndarray, Tensor]]],
    what: str,
) -> RowTable | None:
    """The rows of all items, those that are missing computed by all processes, and written by the first of each machine."""
    shelf = store.shelf({**encoder.about, **view}, encoder.shape)
    began, alone, leads = time.perf_counter(), world() == 1, leads_machine()
    with shelf.lock() if alone else nullcontext():  # held all the time only where no other process waits for what this one says
        with shelf.lock() if leads and not alone else nullcontext():
            lacking = shelf.missing(digests) if leads else np.empty(0, dtype=np.int64)
            room = not len(lacking) or store.make_room(len(lacking) * shelf.row_bytes)
        missing = np.unique(np.concatenate(gathered([lacking])))
        if not all(gathered([room])):
            return None
        own = missing[rank() :: world()]
        found = _computed(encoder, batches(own) if len(own) else (), len(own), f"{encoder.about['tower']} rows", _round(shelf.row_bytes))
        if not _shared(shelf, digests, leads, found):
            return None
    with shelf.lock():
        seconds = time.perf_counter() - began
        if len(missing):
            _note_rate(shelf.folder, seconds * world() / len(missing))
        table = None if len(shelf.missing(digests)) else shelf.table(digests)  # unless another program has thrown some out in between
    if not all(gathered([table is not None])):
        return None
    saved = len(digests) * _rate(shelf.folder) / world()
    done = f"{len(missing):,} computed in {seconds:.1f} s" if len(missing) else "all there already"
    log.info(f"cached: the {encoder.about['tower']} tower's rows of {len(digests):,} {what}, {done}; saves about {saved:.1f} s a pass")
    return table


def _round(row_bytes: int) -> int:
    """Rows of a round: few enough for a memory and a network, where each process tells all others."""
    return APPEND if world() == 1 else max(min(APPEND, ROUND // row_bytes), 1)


def _computed(encoder: Encoder, batches: Any, count: int, title: str, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Items' numbers and their rows, `most` or somewhat more at a time."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=rank() > 0 or not sys.stdout.isatty()) as progress:
        task = progress.add_task(title, total=count)
        for numbers, inputs in batches:
            with torch.inference_mode():
                rows = encoder.encode(inputs).float().cpu().numpy()
            if rows.shape[1:] != encoder.shape or len(rows) != len(numbers):
                raise DataError(f"the tower gives rows {rows.shape[1:]}, not {encoder.shape}. Set data.cache to false, and report this.")
            waiting.append((numbers, rows))
            progress.advance(task, len(numbers))
            if sum(len(part) for part, _ in waiting) >= most:
                yield _joined(waiting)
                waiting.clear()
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    numbers, rows = zip(*parts, strict=True)
    return np.concatenate(numbers), np.concatenate(rows)


def _shared(shelf: Any, digests: np.ndarray, leads: bool, found: Iterator[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Tell all processes what each has computed; the first of each machine appends. False where a disk takes no more."""
    while True:
        parts = [part for part in gathered([next(found, None)]) if part is not None]
        if not parts:
            return True
        kept = True
        if leads:
            numbers, rows = _joined(parts)
            with shelf.lock() if world() > 1 else nullcontext():
                ours = shelf.missing(digests[numbers])  # another machine may have the same disk
                kept = not len(ours) or bool(shelf.append(digests[numbers[ours]], rows[ours]))
        if not all(gathered([kept])):
            return False


def _note_rate(folder: Path, seconds: float) -> None:
    """Write down how long an item took, for who finds its row later."""
    try:
        (folder / RATE).write_text(f"{seconds:.6g}", encoding="ascii")
    except OSError:
        return


def _rate(folder: Path) -> float:
    try:
        return float((folder / RATE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
