"""How rows are seen: from rows to a batch of training or evaluation, each image under its view, texts as tokens or as known rows.

All randomness is a function of (seed, epoch, row), so a run that was killed and resumed sees what it would have seen.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.data.batches import FILL, Batch
from cliptune.data.columns import Row
from cliptune.data.negatives import swaps
from cliptune.errors import DataError
from cliptune.images import decode
from cliptune.preprocess import Preprocess


class Seen:
    """What a frozen tower gives for a split, instead of images or texts.

    Args:
        key: `image_rows` or `image_inner`.
        tables: by view of an image; epochs take turns. Each from row number to [...].
        texts: from texts to [N, D], or None.
    """

    def __init__(self, key: str = "image_rows", tables: Sequence[Any] = (), texts: Any = None) -> None:
        self.key, self.tables, self.texts = key, tables, texts

    def images(self, batch: Batch, items: list[tuple[int, int, Row]]) -> Batch:
        """Put the images' part into the batch."""
        batch[self.key] = self.tables[items[0][0] % len(self.tables)][[number for _, number, _ in items]]  # type: ignore[literal-required]
        return batch

    def put_texts(self, batch: Batch, texts: list[str], preprocess: Preprocess) -> None:
        """Put the rows or the tokens of texts into the batch."""
        if self.texts is None:
            batch["tokens"] = preprocess.tokenize(texts)
        else:
            batch["text_rows"] = self.texts[texts]


class ImageView:
    """What is done to an image before a tower sees it.

    Args:
        preprocess: the backbone's.
        views: how many; `fresh` for a new one each epoch, 0 for the one of evaluation, K for that many, drawn once by the image's content.
        scale: see `Preprocess.train`.
        flip: see `Preprocess.train`.
        seed: of every draw.
    """

    def __init__(self, preprocess: Preprocess, views: int | str, scale: tuple[float, float], flip: float, seed: int) -> None:
        self.preprocess, self.views, self.scale, self.flip, self.seed = preprocess, views, scale, flip, seed

    def __call__(self, epoch: int, row: Row, rng: np.random.Generator) -> Tensor:
        """[3, h, w], uint8; only a fresh view draws from `rng`."""
        data = content(row)
        image = decode(data, row.key)
        if self.views == 0:
            return self.preprocess.eval(image)
        if self.views != "fresh":
            draw = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
            rng = np.random.default_rng((self.seed, epoch % int(self.views), draw))
        return self.preprocess.train(image, rng, self.scale, self.flip)

    def about(self, k: int) -> dict[str, Any]:
        """What view k depends on beside the image, as plain data."""
        if self.views == 0:
            return {"view": "evaluation"}
        return {"view": k, "seed": self.seed, "crop_scale": list(self.scale), "flip": self.flip}


class Images:
    """Collates images alone, under one view, for a tower to see them once."""

    def __init__(self, view: ImageView, k: int) -> None:
        self.view, self.k = view, k

    def __call__(self, items: list[tuple[int, int, Row]]) -> Batch:
        """Decode, transform, stack."""
        rng = np.random.default_rng(0)  # not drawn from: no view here is fresh
        return Batch(images=torch.stack([self.view(self.k, row, rng) for _, _, row in items]))


class TrainView:
    """Collates a training batch: one augmented image and one text of each row.

    Args:
        image_view: how images are seen.
        class_number: from label to class, for what has classes.
        class_texts: the texts of each class, one per template.
        texts: whether texts are wanted at all.
        seen: what frozen towers give instead.
        swaps: hard negatives made of each text.
    """

    def __init__(
        self,
        image_view: ImageView,
        class_number: dict[str, int],
        class_texts: list[list[str]],
        texts: bool,
        seen: Seen | None = None,
        swaps: int = 0,
    ) -> None:
        self.image_view, self.class_number, self.class_texts = image_view, class_number, class_texts
        self.texts, self.seen, self.swaps = texts, seen or Seen(), swaps

    def options(self, row: Row) -> list[str]:
        """The texts that may be drawn for a row."""
        return row.captions or self.class_texts[self.class_number[str(row.label)]]

    def every_text(self, row: Row) -> list[str]:
        """All texts that a row may be given with, and their negatives."""
        options = self.options(row)
        return [*options, *(text for option in options for text in self.negatives(row, option))]

    def negatives(self, row: Row, text: str) -> list[str]:
        """The texts that are not the row's, though much like its text: the data's own, and swaps, the same for the same text."""
        made = swaps(text, self.swaps, np.random.default_rng((self.image_view.seed, _number(text)))) if self.swaps else []
        return [*row.negatives, *made]

    def __call__(self, items: list[tuple[int, int, Row]]) -> Batch:
        """Decode, augment, draw texts, stack."""
        images, texts, identity = [], [], []
        negatives: list[str] = []
        for epoch, number, row in items:
            epoch = max(epoch, 0)  # of what only fills a batch, where all rows are wanted once
            rng = np.random.default_rng((self.image_view.seed, epoch, number))
            if not self.seen.tables and not isinstance(row.image, np.ndarray):
                images.append(self.image_view(epoch, row, rng))
            if self.texts:
                options = self.options(row)
                texts.append(options[rng.integers(len(options))])
                negatives += self.negatives(row, texts[-1])
                label = _number(row.label) if row.label in self.class_number else -1  # type: ignore[arg-type]
                identity.append([label, _number(texts[-1]), _number(row.key)])
        batch = _numbers(items, self.class_number)
        if self.seen.tables:
            self.seen.images(batch, items)
        elif images:
            batch["images"] = torch.stack(images)
        else:
            batch["image_rows"] = _unit(items)
        if self.texts:
            distinct = {text: i for i, text in enumerate(dict.fromkeys([*texts, *negatives]))}
            self.seen.put_texts(batch, list(distinct), self.image_view.preprocess)
            batch["text"] = torch.tensor([distinct[text] for text in texts])
            batch["identity"] = torch.tensor(identity)
            if self.swaps or any(row.negatives for _, _, row in items):
                batch["negative"] = torch.tensor([distinct[text] for text in negatives], dtype=torch.long)
                batch["negative_identity"] = torch.tensor([_number(text) for text in negatives], dtype=torch.long)
        return batch


class EvalView:
    """Collates a batch of evaluation: the model's own view of each image, and all of its captions."""

    def __init__(self, preprocess: Preprocess, class_number: dict[str, int], captions: bool, seen: Seen | None = None) -> None:
        self.preprocess, self.class_number, self.captions, self.seen = preprocess, class_number, captions, seen or Seen()

    def __call__(self, items: list[tuple[int, int, Row]]) -> Batch:
        """Decode, transform, tokenize, stack."""
        batch = _numbers(items, self.class_number)
        if self.seen.tables:
            self.seen.images(batch, items)
        elif isinstance(items[0][2].image, np.ndarray):
            batch["image_rows"] = _unit(items)
        else:
            batch["images"] = torch.stack([self.preprocess.eval(decode(row.image, row.key)) for _, _, row in items])  # type: ignore[arg-type]
        if self.captions:
            said = [(i, text) for i, (epoch, _, row) in enumerate(items) if epoch != FILL for text in row.captions]
            said = said or [(0, items[0][2].captions[0])]  # a batch of nothing but filling still needs a text; image -1 owns it
            self.seen.put_texts(batch, [text for _, text in said], self.preprocess)
            batch["owner"] = torch.tensor([i for i, _ in said])
        return batch


def content(row: Row) -> bytes:
    """The bytes of the row's image file, or of its vector.

    Raises:
        DataError: it is missing.
    """
    if isinstance(row.image, (bytes, np.ndarray)):
        return bytes(row.image)
    try:
        return Path(row.image).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the image {row.image}: {error.strerror}.") from None


def _unit(items: list[tuple[int, int, Row]]) -> Tensor:
    """[B, D], of unit length, of rows that hold vectors."""
    return F.normalize(torch.from_numpy(np.stack([row.image for _, _, row in items])), dim=-1)  # type: ignore[arg-type]


def _numbers(items: list[tuple[int, int, Row]], class_number: dict[str, int]) -> Batch:
    """Each item's class and row; -1 for what only fills the batch."""
    label = [class_number.get(str(row.label), -1) if epoch != FILL else -1 for epoch, _, row in items]
    return Batch(label=torch.tensor(label), row=torch.tensor([number if epoch != FILL else -1 for epoch, number, _ in items]))


def _number(text: str) -> int:
    """The same number in every process for the same text; 62 bits, never negative."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
