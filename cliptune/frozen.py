"""Which parts of a model are frozen, as encoders for the cache: whole towers, or the blocks before the first one that learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cliptune import towers as T
from cliptune.audit import evaluating
from cliptune.data.images import ImageTextData
from cliptune.data.kept.cache import Encoder
from cliptune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cliptune.module import AdaptModule

STAGES = {"fit": ("train", "validation"), "validate": ("validation",), "test": ("test",), "predict": ("test",)}


def see_once(module: AdaptModule, data: ImageTextData, stage: str) -> None:
    """Let frozen towers see the stage's splits once, and the data give what they said.

    Args:
        module: its method attached.
        data: set up.
        stage: of the trainer.
    """
    frozen = module.frozen
    whole = {name: count > len(T.blocks(module.backbone.towers()[name])) for name, count in frozen.items()}
    data.once = module.method.solves
    if data.once and data.stream is not None:
        raise ConfigError("LinearProbe: solver lbfgs needs all rows at once, and a stream is read as it comes. Use solver: sgd.")
    if data.views == "auto" and whole["image"]:
        data.views = 0
    if data.vectors:
        check_vectors(module, data, whole["image"])
    if not data.cache:
        return
    module.to(module.trainer.strategy.root_device)
    sees = frozen["image"] and not data.vectors
    images = _images(module, None if whole["image"] else frozen["image"]) if sees else None
    texts = _texts(module) if whole["text"] else None
    for split in STAGES[stage]:
        if split == "train" and data.stream is not None:  # its rows are not known before they come
            continue
        if images is not None or texts is not None:
            data.see(split, images, texts)


def check_vectors(module: AdaptModule, data: ImageTextData, frozen: bool) -> None:
    """Refuse rows where images are needed, and rows of another CLIP."""
    if not frozen:
        kind = type(module.method).__name__
        raise ConfigError(f"{kind} needs images, and the data holds rows of images. Use method: LinearProbe or PromptTuning.")
    wide, own = data.vectors, module.backbone.config["embed_dim"]
    if wide != own:
        raise DataError(
            f"the data's rows have {wide} numbers, but those of {module.backbone.name} {own}. Give the backbone that made them."
        )


def _images(module: AdaptModule, blocks: int | None) -> Encoder:
    """The image tower, or its first blocks."""
    backbone = module.backbone
    if blocks is None:
        encode: Callable[[Tensor], Tensor] = lambda images: module.method.image_rows(backbone, images)  # noqa: E731
    else:
        encode = lambda images: backbone.enter_image(images, blocks)  # noqa: E731
    pixels = torch.zeros(1, 3, *backbone.preprocess.size, dtype=torch.uint8)
    about = {"preprocess": backbone.preprocess.about_images(), "blocks": blocks}
    return _encoder(module, "image", encode, pixels, about, "image_rows" if blocks is None else "image_inner")


def _texts(module: AdaptModule) -> Encoder:
    tokenizer = module.preprocess.tokenizer
    about = {"tokenizer": type(tokenizer).__name__, "context": getattr(tokenizer, "context_length", None), "blocks": None}
    encode: Callable[[Tensor], Tensor] = lambda texts: module.method.text_rows(module.backbone, texts)  # noqa: E731
    return _encoder(module, "text", encode, module.preprocess.tokenize(["a"]), about, "text_rows")


def _encoder(
    module: AdaptModule, name: str, encode: Callable[[Tensor], Tensor], sample: Tensor, about: dict[str, Any], key: str
) -> Encoder:
    tower = module.backbone.towers()[name]
    count = len(T.blocks(tower)) + 1 if about["blocks"] is None else about["blocks"]

    @torch.inference_mode()
    def run(inputs: Tensor) -> Tensor:
        with evaluating(module.backbone), module.trainer.precision_plugin.forward_context():
            return encode(inputs.to(module.device)).float()

    known = {"backbone": module.backbone.name, "tower": name, "weights": T.fingerprint(tower, count)}
    shape = tuple(run(sample).shape[1:])
    tf32 = {"products": torch.get_float32_matmul_precision()} if module.device.type == "cuda" else {}
    return Encoder({**known, "precision": str(module.trainer.precision), **tf32, **about}, run, shape, key)
