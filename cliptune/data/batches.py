"""From rows to batches: which rows, in which order, seen how.

All randomness is a function of (seed, epoch, row), so a run that was killed and resumed sees what it would have seen.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cliptune.data.columns import Row, Split
from cliptune.images import decode
from cliptune.preprocess import Preprocess

Place = tuple[int, int]  # (epoch, row)


class Batch(TypedDict, total=False):
    """What a step sees."""

    images: Tensor  # [B, 3, h, w], uint8
    label: Tensor  # [B], -1 where not known
    tokens: Tensor  # [U, L], each distinct text of the batch once
    text: Tensor  # [B], training: the row of `tokens` that is the image's text
    owner: Tensor  # [U], evaluation: the image in 0..B-1 that each row of `tokens` belongs to
    identity: Tensor  # [B, 3], training: see objectives.IDENTITIES
    row: Tensor  # [B], the place in the table


class Rows(Dataset[list[tuple[int, int, Row]]]):
    """The rows of one or more splits, one after another; read a batch at a time."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self.splits = splits
        self.ends = np.cumsum([len(split) for split in splits])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, places: list[Place]) -> list[tuple[int, int, Row]]:
        """Fetch (epoch, row number, row) for each place, with one read per split."""
        found: dict[int, Row] = {}
        numbers = np.array([row for _, row in places])
        which = np.searchsorted(self.ends, numbers, side="right")
        for i in np.unique(which):
            chosen = numbers[which == i]
            start = int(self.ends[i]) - len(self.splits[i])
            for number, row in zip(chosen, self.splits[i].read([int(n) - start for n in chosen]), strict=True):
                found[int(number)] = row
        return [(epoch, row, found[row]) for epoch, row in places]


class Order(Sampler[list[Place]]):
    """Batches of (epoch, row).

    Args:
        rows: how many there are.
        batch_size: rows of a batch.
        shuffle: a new order each epoch, by the seed; and the last, smaller batch is left out.
        seed: of the order.
        epoch: the first one. Lightning tells of the next ones, but of a resumed run's first only after workers have begun on it.
    """

    def __init__(self, rows: int, batch_size: int, shuffle: bool, seed: int, epoch: int = 0) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed, self.epoch = rows, batch_size, shuffle, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.batch_size if self.shuffle else -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[list[Place]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows) if self.shuffle else np.arange(self.rows)
        for i in range(len(self)):
            yield [(self.epoch, int(row)) for row in order[i * self.batch_size : (i + 1) * self.batch_size]]


class TrainView:
    """Collates a training batch: one augmented image and one text of each row.

    Args:
        preprocess: the backbone's.
        class_number: from label to class, for what has classes.
        class_texts: the texts of each class, one per template.
        texts: whether texts are wanted at all.
        scale: see `Preprocess.train`.
        flip: see `Preprocess.train`.
        seed: of every draw.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        class_number: dict[str, int],
        class_texts: list[list[str]],
        texts: bool,
        scale: tuple[float, float],
        flip: float,
        seed: int,
    ) -> None:
        self.preprocess, self.class_number, self.class_texts = preprocess, class_number, class_texts
        self.texts, self.scale, self.flip, self.seed = texts, scale, flip, seed

    def __call__(self, items: list[tuple[int, int, Row]]) -> Batch:
        """Decode, augment, draw texts, stack."""
        images, texts, identity = [], [], []
        for epoch, number, row in items:
            rng = np.random.default_rng((self.seed, epoch, number))
            images.append(self.preprocess.train(decode(row.image, row.key), rng, self.scale, self.flip))
            if self.texts:
                options = row.captions or self.class_texts[self.class_number[str(row.label)]]
                texts.append(options[rng.integers(len(options))])
                label = _number(row.label) if row.label in self.class_number else -1  # type: ignore[arg-type]
                identity.append([label, _number(texts[-1]), _number(row.key)])
        batch = Batch(images=torch.stack(images), label=_labels(items, self.class_number), row=torch.tensor([n for _, n, _ in items]))
        if self.texts:
            distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            batch["tokens"] = self.preprocess.tokenize(list(distinct))
            batch["text"] = torch.tensor([distinct[text] for text in texts])
            batch["identity"] = torch.tensor(identity)
        return batch


class EvalView:
    """Collates a batch of evaluation: the model's own view of each image, and all of its captions."""

    def __init__(self, preprocess: Preprocess, class_number: dict[str, int], captions: bool) -> None:
        self.preprocess, self.class_number, self.captions = preprocess, class_number, captions

    def __call__(self, items: list[tuple[int, int, Row]]) -> Batch:
        """Decode, transform, tokenize, stack."""
        images = [self.preprocess.eval(decode(row.image, row.key)) for _, _, row in items]
        batch = Batch(images=torch.stack(images), label=_labels(items, self.class_number), row=torch.tensor([n for _, n, _ in items]))
        if self.captions:
            batch["tokens"] = self.preprocess.tokenize([text for _, _, row in items for text in row.captions])
            batch["owner"] = torch.tensor([i for i, (_, _, row) in enumerate(items) for _ in row.captions])
        return batch


def _labels(items: list[tuple[int, int, Row]], class_number: dict[str, int]) -> Tensor:
    return torch.tensor([class_number.get(str(row.label), -1) for _, _, row in items])


def _number(text: str) -> int:
    """The same number in every process for the same text; 62 bits, never negative."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
