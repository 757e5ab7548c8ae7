"""What a picture looks like, in 768 bytes and two numbers of 64 bits, to find it again resized, recompressed or slightly cropped.

The signature is 16 x 16 means of each colour; a hash is the signs of the 64 lowest frequencies of its cosine transform, as in pHash
(Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", sec. 3.2.1): once of all, once of the inside alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SIDE = 16
SIGNATURE = 3 * SIDE * SIDE  # numbers of a signature
LINES = 4  # of pixels of each part that are looked at, at most: more say no more
TOGETHER, MOST_BYTES = 64, 1 << 19  # pictures of one size that wait for one another, and bytes of theirs
SUSPECT = 12.0  # levels between some of a picture's parts, below which its deviation is looked for
INSIDE = 0.05  # that a second hash leaves out at each edge, so that a crop of either one meets the other
BITS = 64

Floats = npt.NDArray[np.float32]


class Signer:
    """Makes the signatures of pictures that come one after another, of those of one size together.

    Each step of one picture's takes longer to begin than to do; and new memory is slower than all of them, so that it is used again.

    Args:
        count: of pictures.

    Attributes:
        signatures: [N, 16, 48], in 0..255: each line has the parts of the first colour, the second, the third.
        deviation: [N], the greatest of the colours', in levels; looked for where the parts are alike, and else 255.
    """

    def __init__(self, count: int) -> None:
        self.signatures = np.zeros((count, SIDE, 3 * SIDE), np.float32)
        self.deviation = np.full(count, 255.0, np.float32)
        self._shape: tuple[int, ...] = ()
        self._room: _Room | None = None
        self._waiting: list[int] = []

    def add(self, i: int, pixels: npt.NDArray[np.uint8]) -> None:
        """Take picture number `i`, [3, H, W], which need not be kept."""
        lines = _lines(pixels.shape[1])
        if self._room is None or pixels.shape != self._shape or len(self._waiting) == len(self._room.pixels):
            self.finish()
            self._shape, self._room = pixels.shape, _room(len(lines), pixels.shape[2])
        place = self._room.pixels[len(self._waiting)]
        pixels.transpose(1, 2, 0).take(lines, 0, place, "clip")  # decoders give colours side by side
        self._waiting.append(i)

    def finish(self) -> None:
        """Make the signatures of the pictures that wait."""
        if self._room is None or not self._waiting:
            return
        count, width = len(self._waiting), self._shape[2]
        pixels, sums, turned = (part[:count] for part in self._room)
        parts = pixels.reshape(count, SIDE, -1, width * 3)
        np.copyto(sums, parts[:, :, 0])
        for k in range(1, parts.shape[2]):
            sums += parts[:, :, k]
        np.copyto(turned, sums.reshape(count, SIDE, width, 3).transpose(0, 1, 3, 2))
        found = (turned.reshape(-1, width) @ _means(width)).reshape(count, SIDE, 3, SIDE) / parts.shape[2]
        self.signatures[self._waiting] = found.reshape(count, SIDE, -1)
        for flat in np.flatnonzero(np.ptp(found[:, ::5, :, ::5], axis=(1, 3)).max(axis=1) < SUSPECT):
            self.deviation[self._waiting[flat]] = pixels[flat].std(axis=(0, 1)).max()
        self._waiting = []


def signature(pixels: npt.NDArray[np.uint8]) -> Floats:
    """The signature of one picture [3, H, W]."""
    signer = Signer(1)
    signer.add(0, pixels)
    signer.finish()
    return signer.signatures[0]


def hashes(found: Floats) -> npt.NDArray[np.uint64]:
    """Two hashes of each signature [N, 16, 48]: of all, and of the inside; [N, 2]."""
    grey = found.reshape(-1, SIDE, 3, SIDE).mean(axis=2).reshape(-1, SIDE * SIDE)
    return np.packbits(grey @ _frequencies() > 0, axis=1).view(np.uint64).reshape(-1, 2)


def differing(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The bits that differ, of each pair of hashes."""
    parts = np.ascontiguousarray(a ^ b).view(np.uint16).reshape(-1, 4)
    return _ones()[parts].sum(axis=1, dtype=np.int64)


class _Room(NamedTuple):
    """Memory for pictures of one size."""

    pixels: npt.NDArray[np.uint8]  # [N, L, W, 3], the lines that are looked at
    sums: npt.NDArray[np.uint16]  # [N, 16, 3 W]
    turned: Floats  # [N, 16, 3, W]


@lru_cache(maxsize=8)
def _room(lines: int, width: int) -> _Room:
    count = max(min(TOGETHER, MOST_BYTES // (lines * width * 3)), 1)
    return _Room(
        np.empty((count, lines, width, 3), np.uint8),
        np.empty((count, SIDE, width * 3), np.uint16),
        np.empty((count, SIDE, 3, width), np.float32),
    )


@lru_cache(maxsize=512)
def _lines(height: int) -> npt.NDArray[np.intp]:
    """Up to four lines of each of 16 parts, evenly spaced."""
    count = SIDE * min(max(height // SIDE, 1), LINES)
    return ((np.arange(count) + 0.5) * height / count).astype(np.intp)


@lru_cache(maxsize=512)
def _means(length: int) -> Floats:
    """From `length` numbers to the means of 16 equal parts, [length, 16]."""
    edges = np.linspace(0, length, SIDE + 1)
    start, pixel = edges[:-1], np.arange(length)[:, None]
    shares = np.clip(np.minimum(edges[1:], pixel + 1) - np.maximum(start, pixel), 0, None)
    return np.asarray(shares / shares.sum(axis=0), np.float32)


@lru_cache(maxsize=1)
def _frequencies() -> Floats:
    """From a grey signature to its lowest frequencies, without the mean, of all and of the inside, [256, 128]."""
    k = np.arange(SIDE)
    order = sorted(((i, j) for i in k for j in k), key=lambda ij: (ij[0] + ij[1], abs(ij[0] - ij[1]), ij))[1 : BITS + 1]
    columns = []
    for margin in (0.0, INSIDE):
        at = (np.arange(SIDE) + 0.5) / SIDE  # centres
        place = (at - margin) / (1 - 2 * margin)
        weight = np.clip((np.minimum(at + 0.5 / SIDE, 1 - margin) - np.maximum(at - 0.5 / SIDE, margin)) * SIDE, 0, 1)
        waves = np.cos(np.pi * k[:, None] * place.clip(0, 1)) * weight
        waves[1:] -= waves[1:].mean(axis=1, keepdims=True) * (weight / weight.mean())  # no wave sees a constant
        columns += [np.outer(waves[i], waves[j]).ravel() for i, j in order]
    return np.asarray(columns, np.float32).T.copy()


@lru_cache(maxsize=1)
def _ones() -> npt.NDArray[np.uint8]:
    return np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(axis=1, dtype=np.uint8)
