"""What a backbone does to images and texts before its towers see them, read from the model's own configuration.

Evaluation equals open_clip's `image_transform`, to a mean of 0.05 levels (0.2 for squashed portraits), on uint8 tensors; training is
its random resized crop. Mean and std are applied on the device, by the backbone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

TRIM_MULTIPLE = 8  # few distinct lengths, so that torch.compile and allocators see few shapes


class Preprocess:
    """Transforms and tokenizer of one backbone.

    Args:
        config: open_clip's preprocess dictionary: size, mean, std, interpolation, resize_mode, fill_color.
        tokenizer: texts to ids [N, context].
        trim: cut token rows to the longest text of the batch; right only for causal text towers.
    """

    def __init__(self, config: dict[str, Any], tokenizer: Callable[..., Tensor], trim: bool) -> None:
        self.config = config
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

    def eval(self, image: Tensor) -> Tensor:
        """Resize and crop as the model's configuration says.

        Args:
            image: [3, H, W], uint8.

        Returns:
            [3, h, w], uint8, with (h, w) the model's input size.
        """
        mode = self.config.get("resize_mode", "shortest")
        if mode == "squash":
            return self._resize(image, self.size)
        if mode == "longest":
            scale = min(self.size[0] / image.shape[1], self.size[1] / image.shape[2])
            kept = [max(round(side * scale), 1) for side in image.shape[1:]]
            return self._pad(self._resize(image, kept))
        if self.size[0] == self.size[1]:  # as torchvision's Resize(int): the short side becomes size
            short, longer = min(image.shape[1:]), max(image.shape[1:])
            other = int(self.size[0] * longer / short)
            wide = image.shape[2] >= image.shape[1]
            resized = self._resize(image, (self.size[0], other) if wide else (other, self.size[0]))
        else:
            scale = max(self.size[0] / image.shape[1], self.size[1] / image.shape[2])
            resized = self._resize(image, [round(side * scale) for side in image.shape[1:]])
        return F.center_crop(resized, list(self.size))

    def train(self, image: Tensor, rng: np.random.Generator, scale: tuple[float, float] = (0.9, 1.0), flip: float = 0.0) -> Tensor:
        """Crop at random, resize, perhaps mirror.

        Args:
            image: [3, H, W], uint8.
            rng: the only source of randomness.
            scale: the least and the greatest share of the area that is kept; open_clip's default.
            flip: the probability of mirroring left and right.

        Returns:
            [3, h, w], uint8.
        """
        top, left, height, width = _random_box(image.shape[1], image.shape[2], scale, rng)
        out = self._resize(image[:, top : top + height, left : left + width], self.size)
        return out.flip(-1) if flip and rng.random() < flip else out

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

    def _resize(self, image: Tensor, size: Sequence[int]) -> Tensor:
        if tuple(image.shape[1:]) == tuple(size):
            return image.contiguous()
        return F.resize(image, list(size), self.interpolation, antialias=True)

    def _pad(self, image: Tensor) -> Tensor:
        missing = [target - side for target, side in zip(self.size, image.shape[1:], strict=True)]
        left, top = missing[1] // 2, missing[0] // 2
        padding = [left, top, missing[1] - left, missing[0] - top]
        return F.pad(image, padding, fill=self.config.get("fill_color", 0))


def _random_box(height: int, width: int, scale: tuple[float, float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box as torchvision's RandomResizedCrop does (ratio 3/4 to 4/3, ten tries, then the whole), from `rng`."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        h, w = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
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
