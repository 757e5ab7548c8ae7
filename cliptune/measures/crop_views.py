"""An image at several crops: what `evaluation.crops` sees beside the model's own view. All are of one decoded image."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cliptune.data.bad import readable
from cliptune.data.batches import FILL, Batch
from cliptune.data.collate import number_of, numbers, stacked
from cliptune.data.seen import Item, Seen
from cliptune.data.texts.long_text import LongText
from cliptune.data.views import content
from cliptune.data.workers import NONE
from cliptune.preprocess import Preprocess

LARGER = 256 / 224  # images are larger than crops of them: Krizhevsky et al. 2012, sec. 4.1


def five(preprocess: Preprocess, image: Tensor) -> list[Tensor]:
    """The four corners and the centre, of the image resized 8/7 as large as the model's own view (Krizhevsky et al. 2012; no mirrors).

    Where the model squashes images, or puts margins around long ones, so it does here; a margin is put around what is smaller.

    Args:
        preprocess: the backbone's.
        image: [3, H, W], uint8.

    Returns:
        Five of [3, h, w].
    """
    large = preprocess.resized(image, LARGER)
    height, width = (min(side, there) for side, there in zip(preprocess.size, large.shape[1:], strict=True))
    down, right = large.shape[1] - height, large.shape[2] - width
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    return [preprocess.fitted(large[:, top : top + height, left : left + width]) for top, left in corners]


def quarters(preprocess: Preprocess, image: Tensor) -> list[Tensor]:
    """The four quarters of the image's own pixels, each as the model sees a whole image; where sides are odd they share the middle.

    Arguments and result as for `five`, four of them.
    """
    height, width = (-(-side // 2) for side in image.shape[1:])
    return [
        preprocess.eval(image[:, top : top + height, left : left + width])
        for top in (0, image.shape[1] - height)
        for left in (0, image.shape[2] - width)
    ]


class Way(NamedTuple):
    """A way to see an image at several crops."""

    crops: Callable[[Preprocess, Tensor], list[Tensor]]
    views: int  # that they are
    whole: bool  # whether the model's own view is averaged with them


WAYS = {"5": Way(five, 5, whole=False), "grid": Way(quarters, 4, whole=True)}


class Cost(NamedTuple):
    """Seconds that images took."""

    plain: float  # decoded, and under the model's own view
    crops: float  # decoded, and at all crops


class CropView:
    """Collates a batch of evaluation: each image at all its crops, the model's own view first, and its captions.

    Args:
        how: of `WAYS`.
        preprocess: the backbone's.
        class_number: from label to class.
        captions: whether they are wanted.
        texts: from captions to rows, where a frozen tower has given them.
        long_text: what is done with texts that are longer than the context.
        several: whether images may have several labels.
    """

    def __init__(
        self,
        how: str,
        preprocess: Preprocess,
        class_number: dict[str, int],
        captions: bool,
        texts: Seen | None = None,
        long_text: LongText | None = None,
        several: bool = False,
    ) -> None:
        self.how, self.preprocess, self.class_number, self.captions = how, preprocess, class_number, captions
        self.texts, self.long_text, self.several = texts or Seen(), long_text, several
        self.mark: Callable[[int], None] | None = None

    def _load(self, item: Item) -> tuple[list[Tensor], Cost]:
        if self.mark is not None:
            self.mark(item[1])
        way = WAYS[self.how]
        times = [time.perf_counter()]
        image = self.preprocess.decode(content(item[2]), item[2].key)
        times.append(time.perf_counter())
        views = [self.preprocess.eval(image)]
        times.append(time.perf_counter())
        views += way.crops(self.preprocess, image)
        times.append(time.perf_counter())
        decoding, plain, others = (after - before for before, after in pairwise(times))
        return views, Cost(decoding + plain, decoding + others + plain * way.whole)

    def _blank(self) -> tuple[list[Tensor], Cost]:
        return [torch.zeros(3, *self.preprocess.size, dtype=torch.uint8)] * (1 + WAYS[self.how].views), Cost(0.0, 0.0)

    def __call__(self, items: list[Item]) -> tuple[Batch, Cost]:
        """A batch whose images are [V * B, 3, h, w]: all images under the first view, then all under the second, ...; and what it took."""
        loaded, items, _ = readable(items, self._load, "test", self._blank)
        if self.mark is not None:
            self.mark(NONE)
        batch = numbers(items, self.class_number, self.several)
        batch["images"] = torch.cat([stacked(list(view)) for view in zip(*(views for views, _ in loaded), strict=True)])
        if self.captions:
            said = [(i, text) for i, (epoch, _, row) in enumerate(items) if epoch != FILL for text in row.captions]
            said = said or [(0, items[0][2].captions[0])]
            self.texts.put_texts(batch, [text for _, text in said], self.preprocess, self.long_text)
            batch["owner"] = torch.tensor([i for i, _ in said])
            batch["text_identity"] = torch.tensor([number_of(text) for _, text in said])
        costs = [cost for _, cost in loaded]
        return batch, Cost(sum(cost.plain for cost in costs), sum(cost.crops for cost in costs))
