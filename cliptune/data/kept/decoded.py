"""Decoded images kept on disk, so that an epoch of training views need decode nothing: uint8 rows in a `RowStore`, found by content.

An image of no more pixels than a row holds is kept as it is; a larger one is shrunk, with its true size beside it, so that crops are drawn
in true coordinates and cut the same part of the picture.
"""

import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from cliptune.augment import Scale, preset_of
from cliptune.data.bad import Item, readable
from cliptune.data.batches import Rows
from cliptune.data.kept.cache import image_digests, image_parts
from cliptune.data.kept.filling import Encoder, Part, fill
from cliptune.data.kept.store import RowStore
from cliptune.data.kept.table import RowTable
from cliptune.data.views import content
from cliptune.data.workers import NONE, Marks
from cliptune.distributed import gathered
from cliptune.errors import DataError
from cliptune.preprocess import Box, Preprocess

HEADER = 16  # bytes before the pixels: the true height and width and the kept ones, int32
ROOM = 1.2  # pixels kept for one of the model's input, if a view took the whole image: shrinking twice then blurs little
DECODING = 1  # counted up when the same file gives other pixels
MOST_ROOM = 4.0  # however small the crops
STEP = 1024  # of a row's pixels, so that few distinct sizes of small images meet few shelves


class DecodedImages:
    """The decoded images of a split; may be pickled to a worker process.

    Args:
        table: rows of bytes.
        bad: by their numbers the images that cannot be read, and why.
    """

    def __init__(self, table: RowTable, bad: dict[int, str]) -> None:
        self.table, self.bad = table, bad

    def __len__(self) -> int:
        return len(self.table)

    def image(self, number: int) -> tuple[Tensor, tuple[int, int]]:
        """Give an image and its true size.

        Args:
            number: of the row.

        Returns:
            [3, h, w], uint8, and (H, W), which is (h, w) unless the image was shrunk.

        Raises:
            DataError: it cannot be read.
        """
        pixels, true = self._read(number)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1), true

    def cut(self, number: int, draw: Callable[[int, int], Box]) -> Tensor:
        """Give a part of an image; nothing else of it is read.

        Args:
            number: of the row.
            draw: from the image's true height and width to a box of it.

        Returns:
            [3, h, w], uint8: what is kept of that box, the channels of a pixel together, which is how torchvision resizes fastest.

        Raises:
            DataError: it cannot be read.
        """
        pixels, true = self._read(number)
        top, left, height, width = kept_box(draw(*true), true, (pixels.shape[0], pixels.shape[1]))
        return torch.from_numpy(pixels[top : top + height, left : left + width].copy()).permute(2, 0, 1)

    def _read(self, number: int) -> tuple[np.ndarray, tuple[int, int]]:
        """[h, w, 3], not to be written to, and the true size."""
        if number in self.bad:
            raise DataError(self.bad[number])
        row = self.table.row(number)
        true_height, true_width, height, width = row[:HEADER].view(np.int32).tolist()
        return row[HEADER : HEADER + height * width * 3].reshape(height, width, 3), (true_height, true_width)


def decoded_images(
    store: RowStore, rows: Rows, preprocess: Preprocess, workers: int, scale: Scale | None = None, preset: str = "clip"
) -> DecodedImages | None:
    """Give a split's images decoded, from the store where they are there.

    Args:
        store: where they are kept.
        rows: of the split, with the images' bytes.
        preprocess: whose input they will be.
        workers: processes that decode.
        scale: see `Preprocess.train`; small crops are cut from larger images.
        preset: likewise.

    Returns:
        The images; None where there is no room for them, or none that can be read.
    """
    least = (scale or preset_of(preset).scale)[0]  # of the area of an image
    largest = Largest(int(min(ROOM / least, MOST_ROOM) * prod(preprocess.size)), preprocess.decode)
    digests, lost = image_digests(rows, largest)
    pixels = max(gathered([largest.pixels]))
    if not pixels:
        return None
    pixels = min(-(-pixels // STEP) * STEP, largest.most)
    how = {"decoding": DECODING, "background": list(preprocess.background), "interpolation": preprocess.interpolation.value}
    about = {"tower": "decoded images", "pixels": pixels, **how}
    encoder = Encoder(about, lambda packed: packed, (HEADER + 3 * pixels,), "pixels", "uint8")
    parts: Callable[[np.ndarray], Iterator[Part]] = partial(image_parts, rows, Packed(preprocess, pixels, workers), "pixels", workers)
    table, bad = fill(store, encoder, {"view": f"{pixels:,} pixels"}, digests, parts, "images")
    return None if table is None else DecodedImages(table, lost | bad)


class Largest:
    """How many pixels the largest image has that was shown, or `most` if that is less; from several threads.

    Args:
        most: what is enough to know.
        decode: for files whose head Pillow cannot read.
    """

    def __init__(self, most: int, decode: Callable[[bytes], Tensor]) -> None:
        self.most, self.decode, self.pixels = most, decode, 0
        self._lock = threading.Lock()

    def __call__(self, data: bytes) -> None:
        """Show the bytes of an image file."""
        if self.pixels >= self.most:
            return
        pixels = self._pixels(data)
        with self._lock:
            self.pixels = max(self.pixels, min(pixels, self.most))

    def _pixels(self, data: bytes) -> int:
        try:
            with Image.open(io.BytesIO(data)) as image:
                return prod(image.size)
        except Exception:  # Pillow's readers raise many kinds
            try:
                return prod(self.decode(data).shape[1:])
            except DataError:
                return 0


class Packed:
    """Collates images as rows of bytes: sizes, then pixels [h, w, 3], which is the order that resizing is fastest in."""

    def __init__(self, preprocess: Preprocess, pixels: int, workers: int) -> None:
        self.preprocess, self.pixels, self.marks = preprocess, pixels, Marks(workers)

    def __call__(self, items: list[Item]) -> dict[str, Any]:
        """Decode, shrink, stack; what cannot be read is named in `bad`."""
        size = HEADER + 3 * self.pixels
        packed, _, bad = readable(items, lambda item: self._packed(item, size), "", lambda: torch.zeros(size, dtype=torch.uint8))
        self.marks.at(NONE)
        return {"pixels": torch.stack(packed), "bad": bad}

    def _packed(self, item: Item, size: int) -> Tensor:
        _, number, row = item
        self.marks.at(number)
        image = self.preprocess.decode(content(row), row.key)
        kept = shrunk(image, self.pixels, self.preprocess)
        packed = torch.zeros(size, dtype=torch.uint8)
        packed[:HEADER] = torch.tensor([*image.shape[1:], *kept.shape[1:]], dtype=torch.int32).view(torch.uint8)
        packed[HEADER : HEADER + kept.numel()].view(*kept.shape[1:], 3).copy_(kept.permute(1, 2, 0))
        return packed


def shrunk(image: Tensor, pixels: int, preprocess: Preprocess) -> Tensor:
    """Make an image smaller, keeping its shape, if it has more pixels than are wanted.

    Args:
        image: [3, H, W], uint8.
        pixels: at most so many.
        preprocess: whose interpolation is taken.
    """
    height, width = image.shape[1:]
    if height * width <= pixels:
        return image
    factor = (pixels / (height * width)) ** 0.5
    kept_height = min(max(int(height * factor), 1), pixels)
    kept_width = min(max(int(width * factor), 1), pixels // kept_height)
    return F.resize(image, [kept_height, kept_width], preprocess.interpolation, antialias=True)


def kept_box(box: Box, true: tuple[int, int], kept: tuple[int, int]) -> Box:
    """Take a box of a true image to the one that is kept: to the nearest pixel, and never empty.

    Args:
        box: top, left, height, width, in the true image.
        true: its height and width.
        kept: those of what is kept.
    """
    ends = []
    for start, length, whole, now in zip(box[:2], box[2:], true, kept, strict=True):
        first = min(round(start * now / whole), now - 1)
        ends.append((first, max(round((start + length) * now / whole), first + 1) - first))
    (top, height), (left, width) = ends
    return top, left, height, width
