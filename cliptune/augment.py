"""Training transforms by kind of image: what may be changed without changing what the picture means. Drawn in docs/transforms.md.

Here are the presets and what they do to pixels; where a picture is cut, and to what size it is brought, is `preprocess`' business.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cliptune.errors import ConfigError, did_you_mean

Scale = tuple[float, float]
Places = npt.NDArray[np.int64]


class Preset(NamedTuple):
    """How one kind of image is changed in training.

    Args:
        crop: `free`, torchvision's random resized crop; `kept`, of the shape that evaluation sees, so that nothing is squashed; `grid`, of
            whole pixels, each of which becomes a square without blur.
        scale: the least and the greatest share of the area that is kept, of the image where the crop is free, else of what evaluation sees.
        flip: the probability of mirroring left and right.
        rotation: degrees at most, either way; the picture is enlarged so that no corner is empty.
        brightness: how far the factor on all levels may be from 1.
        contrast: likewise, of the distance from the mean level.
        saturation: likewise, of the distance from grey.
        sharpness: the least share of its resolution that an image may be left with, which blurs it.
    """

    crop: str = "free"
    scale: Scale = (0.9, 1.0)
    flip: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    sharpness: float = 1.0


PRESETS: dict[str, Preset] = {
    "clip": Preset(),  # open_clip's own: Radford et al. 2021, sec. 2.4, a random square crop and nothing else
    "photo": Preset(scale=(0.5, 1.0), flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2),
    "medical": Preset(crop="kept", scale=(0.85, 1.0), rotation=5.0, brightness=0.1, contrast=0.1),
    "pixel_art": Preset(crop="grid", scale=(0.75, 1.0), flip=0.5),
    "document": Preset(crop="kept", scale=(0.9, 1.0), rotation=2.0, brightness=0.15, contrast=0.15, sharpness=0.7),
}
SHIFT = 1 / 16  # of a side: how far a sprite is moved beyond its edge, 2 pixels of 32


def preset_of(name: str) -> Preset:
    """Find a preset.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no transform {name!r}. {did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def changed(image: Tensor, preset: Preset, rng: np.random.Generator) -> Tensor:
    """Turn, light, colour and blur an image of the model's size; what a preset leaves alone draws nothing.

    Args:
        image: [3, h, w], uint8.
        preset: how far.
        rng: the only source of randomness.
    """
    if preset.rotation:
        image = _turned(image, float(rng.uniform(-preset.rotation, preset.rotation)))
    if preset.sharpness < 1:
        image = _blurred(image, float(rng.uniform(preset.sharpness, 1.0)))
    if preset.brightness:
        image = F.adjust_brightness(image, _factor(preset.brightness, rng))
    if preset.contrast:
        image = F.adjust_contrast(image, _factor(preset.contrast, rng))
    if preset.saturation:
        image = F.adjust_saturation(image, _factor(preset.saturation, rng))
    return image


def on_grid(image: Tensor, size: Sequence[int], seen: Sequence[float], scale: Scale, rng: np.random.Generator) -> Tensor:
    """Cut and enlarge pixel art without blur.

    Where a pixel becomes two or more, it becomes a square of whole pixels, cuts lie between pixels, and what is seen of a sprite that need
    not be cut is moved by whole pixels too, on a ground of the edge's colour. All else is cut anywhere, and takes the nearest pixel.

    Args:
        image: [3, H, W], uint8.
        size: (h, w) to bring it to.
        seen: (height, width) of what evaluation sees of the image, in its pixels.
        scale: see `Preset`.
        rng: the only source of randomness.
    """
    share, choice = float(rng.uniform(*scale)), float(rng.random())
    sides = zip(image.shape[1:], size, seen, strict=True)
    rows, columns = (_places(length, to, part, share, choice, scale, rng) for length, to, part in sides)
    pixels = image.permute(1, 2, 0).numpy()
    out = pixels.take(rows, 0, mode="clip").take(columns, 1, mode="clip")  # a quarter of the time that torch takes
    above, beside = ((places < 0) | (places >= length) for places, length in zip((rows, columns), pixels.shape, strict=False))
    if above.any() or beside.any():
        out[above] = out[:, beside] = _ground(image).numpy()
    return torch.from_numpy(out).permute(2, 0, 1)


def _places(length: int, size: int, seen: float, share: float, choice: float, scale: Scale, rng: np.random.Generator) -> Places:
    """For each of `size` places of a side the pixel that is seen there, of `length`, or one beyond the edge."""
    zooms = _zooms(size / seen, scale)
    zoom = zooms[int(choice * len(zooms))] if zooms else size / (seen * share**0.5)
    free = length - size / zoom  # less than nothing where the picture does not fill the input
    if not zooms:
        start = rng.uniform(0.0, free) if free > 0 else free / 2
    elif free >= 1:
        start = float(rng.integers(int(free) + 1))
    else:
        most = int(SHIFT * length)
        start = float(round(free / 2) + rng.integers(-most, most + 1))
    return np.floor((np.arange(size) + 0.5) / zoom + start).astype(np.int64)


def _ground(image: Tensor) -> Tensor:
    """The most frequent colour of the edge, [3]: what a sprite stands on."""
    edge = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], dim=1)
    colours, counts = edge.unique(dim=1, return_counts=True)
    return colours[:, counts.argmax()]


def _zooms(whole: float, scale: Scale) -> list[int]:
    """The whole zooms that keep a share of the area within `scale`, or the nearest one; none where pixels are not even doubled."""
    least, most = whole / scale[1] ** 0.5, whole / scale[0] ** 0.5
    if least < 2:
        return []
    return [*range(int(np.ceil(least - 1e-6)), int(most + 1e-6) + 1)] or [max(round(least), 2)]


def _turned(image: Tensor, degrees: float) -> Tensor:
    """Rotate about the middle, enlarged so far that the corners lie within the picture."""
    height, width = (max(side - 1, 1) for side in image.shape[1:])  # from the middle of the first pixel to that of the last
    sine, cosine = abs(np.sin(np.radians(degrees))), np.cos(np.radians(degrees))
    larger = float(cosine + sine * max(height / width, width / height))
    return F.affine(image, degrees, [0, 0], larger, [0.0, 0.0], InterpolationMode.BILINEAR)


def _blurred(image: Tensor, share: float) -> Tensor:
    """As from a scanner of a share of the resolution; a thirtieth of the time that a Gaussian takes on bytes."""
    height, width = image.shape[1:]
    less = [max(round(side * share), 1) for side in (height, width)]
    return F.resize(F.resize(image, less, antialias=True), [height, width], antialias=True)


def _factor(most: float, rng: np.random.Generator) -> float:
    return float(rng.uniform(1 - most, 1 + most))
