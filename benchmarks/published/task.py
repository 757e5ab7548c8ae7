"""A few-shot task as a published algorithm sees it: the few images, their classes and texts, and the untouched weights afresh.

No part of cliptune but the backbone's weights, its tokenizer and the model's own view of an image, which both sides share.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from cliptune.backbone import Backbone

CROP = (0.08, 1.0)  # of an image's area: torchvision's RandomResizedCrop, which Dassl and so CoOp, CLAP and CLIP-LoRA take as it is
CHUNK = 256  # images encoded at a time


@dataclass
class Part:
    """The images of one split.

    Args:
        images: each [3, H, W], uint8, of its own size.
        labels: [N], class numbers.
    """

    images: list[Tensor]
    labels: Tensor


@dataclass
class Task:
    """What an algorithm is given.

    Args:
        untouched: the CLIP.
        names: of the classes.
        template: with `{}` for a name.
        train: the few shots.
        validation: at most four images of each class, as CoOp has it.
        test: labels are not looked at.
        seed: of all that is random.
        share: of the published number of steps, where the whole takes too long; 1 is the paper's.
        views: random crops of each training image that are encoded where the image tower is frozen; the papers draw a new one each epoch.
        known: rows that another task of the same set has computed.
        half: whether towers of algorithms whose releases train in half precision (CoOp, CLIP-LoRA) multiply in bfloat16 in their steps.
    """

    untouched: Backbone
    names: list[str]
    template: str
    train: Part
    validation: Part
    test: Part
    seed: int
    share: float = 1.0
    views: int = 20
    known: dict[str, Tensor] = field(default_factory=dict)
    half: bool = False

    def products(self) -> AbstractContextManager[Any]:
        """What the towers compute in, in a step of an algorithm whose release trains in half precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.untouched.mean.device

    @property
    def shots(self) -> int:
        """Images of each class, of the class that has most."""
        return int(self.train.labels.bincount().max())

    @property
    def texts(self) -> list[str]:
        """[C], of the classes."""
        return [self.template.replace("{}", name) for name in self.names]

    @property
    def scale(self) -> float:
        """The factor on the cosines."""
        return float(self.untouched.logit_scale.detach())

    def times(self, published: int) -> int:
        """The published number of epochs or steps, or the share of it that is run."""
        return max(round(published * self.share), 1)

    def backbone(self) -> Backbone:
        """A copy that may be changed; seeds torch too."""
        torch.manual_seed(self.seed)
        return deepcopy(self.untouched)

    def pixels(self, part: Part) -> Tensor:
        """[N, 3, h, w], uint8: the model's own view, without chance."""
        return torch.stack([self.untouched.preprocess.eval(image) for image in part.images])

    def augmented(self, numbers: Tensor, area: tuple[float, float] = CROP, mirrored: float = 0.5) -> Tensor:
        """[B, 3, h, w], uint8: random crops of training images, that share of them mirrored."""
        size = self.untouched.preprocess.size
        crop = v2.RandomResizedCrop(size, area, interpolation=v2.InterpolationMode.BICUBIC)
        crop = v2.Compose([crop, v2.RandomHorizontalFlip(mirrored)])
        return torch.stack([crop(self.train.images[i]) for i in numbers.tolist()])

    def batches(self, size: int) -> list[Tensor]:
        """The numbers of the training images in a random order, in batches; none is left out."""
        return list(torch.randperm(len(self.train.labels)).split(size))

    @torch.no_grad()
    def encode(self, pixels: Tensor, encode: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """[N, D] on the CPU, by the untouched image tower or by what is given."""
        encode = encode or self.untouched.encode_image
        return torch.cat([encode(part.to(self.device)).float().cpu() for part in pixels.split(CHUNK)])

    def rows(self, name: str) -> Tensor:
        """[N, D], unit rows of `train`, `validation` or `test` by the untouched tower; those of `test` are kept."""
        if name == "test" and name in self.known:
            return self.known[name]
        found = self.encode(self.pixels(getattr(self, name)))
        if name == "test":
            self.known[name] = found
        return found

    def augmented_rows(self, most: int, area: tuple[float, float] = CROP) -> Tensor:
        """[V, N, D]: the untouched tower's rows of `most` random crops of each training image, or of as many as `views` says."""
        torch.manual_seed(self.seed)
        everything = torch.arange(len(self.train.labels))
        return torch.stack([self.encode(self.augmented(everything, area)) for _ in range(max(min(most, self.views), 1))])

    @torch.no_grad()
    def class_rows(self, backbone: Backbone | None = None, unit: bool = True) -> Tensor:
        """[C, D] of the classes' texts, on the CPU."""
        backbone = backbone or self.untouched
        rows = backbone.model.encode_text(backbone.preprocess.tokenizer(self.texts).to(self.device)).float().cpu()
        return F.normalize(rows, dim=-1) if unit else rows

    def test_logits(self, backbone: Backbone) -> Tensor:
        """[N, C] by both towers of a changed CLIP."""
        backbone.eval()
        rows = self.encode(self.pixels(self.test), backbone.encode_image)
        return float(backbone.logit_scale.detach()) * rows @ self.class_rows(backbone).T
