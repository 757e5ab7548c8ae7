"""Fills a shelf with what a run lacks: each process computes its share, tells the others, and the first of each machine writes it down.

What is computed of images and texts is in `cache` and `decoded`.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore
from cliptune.data.kept.table import RowTable
from cliptune.distributed import gathered, rank, world
from cliptune.errors import DataError
from cliptune.launcher import leads_machine

log = logging.getLogger(__name__)

APPEND = 2048  # rows computed before they are written down, so that a killed run loses few
ROUND = 2**26  # bytes of them at most: what waits in a memory, and what a process tells the others at a time
RATE = "seconds_per_item"
LOST = np.bytes_(b"")  # the digest of what could not be read at all


@dataclass(frozen=True)
class Encoder:
    """A frozen tower, its first blocks, or the decoding alone, and all that its rows depend on beside the items."""

    about: dict[str, Any]  # backbone, tower, weights, preprocessing, precision
    encode: Callable[[Tensor], Tensor]  # images [B, 3, h, w], tokens [N, L], or what else the batches hold -> [B, *shape]
    shape: tuple[int, ...]
    key: str = "image_rows"  # of the batch: what is given
    dtype: str = "float32"  # of the rows, one of the store's

    @property
    def gives(self) -> str:
        """What the rows are, in words."""
        return "the pixels" if self.key == "pixels" else f"the {self.about['tower']} tower's rows"


class Part(NamedTuple):
    """Some items, as an encoder takes them."""

    numbers: np.ndarray  # [B]
    inputs: Tensor  # [B, ...]
    bad: dict[int, str]  # the numbers of those that cannot be read, whose inputs are not theirs, and why


def fill(
    store: RowStore,
    encoder: Encoder,
    view: dict[str, Any],
    digests: np.ndarray,
    parts: Callable[[np.ndarray], Iterable[Part]],
    what: str,
) -> tuple[RowTable | None, dict[int, str]]:
    """Give the rows of all items, those that are missing computed by all processes, and written by the first of each machine.

    Args:
        store: where they are kept.
        encoder: computes them.
        view: what they depend on beside what the encoder says.
        digests: [N] of S16, of the items' content; `LOST` for an item that is not there.
        parts: from the numbers of items to their inputs.
        what: the items, for messages.

    Returns:
        The rows, or None where they cannot be kept; and the numbers of items that cannot be read, and why. The row of such an item, or
        of one that is not there, is another item's.
    """
    shelf = store.shelf({**encoder.about, **view}, encoder.shape, encoder.dtype)
    began, alone, leads = time.perf_counter(), world() == 1, leads_machine()
    bad: dict[int, str] = {}
    with shelf.lock() if alone else nullcontext():  # held all the time only where no other process waits for what this one says
        with shelf.lock() if leads and not alone else nullcontext():
            lacking = shelf.missing(digests) if leads else np.empty(0, dtype=np.int64)
            lacking = lacking[digests[lacking] != LOST]
            room = not len(lacking) or store.make_room(len(lacking) * shelf.row_bytes)
        missing = np.unique(np.concatenate(gathered([lacking])))
        if not all(gathered([room])):
            return None, {}
        own = missing[rank() :: world()]
        found = _computed(encoder, parts(own) if len(own) else (), len(own), _round(shelf.row_bytes), bad)
        if not _shared(shelf, digests, leads, found):
            return None, {}
    bad = _of_all(bad, digests)
    with shelf.lock():
        seconds = time.perf_counter() - began
        if len(missing):
            _note_rate(shelf.folder, seconds * world() / len(missing))
        table = _table(shelf, digests, bad)
    if not all(gathered([table is not None])):
        return None, {}
    saved = len(digests) * _rate(shelf.folder) / world()
    done = f"{len(missing):,} computed in {seconds:.1f} s" if len(missing) else "all there already"
    log.info(f"cached: {encoder.gives} of {len(digests):,} {what}, {done}; saves about {saved:.1f} s a pass")
    return table, bad


def _round(row_bytes: int) -> int:
    """Rows of a round: few enough for a memory and a network."""
    return max(min(APPEND, ROUND // row_bytes), 1)


def _computed(
    encoder: Encoder, parts: Iterable[Part], count: int, most: int, bad: dict[int, str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Items' numbers and their rows, `most` or somewhat more at a time; those that cannot be read go into `bad`."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=rank() > 0 or not sys.stdout.isatty()) as progress:
        task = progress.add_task(encoder.gives, total=count)
        for numbers, inputs, unread in parts:
            with torch.inference_mode():
                rows = encoder.encode(inputs).to(getattr(torch, encoder.dtype)).cpu().numpy()
            if rows.shape[1:] != encoder.shape or len(rows) != len(numbers):
                raise DataError(f"the tower gives rows {rows.shape[1:]}, not {encoder.shape}. Set data.cache to false, and report this.")
            bad.update(unread)
            good = ~np.isin(numbers, list(unread))
            waiting.append((numbers[good], rows[good]))
            progress.advance(task, len(numbers))
            if sum(len(part) for part, _ in waiting) >= most:
                yield _joined(waiting)
                waiting.clear()
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    numbers, rows = zip(*parts, strict=True)
    return np.concatenate(numbers), np.concatenate(rows)


def _shared(shelf: Shelf, digests: np.ndarray, leads: bool, found: Iterator[tuple[np.ndarray, np.ndarray]]) -> bool:
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


def _of_all(bad: dict[int, str], digests: np.ndarray) -> dict[int, str]:
    """What cannot be read, as all processes found it, and all that has the same content: only the first of those was tried."""
    why = {digests[number]: reason for found in gathered([bad]) for number, reason in found.items()}
    return {int(i): why[digests[i]] for i in np.flatnonzero(np.isin(digests, list(why)))} if why else {}


def _table(shelf: Shelf, digests: np.ndarray, bad: dict[int, str]) -> RowTable | None:
    """The rows of all items; None where there are none, or another program has thrown some out in between."""
    good = digests != LOST
    good[list(bad)] = False
    if not good.any() or len(shelf.missing(digests[good])):
        return None
    return shelf.table(np.where(good, digests, digests[np.argmax(good)]))


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
