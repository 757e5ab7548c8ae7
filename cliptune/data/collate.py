"""From rows to a batch: each image under its view, texts as tokens, or either as what a frozen tower has given before."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.data.bad import Bad, readable
from cliptune.data.batches import FILL, Batch
from cliptune.data.classes import as_words
from cliptune.data.seen import Item, Seen
from cliptune.data.split import Row
from cliptune.data.texts.long_text import LongText
from cliptune.data.texts.negatives import swaps
from cliptune.data.views import ImageView, with_bad
from cliptune.data.workers import NONE
from cliptune.preprocess import Preprocess


class TrainView:
    """Collates a training batch: one augmented image and one text of each row.

    Args:
        image_view: how images are seen.
        class_number: from label to class, for what has classes.
        templates: the texts around a class name, of sources that have none of their own.
        words: from label to the name that stands in texts.
        texts: whether texts are wanted at all.
        seen: what frozen towers give instead.
        swaps: hard negatives made of each text.
        long_text: what is done with texts that are longer than the context.
        several: whether images may have several labels.
        mark: told the number of each row before its image is decoded.
        descriptions: from label to the texts that stand in place of templates.
    """

    def __init__(
        self,
        image_view: ImageView,
        class_number: dict[str, int],
        templates: Sequence[str],
        words: dict[str, str],
        texts: bool,
        seen: Seen | None = None,
        swaps: int = 0,
        long_text: LongText | None = None,
        several: bool = False,
        mark: Callable[[int], None] | None = None,
        descriptions: dict[str, list[str]] | None = None,
    ) -> None:
        self.image_view, self.class_number, self.templates, self.words = image_view, class_number, templates, words
        self.texts, self.seen, self.swaps, self.long_text, self.several = texts, seen or Seen(), swaps, long_text, several
        self.mark, self.descriptions = mark, descriptions or {}

    def options(self, row: Row) -> list[str]:
        """The texts that may be drawn for a row."""
        if row.captions:
            return row.captions
        return [text for label in row.labels for text in self._of_label(label, row.templates)]

    def _of_label(self, label: str, own: Sequence[str]) -> list[str]:
        if label in self.descriptions and not own:
            return self.descriptions[label]
        word = self.words.get(label) or as_words(label)  # a stream has labels that nobody has seen before
        return [template.replace("{}", word) for template in own or self.templates]

    def every_text(self, row: Row) -> list[str]:
        """All texts that a row may be given with, in the pieces that they are seen in, and their negatives."""
        options = [choice for text in self.options(row) for choice in self._drawn_from(text)]
        negatives = [text for option in options for text in self.negatives(row, option)]
        return [piece for text in [*options, *negatives] for piece in self._pieces(text)]

    def _drawn_from(self, text: str) -> list[str]:
        """What may be drawn for one text."""
        return self.long_text.choices(text) if self.long_text is not None and self.long_text.how == "sample_sentence" else [text]

    def _pieces(self, text: str) -> list[str]:
        return self.long_text.choices(text) if self.long_text is not None and self.long_text.how == "split_mean" else [text]

    def draw(self, row: Row, rng: np.random.Generator) -> str:
        """A text of the row."""
        options = self.options(row)
        choices = self._drawn_from(options[rng.integers(len(options))])
        return choices[rng.integers(len(choices))] if len(choices) > 1 else choices[0]

    def negatives(self, row: Row, text: str) -> list[str]:
        """The texts that are not the row's, though much like its text: the data's own, and swaps, the same for the same text."""
        made = swaps(text, self.swaps, np.random.default_rng((self.image_view.seed, number_of(text)))) if self.swaps else []
        return [*row.negatives, *made]

    def _load(self, item: Item) -> tuple[Tensor | None, np.random.Generator | None]:
        """An item's image, where one is wanted, and what its text is drawn by."""
        epoch, number, row = item
        epoch = max(epoch, 0)  # of what only fills a batch, where all rows are wanted once
        self.seen.check(item)
        whole = self.seen.tables or isinstance(row.image, np.ndarray)
        rng = np.random.default_rng((self.image_view.seed, epoch, number)) if self.texts or not whole else None
        if rng is None or whole:
            return None, rng
        if self.mark is not None:
            self.mark(number)
        return self.image_view(epoch, number, row, rng), rng

    def __call__(self, items: list[Item]) -> Batch:
        """Decode, augment, draw texts, stack."""
        loaded, items, bad = readable(items, self._load, "train")
        batch = _begun(self, items, [image for image, _ in loaded if image is not None], bad)
        if self.texts:
            self._put_texts(batch, items, [rng for _, rng in loaded if rng is not None])
        return batch

    def _put_texts(self, batch: Batch, items: list[Item], rngs: list[np.random.Generator]) -> None:
        drawn: dict[tuple[int, int], str] = {}  # a row that stands for another has its text
        for (epoch, number, row), rng in zip(items, rngs, strict=True):
            if (epoch, number) not in drawn:
                drawn[epoch, number] = self.draw(row, rng)
        texts = [drawn[epoch, number] for epoch, number, _ in items]
        negatives = [text for (_, _, row), own in zip(items, texts, strict=True) for text in self.negatives(row, own)]
        distinct = {text: i for i, text in enumerate(dict.fromkeys([*texts, *negatives]))}
        self.seen.put_texts(batch, list(distinct), self.image_view.preprocess, self.long_text)
        batch["text"] = torch.tensor([distinct[text] for text in texts])
        batch["identity"] = torch.tensor([self._identity(row, text) for (_, _, row), text in zip(items, texts, strict=True)])
        if self.swaps or any(row.negatives for _, _, row in items):
            batch["negative"] = torch.tensor([distinct[text] for text in negatives], dtype=torch.long)
            batch["negative_identity"] = torch.tensor([number_of(text) for text in negatives], dtype=torch.long)

    def _identity(self, row: Row, text: str) -> list[int]:
        """What tells a positive: the labels, the text, the image."""
        known = sorted(label for label in row.labels if label in self.class_number)
        return [number_of("\0".join(known)) if known else -1, number_of(text), number_of(row.key)]


class EvalView:
    """Collates a batch of evaluation: the model's own view of each image, and all of its captions.

    Args:
        preprocess: the backbone's.
        class_number: from label to class.
        captions: whether they are wanted.
        seen: what frozen towers give instead.
        long_text: what is done with texts that are longer than the context.
        several: whether images may have several labels.
        mark: told the number of each row before its image is decoded.
        split: that the rows are of.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        class_number: dict[str, int],
        captions: bool,
        seen: Seen | None = None,
        long_text: LongText | None = None,
        several: bool = False,
        mark: Callable[[int], None] | None = None,
        split: str = "test",
    ) -> None:
        self.preprocess, self.split = preprocess, split
        self.class_number, self.captions, self.seen, self.long_text = class_number, captions, seen or Seen(), long_text
        self.view, self.several, self.mark = ImageView(preprocess, 0, None, None, 0), several, mark

    def _load(self, item: Item) -> Tensor | None:
        self.seen.check(item)
        if self.seen.tables or isinstance(item[2].image, np.ndarray):
            return None
        if self.mark is not None:
            self.mark(item[1])
        return self.view(0, item[1], item[2], np.random.default_rng(0))

    def __call__(self, items: list[Item]) -> Batch:
        """Decode, transform, tokenize, stack; what cannot be read counts for nothing."""
        images, items, bad = readable(items, self._load, self.split, lambda: torch.zeros(3, *self.preprocess.size, dtype=torch.uint8))
        batch = _begun(self, items, [image for image in images if image is not None], bad)
        if self.captions:
            said = [(i, text) for i, (epoch, _, row) in enumerate(items) if epoch != FILL for text in row.captions]
            said = said or [(0, items[0][2].captions[0])]  # a batch of nothing but filling still needs a text; image -1 owns it
            self.seen.put_texts(batch, [text for _, text in said], self.preprocess, self.long_text)
            batch["owner"] = torch.tensor([i for i, _ in said])
            batch["text_identity"] = torch.tensor([number_of(text) for _, text in said])
        return batch


def _begun(view: TrainView | EvalView, items: list[Item], images: list[Tensor], bad: list[Bad]) -> Batch:
    """The batch of items that were read, without texts: classes and rows, and images or what stands in their place."""
    if view.mark is not None:
        view.mark(NONE)
    batch = with_bad(numbers(items, view.class_number, view.several), bad)
    if view.seen.tables:
        view.seen.images(batch, items)
    elif isinstance(items[0][2].image, np.ndarray):
        batch["image_rows"] = _unit(items)
    else:
        batch["images"] = stacked(images)
    return batch


def stacked(images: list[Tensor]) -> Tensor:
    """[B, 3, h, w]; channels last in memory, as resizing leaves them, which is a seventh of the time of turning each one around."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _unit(items: list[Item]) -> Tensor:
    """[B, D], of unit length, of rows that hold vectors."""
    return F.normalize(torch.from_numpy(np.stack([row.image for _, _, row in items])), dim=-1)  # type: ignore[arg-type]


def numbers(items: list[Item], class_number: dict[str, int], several: bool = False) -> Batch:
    """Each item's class and row; -1 for what only fills the batch."""
    classes = [[class_number[label] for label in row.labels if label in class_number] if epoch != FILL else [] for epoch, _, row in items]
    batch = Batch(
        label=torch.tensor([known[0] if known else -1 for known in classes]),
        row=torch.tensor([number if epoch != FILL else -1 for epoch, number, _ in items]),
    )
    if several:
        batch["labels"] = torch.zeros(len(items), len(set(class_number.values())))
        for i, known in enumerate(classes):
            batch["labels"][i, known] = 1.0
    return batch


def number_of(text: str) -> int:
    """The same number in every process for the same text; 62 bits, never negative."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 2
