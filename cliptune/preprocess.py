"""What a backbone does to images and texts before its towers see them, read from the model's own configuration.

Evaluation equals open_clip's `image_transform`, to a mean of 0.05 levels (0.2 for squashed portraits), on uint8 tensors; training cuts
as a preset says, which `augment` has. Mean and std are applied on the device, by the backbone.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from cliptune.augment import Scale, changed, on_grid, preset_of
from cliptune.images import colour, decode, from_pil

TRIM_MULTIPLE = 8  # few distinct lengths, so that torch.compile and allocators see few shapes

Box = tuple[int, int, int, int]  # top, left, height, width


class Preprocess:
    """Transforms and tokenizer of one backbone.

    Args:
        config: open_clip's preprocess dictionary: size, mean, std, interpolation, resize_mode, fill_color.
        tokenizer: texts to ids [N, context].
        trim: cut token rows to the longest text of the batch; right only for causal text towers.
        background: the colour seen through transparent pixels: a name, or `#rrggbb`.
    """

    def __init__(self, config: dict[str, Any], tokenizer: Callable[..., Tensor], trim: bool, background: str = "white") -> None:
        self.config = config
        self.background = colour(background)
        self.tokenizer = tokenizer
        self.trim = trim
        size = config["size"]
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        bilinear = config.get("interpolation") == "bilinear"
        self.interpolation = InterpolationMode.BILINEAR if bilinear else InterpolationMode.BICUBIC

    def about_tokenizer(self) -> dict[str, Any]:
        """What tells one tokenizer from another, as plain data."""
        found = {name: getattr(self.tokenizer, name, None) for name in ("context_length", "vocab_size")}
        return {"type": type(self.tokenizer).__name__, **{name: value for name, value in found.items() if isinstance(value, int)}}

    def about_images(self) -> dict[str, Any]:
        """All that an image's pixels depend on beside its file, as plain data."""
        return {**self.config, "background": list(self.background)}

    def decode(self, data: bytes | str | Path | Image.Image, name: str = "") -> Tensor:
        """Take an image as [3, H, W], uint8, over the model's background; arguments and errors as for `images.decode`."""
        return from_pil(data, self.background) if isinstance(data, Image.Image) else decode(data, name, self.background)

    def eval(self, image: Tensor) -> Tensor:
        """Resize and crop as the model's configuration says.

        Args:
            image: [3, H, W], uint8.

        Returns:
            [3, h, w], uint8, with (h, w) the model's input size.
        """
        return self.fitted(self.resized(image))

    def resized(self, image: Tensor, larger: float = 1.0) -> Tensor:
        """Resize as `eval` does, before it crops or puts a margin around.

        Args:
            image: [3, H, W], uint8.
            larger: a factor on the size.

        Returns:
            [3, h, w], uint8.
        """
        height, width = (round(side * larger) for side in self.size)
        mode = self.config.get("resize_mode", "shortest")
        if mode == "squash":
            return self._resize(image, (height, width))
        if mode == "longest":
            scale = min(height / image.shape[1], width / image.shape[2])
            return self._resize(image, [max(round(side * scale), 1) for side in image.shape[1:]])
        if height == width:  # as torchvision's Resize(int): the short side becomes size
            short, longer = min(image.shape[1:]), max(image.shape[1:])
            other = int(height * longer / short)
            wide = image.shape[2] >= image.shape[1]
            return self._resize(image, (height, other) if wide else (other, height))
        scale = max(height / image.shape[1], width / image.shape[2])
        return self._resize(image, [round(side * scale) for side in image.shape[1:]])

    def fitted(self, image: Tensor) -> Tensor:
        """Crop to the model's size, or put a margin around where the configuration says so: what `eval` does to a resized image."""
        if tuple(image.shape[1:]) == self.size:
            return image
        longest = self.config.get("resize_mode", "shortest") == "longest"
        return self._pad(image) if longest else F.center_crop(image, list(self.size))

    def train(
        self,
        image: Tensor,
        rng: np.random.Generator,
        scale: Scale | None = None,
        flip: float | None = None,
        preset: str = "clip",
    ) -> Tensor:
        """Cut at random, resize, change as the preset says, perhaps mirror.

        Args:
            image: [3, H, W], uint8.
            rng: the only source of randomness.
            scale: the least and the greatest share of the area that is kept; the preset's own where not given.
            flip: the probability of mirroring left and right; likewise.
            preset: of `augment.PRESETS`.

        Returns:
            [3, h, w], uint8.

        Raises:
            ConfigError: there is no such preset.
        """
        top, left, height, width = self.draw_box(image.shape[1], image.shape[2], rng, scale, preset)
        return self.finish(image[:, top : top + height, left : left + width], rng, scale, flip, preset)

    def draw_box(self, height: int, width: int, rng: np.random.Generator, scale: Scale | None = None, preset: str = "clip") -> Box:
        """Draw which part of an image `train` cuts out; the whole, where the preset cuts by the pixels themselves."""
        chosen = preset_of(preset)
        if chosen.crop == "free":
            return _random_box(height, width, scale or chosen.scale, rng)
        if chosen.crop == "grid":
            return 0, 0, height, width
        side = float(rng.uniform(*(scale or chosen.scale))) ** 0.5
        h, w = (max(round(min(seen, whole) * side), 1) for seen, whole in zip(self._seen(height, width), (height, width), strict=True))
        return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w

    def finish(
        self, cut: Tensor, rng: np.random.Generator, scale: Scale | None = None, flip: float | None = None, preset: str = "clip"
    ) -> Tensor:
        """Do with a part that `draw_box` drew, [3, H, W], what else `train` does; with the same `rng`, after it."""
        chosen = preset_of(preset)
        if chosen.crop == "grid":
            out = on_grid(cut, self.size, self._seen(*cut.shape[1:]), scale or chosen.scale, rng)
        else:
            out = self._resize(cut, self.size) if chosen.crop == "free" else self.eval(cut)
        out = changed(out, chosen, rng)
        probability = chosen.flip if flip is None else flip
        return out.flip(-1) if probability and rng.random() < probability else out

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into token ids.

        Returns:
            [N, L] with L at most the context length; shorter where the text tower is causal and so never reads past the end.
        """
        tokens = self.tokenizer(list(texts))
        if not self.trim or not len(tokens):
            return tokens
        longest = int((tokens != 0).any(dim=0).nonzero().max()) + 1  # not the count: 0 is the padding, and "!" as well
        return tokens[:, : -(-longest // TRIM_MULTIPLE) * TRIM_MULTIPLE]

    def _seen(self, height: int, width: int) -> tuple[float, float]:
        """Height and width of what evaluation sees of an image, in its pixels; more than there are where it puts a margin."""
        mode = self.config.get("resize_mode", "shortest")
        if mode == "squash":
            return height, width
        factors = height / self.size[0], width / self.size[1]
        factor = max(factors) if mode == "longest" else min(factors)
        return self.size[0] * factor, self.size[1] * factor

    def _resize(self, image: Tensor, size: Sequence[int]) -> Tensor:
        """As torchvision's `resize`, to the bit, in two thirds of its time: the channels of a pixel lie together, and torch is told so."""
        height, width = image.shape[1:]
        if (height, width) == tuple(size):
            return image.contiguous()
        together = image.permute(1, 2, 0).contiguous()
        one = together.as_strided((1, 3, height, width), (3 * height * width, 1, 3 * width, 3))
        return interpolate(one, size=list(size), mode=self.interpolation.value, antialias=True)[0]

    def _pad(self, image: Tensor) -> Tensor:
        missing = [target - side for target, side in zip(self.size, image.shape[1:], strict=True)]
        left, top = missing[1] // 2, missing[0] // 2
        padding = [left, top, missing[1] - left, missing[0] - top]
        return F.pad(image, padding, fill=self.config.get("fill_color", 0))


def _random_box(height: int, width: int, scale: Scale, rng: np.random.Generator) -> Box:
    """Draw a box as torchvision's RandomResizedCrop does (ratio 3/4 to 4/3, ten tries, then the whole), from `rng`."""
    low, high = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(low, high))
        h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < h <= height and 0 < w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    h, w = min(height, round(width / (3 / 4))), min(width, round(height * (4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def normalize(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Scale uint8 pixels to the model's mean and std; floating point input is taken as done already.

    Args:
        images: [B, 3, h, w], uint8 or floating point.
        mean: [3, 1, 1], of pixels in 0..1.
        std: [3, 1, 1].
    """
    if images.dtype != torch.uint8:
        return images
    return images.to(mean.dtype).div_(255.0).sub_(mean).div_(std)
