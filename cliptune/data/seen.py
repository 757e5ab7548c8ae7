"""What a frozen tower has given for a split, kept from before, in the place of images or texts."""

from collections.abc import Sequence
from typing import Any

import torch

from cliptune.data.batches import Batch
from cliptune.data.split import Row
from cliptune.data.texts.long_text import LongText, mean_of_pieces
from cliptune.errors import DataError
from cliptune.preprocess import Preprocess

Item = tuple[int, int, Row]  # epoch, row number, row


class Seen:
    """What a frozen tower gives for a split, instead of images or texts.

    Args:
        key: `image_rows` or `image_inner`.
        tables: by view of an image; epochs take turns. Each from row number to [...].
        texts: from texts to [N, D], or None.
        bad: the images that could not be read, and why, by row number.
    """

    def __init__(self, key: str = "image_rows", tables: Sequence[Any] = (), texts: Any = None, bad: dict[int, str] | None = None) -> None:
        self.key, self.tables, self.texts, self.bad = key, tables, texts, bad or {}

    def check(self, item: Item) -> None:
        """Raise DataError where the image could not be read."""
        if item[1] in self.bad:
            raise DataError(self.bad[item[1]])

    def images(self, batch: Batch, items: list[Item]) -> Batch:
        """Put the images' part into the batch."""
        views = [max(epoch, 0) % len(self.tables) for epoch, _, _ in items]
        numbers = [number for _, number, _ in items]
        if len(set(views)) == 1:
            rows = self.tables[views[0]][numbers]
        else:  # a row that comes again in an epoch is seen under another view
            rows = torch.cat([self.tables[view][[number]] for view, number in zip(views, numbers, strict=True)])
        batch[self.key] = rows  # type: ignore[literal-required]
        return batch

    def put_texts(self, batch: Batch, texts: list[str], preprocess: Preprocess, long_text: LongText | None) -> None:
        """Put the rows or the tokens of texts into the batch, those of long ones in pieces."""
        pieces = [long_text.choices(text) for text in texts] if long_text is not None and long_text.how == "split_mean" else []
        flat = [piece for each in pieces for piece in each] or texts
        owner = torch.tensor([i for i, each in enumerate(pieces) for _ in each])
        if self.texts is None:
            batch["tokens"] = preprocess.tokenize(flat)
            if len(flat) > len(texts):
                batch["piece"] = owner
        else:
            rows = self.texts[flat]
            batch["text_rows"] = mean_of_pieces(rows, owner, len(texts)) if len(flat) > len(texts) else rows
