"""An adapted CLIP for use: images and words in, rows and classes out. Needs neither config nor data."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.data.texts.templates import TEMPLATE, read_templates, shared_templates
from cliptune.errors import ConfigError, DataError
from cliptune.images import SUFFIXES
from cliptune.index import Index
from cliptune.methods.base import ClassRows, ClassTexts, Method

ImageLike = str | Path | bytes | Image.Image | Tensor


class Classes(NamedTuple):
    """What `classify` says: a name for each image, and the probability of every class."""

    names: list[str]
    probabilities: Tensor  # [B, C]
    class_names: list[str]


class Hit(NamedTuple):
    """An image that `search` found."""

    path: str
    score: float  # cosine with the query


class AdaptedCLIP:
    """A model that a run left behind; `cliptune.load` makes it. Several threads may use it at once: the towers take turns.

    Examples:
        >>> import cliptune
        >>> from PIL import Image
        >>> model = cliptune.load("nano")
        >>> model.encode_texts(["a red square", "a blue square"]).shape
        torch.Size([2, 256])
        >>> said = model.classify([Image.new("RGB", (64, 64), "red")] * 3, ["red", "blue"])
        >>> said.probabilities.shape, said.class_names
        (torch.Size([3, 2]), ['red', 'blue'])

    Args:
        backbone: with what was learned.
        method: attached.
        about: the recipe: what it was made of and adapted to, see `checkpoint.describe`.
        batch_size: images or texts encoded at a time.
    """

    def __init__(self, backbone: Backbone, method: Method, about: dict[str, Any], batch_size: int = 64) -> None:
        self.backbone, self.method, self.about = backbone, method, about
        self.class_names: list[str] = list(about["class_names"])
        self.class_texts: list[list[str]] = [list(texts) for texts in about["class_texts"]]
        self.batch_size = batch_size
        self._half = False
        self._lock = threading.RLock()  # some methods hang hooks into the towers while they run

    def to(self, device: str | torch.device) -> AdaptedCLIP:
        """Move to a device."""
        with self._lock:
            self.backbone.to(device)
            self.method.to(device)
        return self

    @contextmanager
    def in_precision(self, precision: str) -> Iterator[None]:
        """While it lasts, the towers multiply in a precision: `bf16-mixed`, in bfloat16; or `32-true`, as else. Other threads wait.

        Raises:
            ConfigError: it is neither.
        """
        if precision not in ("32-true", "bf16-mixed"):
            raise ConfigError(f"precision {precision} is neither 32-true nor bf16-mixed. Take one of these.")
        with self._lock:
            before, self._half = self._half, precision == "bf16-mixed"
            try:
                yield
            finally:
                self._half = before

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock, torch.autocast(self.device.type, torch.bfloat16) if self._half else nullcontext():
            yield

    def fingerprint(self) -> str:
        """Identify the model: the backbone's weights, and all that the method learned."""
        digest = hashlib.sha256(self.backbone.fingerprint().encode())
        for name, value in self.method.state_dict().items():
            digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.backbone.parameters()).device

    @property
    def classes(self) -> ClassTexts:
        """Those that it was adapted to."""
        return ClassTexts(self.class_names, self.class_texts, self.backbone.preprocess, self.about.get("templates") or ())

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
            pixels = [self.backbone.preprocess.eval(self._pixels(image)) for image in listed[i : i + self.batch_size]]
            rows.append(self.encode_pixels(torch.stack(pixels)))
        return torch.cat(rows) if rows else torch.empty(0, self.backbone.config["embed_dim"])

    @torch.no_grad()  # not inference_mode, whose tensors no probe can be trained on
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Give the rows of images that are preprocessed.

        Args:
            pixels: [B, 3, h, w] of the backbone's size: uint8, or normalised floating point.

        Returns:
            [B, D], of unit length, on the CPU.
        """
        with self._turn():
            return self.method.image_rows(self.backbone, pixels.to(self.device)).cpu()

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str] | str) -> Tensor:
        """Give the rows of texts: [N, D], of unit length, on the CPU."""
        listed = [texts] if isinstance(texts, str) else list(texts)
        rows = []
        for i in range(0, len(listed), self.batch_size):
            tokens = self.backbone.preprocess.tokenize(listed[i : i + self.batch_size])
            with self._turn():
                rows.append(self.method.text_rows(self.backbone, tokens.to(self.device)).cpu())
        return torch.cat(rows) if rows else torch.empty(0, self.backbone.config["embed_dim"])

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
            templates: texts around a class name, `{}` its place, or a known list (`imagenet`, `simple`); where not given, the texts that
                the model was adapted with, and for names that it does not know its templates, or CLIP's own in place of descriptions.

        Raises:
            ConfigError: no class names are given, and the model was adapted without; or a template has no `{}`.
        """
        names, class_rows = self.class_rows(class_names, templates)
        probabilities = self.logits(self.encode_images(images), class_rows).softmax(dim=-1)
        return Classes([names[i] for i in probabilities.argmax(dim=1).tolist()], probabilities, names)

    @torch.no_grad()
    def class_rows(
        self, class_names: Sequence[str] | str | None = None, templates: str | Sequence[str] | None = None
    ) -> tuple[list[str], ClassRows]:
        """The names and rows of classes, to compare many images with; arguments and errors as for `classify`."""
        names, texts = self._classes(class_names, templates)
        with self._turn():
            return names, self.method.class_rows(self.backbone, ClassTexts(names, texts, self.backbone.preprocess))

    @torch.no_grad()
    def logits(self, image_rows: Tensor, class_rows: ClassRows) -> Tensor:
        """[B, C], on the CPU, of rows [B, D]."""
        return self.method.logits(self.backbone, image_rows.to(self.device), class_rows).cpu()

    def search(self, query: ImageLike, index: Index | str | Path, k: int = 10, exact: bool = False) -> list[Hit]:
        """Find the images of an index that are most like words or an image.

        Args:
            query: words; or an image, a string being one where it is the path of a file.
            index: that `cliptune index` made with this model, or its folder; open it once for many queries.
            k: how many.
            exact: compare with every row, where an index of many would take a short cut.

        Returns:
            The most alike first.

        Raises:
            CheckpointError: the index is of another model.
            DataError: there is no such index, or the image cannot be read.
        """
        opened = index if isinstance(index, Index) else Index.open(index, self.fingerprint())
        image = not isinstance(query, str) or Path(query).suffix.lower() in SUFFIXES
        row = self.encode_images(query) if image else self.encode_texts(str(query))
        scores, numbers = opened.search(row, k, exact)
        return [Hit(opened.paths[int(number)], float(score)) for score, number in zip(scores[0], numbers[0], strict=True)]

    def _pixels(self, image: Any) -> Tensor:
        if isinstance(image, Tensor):
            if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
                raise DataError(f"a tensor {list(image.shape)} of {image.dtype} is no image. Give uint8 pixels [3, H, W], of 0 to 255.")
            return image
        if not isinstance(image, (str, Path, bytes, Image.Image)):
            raise DataError(f"a {type(image).__name__} is no image. Give a path, the bytes of a file, a Pillow image or a uint8 tensor.")
        return self.backbone.preprocess.decode(image)

    def _classes(self, class_names: Sequence[str] | str | None, templates: str | Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
        names = [class_names] if isinstance(class_names, str) else list(self.class_names if class_names is None else class_names)
        if not names:
            raise ConfigError("classify has no class_names, and this model was adapted without classes. Give class_names.")
        own = dict(zip(self.class_names, self.class_texts, strict=True))
        if templates is None and own.keys() >= set(names):
            return names, [own[name] for name in names]
        chosen = self._templates() if templates is None else read_templates(templates, files=False)
        return names, [[template.replace("{}", name) for template in chosen] for name in names]

    def _templates(self) -> list[str]:
        """Those that it was adapted with, as told or read off the texts; CLIP's own where these are descriptions."""
        if told := self.about.get("templates"):
            return list(told)
        return shared_templates(self.class_names, self.class_texts) or [TEMPLATE]
