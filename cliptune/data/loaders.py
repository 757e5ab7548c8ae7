"""From a data set to its loaders: in which order rows come, who decodes them, and who is told when a worker process dies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from cliptune.data.batches import Order
from cliptune.data.sampling import Sampling
from cliptune.data.streaming import Stream
from cliptune.data.workers import Marks, WatchedLoader
from cliptune.distributed import rank, world

if TYPE_CHECKING:
    from cliptune.data.images import ImageTextData

log = logging.getLogger(__name__)


KNOWN = 512  # rows of a batch of evaluation where frozen towers have seen all images


def loader(data: ImageTextData, split: str, shuffle: bool) -> DataLoader[Any]:
    """Batches of a split, under its view.

    Args:
        data: set up.
        split: train, validation or test.
        shuffle: rows of training in a new order each epoch, by the data's sampler; else all, in order.
    """
    seen = split in data.sights.seen and bool(data.sights.seen[split].tables)
    devices = data.trainer.num_devices if data.trainer is not None and data.options.workers is None else 1  # of this machine
    workers = 0 if seen else max(data.workers // devices, min(data.workers, 1))  # of what frozen towers have seen nothing is decoded
    marks = Marks(workers) if workers else None
    view = data.sights.train_view(marks) if split == "train" else data.sights.eval_view(split, marks)
    shared: dict[str, Any] = {
        "batch_size": None,  # what is loaded gives whole batches, so that a batch is one read
        "collate_fn": view,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator().manual_seed(data.options.seed),  # or each new loader would move the global state
    }
    share, done = (rank(), world()), data.first_batch if shuffle else 0
    if split == "train" and data.stream is not None:
        found = data.stream
        how = (data.batch_size, data.options.seed, data.options.shuffle_buffer, share, found.epoch_rows, found.rows)
        stream = Stream(found.stream, found.make, *how, data.first_epoch, done, held=found.held)
        batches = WatchedLoader(stream, marks=marks, describe=lambda number: f"example {number} of {data.paths[0]}", **shared)
        batches.sampler.set_epoch = stream.set_epoch  # type: ignore[attr-defined]  # Lightning tells samplers alone
        return batches
    rows = data.rows(split, images=not (seen or (split == "train" and data.sights.decoded is not None)))
    draw = sampling(data) if shuffle else None
    count = len(rows) if draw is None else len(draw)
    known = split != "train" and seen and data.sights.seen[split].key == "image_rows" and _unlimited(data)
    size = max(data.batch_size, KNOWN) if known else data.batch_size  # a batch of rows costs as much as one row
    order = Order(count, size, shuffle, data.options.seed, data.first_epoch, share, done, draw)
    return WatchedLoader(rows, sampler=order, marks=marks, describe=lambda number: rows[[(0, number)]][0][2].key, **shared)


def _unlimited(data: ImageTextData) -> bool:
    """Whether evaluation sees whole splits: so many batches of one would else be of more images than those of another."""
    if data.trainer is None:
        return True
    limits = (data.trainer.limit_val_batches, data.trainer.limit_test_batches)
    return all(isinstance(limit, float) and limit == 1.0 for limit in limits)  # the whole number 1 is one batch


def sampling(data: ImageTextData) -> Sampling | None:
    """Which rows an epoch of training has, and in which order; None for each once, at random."""
    options, splits = data.options, data.splits["train"]
    shares = data.gathered.weights if data.gathered is not None else None
    if options.sampler == "shuffle" and shares is None:
        return None
    labels, weights = None, None
    if options.sampler in ("balanced", "distinct", "pk"):
        known = dict.fromkeys(label for split in splits if split.labels for label in split.labels.distinct())
        number = {label: i for i, label in enumerate(known)}  # training may know more classes than evaluation
        labels = _joined([split.labels.codes(number) if split.labels else np.full(len(split), -1) for split in splits])
    if options.sampler == "weighted":
        weights = _joined([split.weights() for split in splits])
    how = (options.sampler, data.batch_size * world(), options.classes_per_batch, options.images_per_class, options.seed)
    made = Sampling([len(split) for split in splits], shares, labels, weights, *how)
    if made.note and made.note not in data.notes:
        data.notes.append(made.note)
        log.info(made.note)
    return made


def _joined(parts: list[Any]) -> Any:
    """What the sources say of their rows, one after another: arrays, or lists of one array a row; None where one says nothing."""
    if any(part is None for part in parts):
        return None
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return [row if isinstance(row, np.ndarray) else np.array([row] if row >= 0 else []) for part in parts for row in part]
