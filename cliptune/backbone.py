"""What is pretrained: any open_clip model as a pair of towers that give unit rows.

Holds the model, its preprocessing and tokenizer. What learns is the method's business; nothing here is ever frozen or changed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cliptune import batch_first, halves, pooled
from cliptune import towers as T
from cliptune.described import Described
from cliptune.images import colour
from cliptune.packing import Packs, heads_of, readable
from cliptune.preprocess import Preprocess, normalize
from cliptune.pretrained import check_image_size, checked_tag, create, load_file, model_config, resolve, tokenizer_of

SCALES = ("logit_scale", "logit_bias")


class Backbone(Described, nn.Module):
    """A pretrained CLIP.

    Args:
        name: an open_clip architecture (`ViT-B-32`), `local-dir:FOLDER`, `hf-hub:OWNER/NAME`, or the bundled `nano`.
        pretrained: an open_clip tag, a `.pt` or `.safetensors` file, a `local-dir:` or `hf-hub:` name whose model must be `name`, or
            `random` to start from scratch. Empty for names that bring their own weights.
        image_size: pixels of a side, where it shall differ from the pretrained size; the positional embedding is interpolated.
        patch_dropout: share of the image patches left out in training (Li et al. 2023, FLIP); the model's own where not given.
        background: the colour seen through transparent pixels of images: a name, or `#rrggbb` in quotes.

    Raises:
        ConfigError: unknown name, tag, file or colour; weights of another architecture or activation; a size that no patch divides.
    """

    model: Any  # an open_clip model, which is typed by no common class
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "nano",
        pretrained: str | None = None,
        image_size: int | None = None,
        patch_dropout: float | None = None,
        background: str = "white",
    ) -> None:
        super().__init__()
        colour(background)  # before weights are read
        self.name, self.pretrained = name, pretrained
        source, weights = resolve(name, pretrained)
        config = model_config(source)
        check_image_size(name, config, image_size)
        tag = checked_tag(source, weights, config)
        filled = weights.endswith(("random", ".npz", ".npy"))  # of numpy's files open_clip asks no completeness
        self.model = create(source, image_size, patch_dropout, load=weights == "own", tag=tag, filled=filled)
        if weights not in ("own", "random") and not get_pretrained_cfg(source, weights):
            load_file(self.model, name, Path(weights))
        for tower in self.towers().values():
            pooled.install(tower)
            batch_first.install(tower)
            halves.install(tower)
        self._shapes = {name: p.shape for name in SCALES if (p := getattr(self.model, name)) is not None}
        for name in self._shapes:  # vectors of one, which FSDP can shard and scalars it cannot
            self._reshape(name, torch.Size([1]))
        self.config = config
        self.causal = _is_causal(self.towers()["text"])
        about = dict(open_clip.get_model_preprocess_cfg(self.model))
        self.preprocess = Preprocess(about, tokenizer_of(source), trim=self.causal, background=background)
        for key in ("mean", "std"):
            value = torch.tensor(self.preprocess.config[key], dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(key, value, persistent=False)

    def encode_image(self, images: Tensor) -> Tensor:
        """Give the images' rows.

        Args:
            images: [B, 3, H, W]: uint8 pixels, or floating point pixels normalised already.

        Returns:
            [B, D], of unit length, float32 under any precision.
        """
        with _attention(images.device):
            return F.normalize(self.model.encode_image(normalize(images, self.mean, self.std)).float(), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Give the texts' rows.

        Args:
            tokens: [N, L]; where the tower is causal L may be less than the context length, with the same result.

        Returns:
            [N, D], of unit length, float32 under any precision.
        """
        with _attention(tokens.device):
            rows = _encode_causal_text(self.towers()["text"], tokens) if self.causal else self.model.encode_text(tokens)
        return F.normalize(rows.float(), dim=-1)

    @property
    def packs(self) -> bool:
        """Whether the text tower, as it is now, reads texts that are packed into rows (`packing.py`)."""
        return self.causal and readable(self.towers()["text"])

    def ends(self, tokens: Tensor) -> Tensor:
        """Where each text is pooled, [N], of tokens [N, L]; for causal towers."""
        return _ends(self.towers()["text"], tokens)

    def encode_packed(self, packs: Packs) -> Tensor:
        """Give the rows of texts that are packed into R rows with up to E ends each, [R * E, D], as `encode_text` gives them."""
        with _attention(packs.tokens.device):
            rows = _encode_packed_text(self.towers()["text"], packs)
        return F.normalize(rows.float(), dim=-1)

    def enter_image(self, images: Tensor, count: int) -> Tensor:
        """Give what enters block `count` of the image tower, [B, ...], of images [B, 3, H, W]."""
        with _attention(images.device):
            pixels = normalize(images, self.mean, self.std)
            return T.enter(self.towers()["image"], count, lambda: self.model.encode_image(pixels))

    def leave_image(self, inner: Tensor, count: int) -> Tensor:
        """Give the images' rows, [B, D], from what enters block `count`; all before it is passed by."""
        blank = inner.new_zeros(1, 3, *self.preprocess.size)  # goes through the stem, to nowhere
        with T.entered(self.towers()["image"], count, inner):
            return self.encode_image(blank)

    def restore_shapes(self) -> None:
        """Make `model` a plain open_clip model again, whose scale and bias may be scalars."""
        for tower in self.towers().values():
            pooled.remove(tower)
            batch_first.remove(tower)
            halves.remove(tower)
        for name, shape in self._shapes.items():
            self._reshape(name, shape)

    def _reshape(self, name: str, shape: torch.Size) -> None:
        old = getattr(self.model, name)
        setattr(self.model, name, nn.Parameter(old.detach().reshape(shape), requires_grad=old.requires_grad))

    @property
    def logit_scale(self) -> Tensor:
        """The factor on the cosines, not its logarithm."""
        return self.model.logit_scale.exp()

    @property
    def logit_bias(self) -> Tensor | None:
        """Added to the logits; only SigLIP has one."""
        return self.model.logit_bias

    def towers(self) -> dict[str, nn.Module]:
        """The image and the text tower; a plain CLIP's text tower is the model itself, without `visual`."""
        return {"image": self.model.visual, "text": getattr(self.model, "text", self.model)}

    def fingerprint(self) -> str:
        """Identify the weights: sha256 over the names, shapes and up to 1,024 evenly spaced values of each tensor."""
        digest = hashlib.sha256()
        for name, value in self.model.state_dict().items():
            digest.update(f"{name}{tuple(self._shapes.get(name, value.shape))}".encode())
            flat = value.detach().flatten()
            digest.update(flat[:: max(len(flat) // 1024, 1)].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Choose the attention kernel: the CPU's flash kernel takes 45 % of a bf16 training step, its plain products 10 %."""
    if device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        return _plain_products()
    return nullcontext()


@contextmanager
def _plain_products() -> Iterator[None]:
    """In bfloat16 as the flash kernel's, and not turned into float32: a tenth of a step, and gradients are no further from float32's."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()  # of every device, whatever its name says
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


def _pool_type(text: nn.Module) -> Any:
    return getattr(text, "text_pool_type", getattr(text, "pool_type", None))


def _is_causal(text: nn.Module) -> bool:
    """Whether the text tower reads only backwards from the end-of-text token, so that padding may be cut off."""
    pool = _pool_type(text)
    plain = getattr(text, "cls_emb", None) is None and not getattr(text, "use_pad_mask", False)
    return getattr(text, "attn_mask", None) is not None and pool in ("argmax", "eos") and plain


def _encode_causal_text(text: Any, tokens: Tensor) -> Tensor:
    """open_clip's text tower, also for fewer tokens than the context: positions and mask are cut, all else is the same."""
    length = tokens.shape[1]
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:length].to(dtype)  # [N, L, W]
    x = pooled.run(text.transformer, x, text.attn_mask[:length, :length], _ends(text, tokens)[:, None])
    return _projected(text, text.ln_final(x)[:, 0])


def _encode_packed_text(text: Any, packs: Packs) -> Tensor:
    """open_clip's text tower for packed texts: positions and mask are theirs, and each text is pooled where it ends."""
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(packs.tokens).to(dtype) + F.embedding(packs.places, text.positional_embedding).to(dtype)  # [R, L, W]
    x = pooled.run(text.transformer, x, packs.mask(heads_of(text), text.attn_mask.dtype), packs.ends)  # [R, E, W]
    return _projected(text, text.ln_final(x.flatten(0, 1)))


def _ends(text: nn.Module, tokens: Tensor) -> Tensor:
    """Where each text is pooled, [N]."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    eos = getattr(text, "text_eos_id", getattr(text, "eos_id", None))
    return text_global_pool(places[..., None], tokens, _pool_type(text), eos_token_id=eos)[:, 0]


def _projected(text: Any, x: Tensor) -> Tensor:
    projection = text.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection
