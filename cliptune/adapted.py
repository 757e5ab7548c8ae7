"""An adapted CLIP for use: images and words in, rows and classes out. Needs neither config nor data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.checkpoint import read, rebuild
from cliptune.errors import ConfigError, DataError
from cliptune.images import decode, from_pil
from cliptune.methods.base import ClassTexts, Method

ImageLike = str | Path | bytes | Image.Image | Tensor
TEMPLATE = "a photo of a {}."
MOST_PLACES = 8  # of a class name in a text, when its template is read off: 2^8 ways


class Classes(NamedTuple):
    """What `classify` says: a name for each image, and the probability of every class."""

    names: list[str]
    probabilities: Tensor  # [B, C]
    class_names: list[str]


class AdaptedCLIP:
    """A model that a run left behind; `cliptune.load` makes it.

    Args:
        backbone: with what was learned.
        method: attached.
        class_names: those it was adapted to, if any.
        class_texts: their texts, one per template.
        batch_size: images or texts encoded at a time.
    """

    def __init__(
        self, backbone: Backbone, method: Method, class_names: list[str], class_texts: list[list[str]], batch_size: int = 64
    ) -> None:
        self.backbone, self.method = backbone, method
        self.class_names, self.class_texts = class_names, class_texts
        self.batch_size = batch_size

    def to(self, device: str | torch.device) -> AdaptedCLIP:
        """Move to a device."""
        self.backbone.to(device)
        self.method.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.backbone.parameters()).device

    @torch.no_grad()  # not inference_mode, whose tensors no probe can be trained on
    def encode_images(self, images: Iterable[ImageLike] | ImageLike) -> Tensor:
        """Give the rows of images.

        Args:
            images: paths, bytes of files, Pillow images, or uint8 tensors [3, H, W]; one or many, or a tensor [B, 3, H, W].

        Returns:
            [B, D], of unit length, on the CPU.

        Raises:
            DataError: an image cannot be read, or is of another kind.
        """
        one = isinstance(images, (str, Path, bytes, Image.Image)) or (isinstance(images, Tensor) and images.ndim < 4)
        listed: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
        rows = []
        for i in range(0, len(listed), self.batch_size):
            pixels = [self.backbone.preprocess.eval(_pixels(image)) for image in listed[i : i + self.batch_size]]
            rows.append(self.method.image_rows(self.backbone, torch.stack(pixels).to(self.device)).cpu())
        return torch.cat(rows) if rows else torch.empty(0, self.backbone.config["embed_dim"])

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str] | str) -> Tensor:
        """Give the rows of texts: [N, D], of unit length, on the CPU."""
        listed = [texts] if isinstance(texts, str) else list(texts)
        rows = []
        for i in range(0, len(listed), self.batch_size):
            tokens = self.backbone.preprocess.tokenize(listed[i : i + self.batch_size]).to(self.device)
            rows.append(self.method.text_rows(self.backbone, tokens).cpu())
        return torch.cat(rows) if rows else torch.empty(0, self.backbone.config["embed_dim"])

    @torch.no_grad()
    def classify(
        self,
        images: Iterable[ImageLike] | ImageLike,
        class_names: Sequence[str] | str | None = None,
        templates: str | Sequence[str] | None = None,
    ) -> Classes:
        """Say which class each image is of.

        Args:
            images: see `encode_images`.
            class_names: any words; those that the model was adapted to where not given.
            templates: texts around a class name, `{}` its place; those of the adaptation where not given.

        Raises:
            ConfigError: no class names are given, and the model was adapted without; or a template has no `{}`.
        """
        names, texts = self._classes(class_names, templates)
        class_rows = self.method.class_rows(self.backbone, ClassTexts(names, texts, self.backbone.preprocess))
        image_rows = self.encode_images(images).to(self.device)
        probabilities = self.method.logits(self.backbone, image_rows, class_rows).softmax(dim=-1).cpu()
        return Classes([names[i] for i in probabilities.argmax(dim=1).tolist()], probabilities, names)

    def _classes(self, class_names: Sequence[str] | str | None, templates: str | Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
        if class_names is None and templates is None and self.class_names:
            return self.class_names, self.class_texts
        names = [class_names] if isinstance(class_names, str) else list(self.class_names if class_names is None else class_names)
        if not names:
            raise ConfigError("classify has no class_names, and this model was adapted without classes. Give class_names.")
        if templates is None:
            chosen = [_template(self.class_names, texts) for texts in zip(*self.class_texts, strict=True)] or [TEMPLATE]
        else:
            chosen = [templates] if isinstance(templates, str) else list(templates)
        odd = [template for template in chosen if "{}" not in template]
        if odd or not chosen:
            raise ConfigError(f"template {odd[0] if odd else ''!r} has no {{}} for the class name. Write it as {TEMPLATE!r}.")
        return names, [[template.replace("{}", name) for template in chosen] for name in names]


def load(path: str | Path, device: str | torch.device = "cpu") -> AdaptedCLIP:
    """Load the model that a run left behind.

    Args:
        path: a run folder, of which the best checkpoint is taken, or a `.ckpt` file.
        device: where to put it.

    Raises:
        CheckpointError: there is none, or it does not fit.
    """
    file = Path(path) / "checkpoints" / "best.ckpt" if Path(path).is_dir() else Path(path)
    checkpoint = read(file)
    backbone, method = rebuild(checkpoint)
    recipe: dict[str, Any] = checkpoint["cliptune"]
    return AdaptedCLIP(backbone, method, recipe["class_names"], recipe["class_texts"]).to(device)


def _template(names: list[str], texts: Sequence[str]) -> str:
    """Read a template off the classes' texts; where a name is a word of the template too, the other classes tell which is which."""
    for name, text in sorted(zip(names, texts, strict=True), key=lambda pair: len(pair[0]), reverse=True):
        first, *rest = text.split(name)
        for places in product(("{}", name), repeat=len(rest) if len(rest) <= MOST_PLACES else 0):
            template = first + "".join(place + piece for place, piece in zip(places, rest, strict=False))
            if all(template.replace("{}", other) == said for other, said in zip(names, texts, strict=True)):
                return template
    return TEMPLATE


def _pixels(image: Any) -> Tensor:
    if isinstance(image, Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
            raise DataError(f"a tensor {list(image.shape)} of {image.dtype} is no image. Give uint8 pixels [3, H, W], of 0 to 255.")
        return image
    if not isinstance(image, (str, Path, bytes, Image.Image)):
        raise DataError(f"a {type(image).__name__} is no image. Give a path, the bytes of a file, a Pillow image or a uint8 tensor.")
    return from_pil(image) if isinstance(image, Image.Image) else decode(image)
