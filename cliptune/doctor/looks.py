"""What kind of pictures these are, as far as pixels tell: few colours, white paper, grey, edges."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

CROP = 512  # pixels of a side that are looked at, in the middle; never resized, which makes new colours
WHITE, EDGE, PALE = 230, 64, 12  # levels of 255: paper, a step between neighbours, and between channels


@dataclass(frozen=True)
class Looks:
    """Medians over some images.

    Args:
        images: how many were looked at.
        colours: distinct ones of an image.
        flat: share of pixels that are exactly their right neighbour's colour.
        white: share of pixels that are white, or nearly.
        edges: share of pixels that differ much from their right neighbour.
        coloured: share of pixels that are not grey.
        short_side: in pixels.
    """

    images: int = 0
    colours: float = 0.0
    flat: float = 0.0
    white: float = 0.0
    edges: float = 0.0
    coloured: float = 0.0
    short_side: float = 0.0

    @property
    def pixel_art(self) -> bool:
        """Whether they are small, coloured, and of as few colours as someone would pick by hand."""
        return bool(self.images) and self.short_side <= 128 and self.colours <= 64 and self.coloured > 0.02

    @property
    def document(self) -> bool:
        """Whether they are large sheets of white with dark, thin strokes and hardly any colour."""
        return bool(self.images) and self.short_side >= 256 and self.white > 0.6 and self.edges > 0.01 and self.coloured < 0.05

    @property
    def grey(self) -> bool:
        """Whether they have no colour."""
        return bool(self.images) and self.coloured < 0.001


def look(pixels: list[Tensor]) -> Looks:
    """Look at images.

    Args:
        pixels: uint8 [3, H, W], as decoded.
    """
    if not pixels:
        return Looks()
    found = np.median([_facts(image.numpy()) for image in pixels], axis=0)
    return Looks(len(pixels), *(float(value) for value in found))


def _facts(image: npt.NDArray[np.uint8]) -> list[float]:
    short = min(image.shape[1:])
    top, left = ((side - min(side, CROP)) // 2 for side in image.shape[1:])
    image = image[:, top : top + CROP, left : left + CROP].astype(np.int32)
    packed = image[0] << 16 | image[1] << 8 | image[2]
    grey = image.mean(axis=0)
    step = np.diff(grey, axis=1)
    return [
        float(len(np.unique(packed))),
        float((np.diff(packed, axis=1) == 0).mean()) if step.size else 1.0,
        float((image.min(axis=0) >= WHITE).mean()),
        float((np.abs(step) > EDGE).mean()) if step.size else 0.0,
        float((np.ptp(image, axis=0) > PALE).mean()),
        float(short),
    ]
