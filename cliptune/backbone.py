"""What is pretrained: any open_clip model as a pair of towers that give unit rows.

Holds the model, its preprocessing and tokenizer. What learns is the method's business; nothing here is ever frozen or changed.
"""

import hashlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.factory import load_checkpoint, load_state_dict
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transformer import text_global_pool
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cliptune.described import Described
from cliptune.errors import ConfigError, did_you_mean
from cliptune.preprocess import Preprocess, normalize

NANO = Path(__file__).parent / "nano"
SCHEMES = ("local-dir:", "hf-hub:")
WEIGHTS = ("*.safetensors", "*.bin", "*.pth")  # what open_clip takes from a folder; without one it would go on with random weights


class Backbone(Described, nn.Module):
    """A pretrained CLIP.

    Args:
        name: an open_clip architecture (`ViT-B-32`), `local-dir:FOLDER`, `hf-hub:OWNER/NAME`, or the bundled `nano`.
        pretrained: an open_clip tag, a `.pt` or `.safetensors` file, a `local-dir:` or `hf-hub:` name whose model must be `name`, or
            `random` to start from scratch. Empty for names that bring their own weights.
        image_size: pixels of a side, where it shall differ from the pretrained size; the positional embedding is interpolated.
        patch_dropout: share of the image patches left out in training (Li et al. 2023, FLIP); the model's own where not given.

    Raises:
        ConfigError: unknown name, tag or file; weights of another architecture or activation; a size that the patch does not divide.
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
    ) -> None:
        super().__init__()
        self.name, self.pretrained = name, pretrained
        source, weights = _resolve(name, pretrained)
        config = _model_config(source)
        _check_image_size(name, config, image_size)
        self.model = _create(source, image_size, patch_dropout, load=weights == "own", tag=_tag(source, weights, config))
        if weights not in ("own", "random") and not get_pretrained_cfg(source, weights):
            _load_file(self.model, name, Path(weights))
        self.config = config
        self.causal = _is_causal(self.towers()["text"])
        self.preprocess = Preprocess(dict(open_clip.get_model_preprocess_cfg(self.model)), _tokenizer(source), trim=self.causal)
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
        short = self.causal and tokens.shape[1] < self.model.context_length
        with _attention(tokens.device):
            rows = _encode_short_text(self.towers()["text"], tokens) if short else self.model.encode_text(tokens)
        return F.normalize(rows.float(), dim=-1)

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
            digest.update(f"{name}{tuple(value.shape)}".encode())
            flat = value.detach().flatten()
            digest.update(flat[:: max(len(flat) // 1024, 1)].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def _resolve(name: str, pretrained: str | None) -> tuple[str, str]:
    """Where the architecture comes from, and where the weights: `own`, `random`, a tag or a file."""
    if pretrained is not None and pretrained.startswith(SCHEMES):
        if not name.startswith(SCHEMES) and name != "nano":
            _check_same_architecture(name, pretrained)
        return pretrained, "own"
    source = f"local-dir:{NANO}" if name == "nano" else name
    if source.startswith("local-dir:") and not (Path(source[10:]) / "open_clip_config.json").is_file():
        raise ConfigError(
            f"backbone {name}: there is no open_clip_config.json in {source[10:]}. Give a folder that holds it and the weights."
        )
    if source.startswith("local-dir:") and pretrained is None and not any(any(Path(source[10:]).glob(kind)) for kind in WEIGHTS):
        raise ConfigError(
            f"backbone {name}: there are no weights in {source[10:]}. Set pretrained to a file, or to random to start from scratch."
        )
    if source.startswith(SCHEMES):
        return source, pretrained or "own"
    if source not in open_clip.list_models():
        raise ConfigError(
            f"backbone {name} is no open_clip model. {did_you_mean(name, [*open_clip.list_models(), 'nano'])} "
            "A folder is written local-dir:FOLDER, a hub model hf-hub:OWNER/NAME."
        )
    if pretrained is None:
        config = _model_config(source)
        tags = [tag for tag in list_pretrained_tags_by_model(source) if not _activation_hint(source, tag, config)]
        listed = ", ".join(tags[:6]) or "none known"
        raise ConfigError(
            f"backbone {name} needs weights. Set pretrained to a tag ({listed}), a .pt or .safetensors file, "
            "or random to start from scratch."
        )
    return source, pretrained


def _model_config(source: str) -> dict[str, Any]:
    try:
        config = open_clip.get_model_config(source)
    except Exception as error:
        raise ConfigError(f"backbone {source}: its configuration cannot be read: {_first_line(error)}.") from error
    if not config or "vision_cfg" not in config:
        raise ConfigError(f"backbone {source}: its open_clip_config.json has no model_cfg with a vision_cfg: it is no CLIP of open_clip.")
    return dict(config)


def _check_same_architecture(name: str, pretrained: str) -> None:
    ours, theirs = _model_config(name), _model_config(pretrained)
    for part in ("embed_dim", "vision_cfg", "text_cfg"):
        if ours.get(part) != theirs.get(part):
            raise ConfigError(
                f"pretrained {pretrained} is not a {name}: its {part} is {theirs.get(part)}, not {ours.get(part)}. "
                "Leave name out to take its own."
            )


def _check_image_size(name: str, config: dict[str, Any], image_size: int | None) -> None:
    patch = config["vision_cfg"].get("patch_size")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size {image_size} is not positive. Leave it out for {name}'s own.")
    if image_size is not None and patch and image_size % patch:
        near = max(round(image_size / patch), 1) * patch
        raise ConfigError(f"image_size {image_size} is not a multiple of {name}'s patch of {patch} pixels. Take {near}.")


def _tag(source: str, weights: str, config: dict[str, Any]) -> str | None:
    """The open_clip tag, checked; None for anything else."""
    if weights in ("own", "random") or source.startswith(SCHEMES):
        return None
    hint = _activation_hint(source, weights, config)
    if hint:
        raise ConfigError(hint)
    if get_pretrained_cfg(source, weights):
        return weights
    if not Path(weights).is_file():
        near = did_you_mean(weights, list_pretrained_tags_by_model(source))
        raise ConfigError(f"pretrained {weights} is neither a tag of {source} nor a file. {near}".rstrip())
    return None


def _activation_hint(source: str, tag: str, config: dict[str, Any]) -> str:
    """Say which model the tag's weights belong to, where that is the one with the other activation; else empty."""
    twin = source.removesuffix("-quickgelu") if source.endswith("-quickgelu") else f"{source}-quickgelu"
    quick = bool(config.get("quick_gelu", False))
    entry = get_pretrained_cfg(source, tag) or get_pretrained_cfg(twin, tag)
    # a model without a twin has one activation, which its tags need not repeat (roberta-ViT-B-32)
    if not entry or bool(entry.get("quick_gelu", False)) == quick or twin not in open_clip.list_models():
        return ""
    trained, built = ("GELU", "QuickGELU") if quick else ("QuickGELU", "GELU")
    return f"pretrained {tag} was trained with {trained}, but {source} has {built}: its rows would be wrong. Use name: {twin}."


def _create(source: str, image_size: int | None, patch_dropout: float | None, load: bool, tag: str | None) -> nn.Module:
    with warnings.catch_warnings():  # checked above, with the right name in the message
        warnings.filterwarnings("ignore", message=".*QuickGELU mismatch.*")
        try:
            model = open_clip.create_model(
                source,
                pretrained=tag,
                load_weights=load or tag is not None,
                require_pretrained=load,
                force_image_size=image_size,
                force_patch_dropout=patch_dropout,
                pretrained_text=False,
                weights_only=True,
            )
        except Exception as error:  # open_clip, timm and safetensors raise many kinds
            way = " Leave image_size out, where this model takes one size only." if image_size else ""
            raise ConfigError(f"backbone {source}{f' with {tag}' if tag else ''} cannot be built: {_first_line(error)}{way}") from error
    return model


def _load_file(model: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"pretrained {path}: there is no such file.")
    try:
        load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:
        raise ConfigError(f"pretrained {path} {_why_not(model, name, path, error)}") from error


def _why_not(model: nn.Module, name: str, path: Path, error: Exception) -> str:
    try:
        theirs = load_state_dict(str(path))
    except Exception as unread:  # an unpickler refuses in many ways, and nothing of the file was run
        return (
            f"cannot be read as plain weights ({type(unread).__name__}): it is damaged, or holds more than tensors, which could run code. "
            "Save the model's state_dict() as .safetensors."
        )
    return f"is not a {name}: {_key_difference(model, theirs) or _first_line(error)}"


def _key_difference(model: nn.Module, state: dict[str, Any]) -> str:
    """Name the first keys in which a file differs from the model."""
    theirs = {key: tuple(value.shape) for key, value in state.items() if isinstance(value, Tensor)}
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    missing = [key for key in ours if key not in theirs][:2]
    extra = [key for key in theirs if key not in ours][:2]
    shapes = [f"{key} {theirs[key]} instead of {ours[key]}" for key in ours if key in theirs and theirs[key] != ours[key]]
    parts = [("it lacks ", missing), ("it has the unknown ", extra), ("it has ", shapes[:2])]
    return "; ".join(lead + ", ".join(keys) for lead, keys in parts if keys) + "." if missing or extra or shapes else ""


def _tokenizer(source: str) -> Callable[..., Tensor]:
    try:
        return open_clip.get_tokenizer(source)
    except ImportError as error:  # open_clip's dependency for the tokenizers of the Hugging Face hub is optional
        raise ConfigError(f"backbone {source} needs its tokenizer from transformers: pip install transformers sentencepiece.") from error
    except Exception as error:
        raise ConfigError(f"backbone {source}: its tokenizer cannot be loaded: {_first_line(error)}") from error


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Choose the attention kernel: the CPU's flash kernel takes 45 % of a bf16 training step, its plain products 10 %."""
    if device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _pool_type(text: nn.Module) -> Any:
    return getattr(text, "text_pool_type", getattr(text, "pool_type", None))


def _is_causal(text: nn.Module) -> bool:
    """Whether the text tower reads only backwards from the end-of-text token, so that padding may be cut off."""
    pool = _pool_type(text)
    plain = getattr(text, "cls_emb", None) is None and not getattr(text, "use_pad_mask", False)
    return getattr(text, "attn_mask", None) is not None and pool in ("argmax", "eos") and plain


def _encode_short_text(text: Any, tokens: Tensor) -> Tensor:
    """open_clip's text tower for fewer tokens than the context: positions and mask are cut, all else is the same."""
    length = tokens.shape[1]
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:length].to(dtype)  # [N, L, W]
    x = text.ln_final(text.transformer(x, attn_mask=text.attn_mask[:length, :length]))
    x = text_global_pool(x, tokens, _pool_type(text), eos_token_id=getattr(text, "text_eos_id", getattr(text, "eos_id", None)))  # [N, W]
    projection = text.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
