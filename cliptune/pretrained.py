"""From the name of a CLIP and of its weights to an open_clip model, and what is wrong where they do not fit."""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import load_checkpoint, load_state_dict
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from torch import Tensor, nn

from cliptune import archive
from cliptune.errors import ConfigError, did_you_mean
from cliptune.hub import fetched
from cliptune.unfilled import unfilled

NANO = Path(__file__).parent / "nano"
LARGEST = 4096  # pixels of a side; four times what any CLIP is trained at
MOST = {"layers": 1_000, "context_length": 10_000, "image_size": LARGEST, "width": 100_000}  # of a tower in a folder's config
SCHEMES = ("local-dir:", "hf-hub:")
WEIGHTS = ("*.safetensors", "*.bin", "*.pth")  # what open_clip takes from a folder; without one it would go on with random weights


def resolve(name: str, pretrained: str | None) -> tuple[str, str]:
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
        config = model_config(source)
        tags = [tag for tag in list_pretrained_tags_by_model(source) if not _activation_hint(source, tag, config)]
        listed = ", ".join(tags[:6]) or "none known"
        raise ConfigError(
            f"backbone {name} needs weights. Set pretrained to a tag ({listed}), a .pt or .safetensors file, "
            "or random to start from scratch."
        )
    return source, pretrained


def model_config(source: str) -> dict[str, Any]:
    """The architecture, as open_clip's `open_clip_config.json` or its own list has it."""
    with _fetched(source):
        try:
            config = open_clip.get_model_config(source)
        except Exception as error:
            raise ConfigError(f"backbone {source}: its configuration cannot be read: {_first_line(error)}.") from error
    if not config or "vision_cfg" not in config:
        raise ConfigError(f"backbone {source}: its open_clip_config.json has no model_cfg with a vision_cfg: it is no CLIP of open_clip.")
    return dict(config)


def _fetched(source: str, tag: str | None = None) -> AbstractContextManager[None]:
    """Around what may be fetched; the hub is not asked where nothing is of it."""
    what = f"backbone {source}{f' with {tag}' if tag else ''}"
    return fetched(what) if tag is not None or source.startswith("hf-hub:") else nullcontext()


def _check_same_architecture(name: str, pretrained: str) -> None:
    ours, theirs = model_config(name), model_config(pretrained)
    for part in ("embed_dim", "vision_cfg", "text_cfg"):
        if ours.get(part) != theirs.get(part):
            raise ConfigError(
                f"pretrained {pretrained} is not a {name}: its {part} is {theirs.get(part)}, not {ours.get(part)}. "
                "Leave name out to take its own."
            )


def check_image_size(name: str, config: dict[str, Any], image_size: int | None) -> None:
    """Refuse a size that the patch does not divide."""
    patch = config["vision_cfg"].get("patch_size")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size {image_size} is not positive. Leave it out for {name}'s own.")
    if image_size is not None and image_size > LARGEST:
        raise ConfigError(f"image_size {image_size} is more than {LARGEST} pixels. Leave it out for {name}'s own.")
    if image_size is not None and patch and image_size % patch:
        near = max(round(image_size / patch), 1) * patch
        raise ConfigError(f"image_size {image_size} is not a multiple of {name}'s patch of {patch} pixels. Take {near}.")


def checked_tag(source: str, weights: str, config: dict[str, Any]) -> str | None:
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


def check_folder(source: str, load: bool) -> None:
    """Refuse a folder whose config asks for more memory than its weights hold, before any is taken: it may be of anybody.

    Args:
        source: a `local-dir:` name.
        load: whether its own weights will be read.
    """
    config = model_config(source)
    towers = [part for key, part in config.items() if key.endswith("_cfg") and isinstance(part, dict)]
    for key, most in MOST.items():
        number = max((_number(tower.get(key)) for tower in towers), default=0)
        if number > most:
            raise ConfigError(f"backbone {source}: {key} {number:,} in its open_clip_config.json is more than {most:,}. Mend the config.")
    held = sum(file.stat().st_size for kind in WEIGHTS for file in Path(source[10:]).glob(kind))
    least = sum(_least(config[key]) for key in ("vision_cfg", "text_cfg") if isinstance(config.get(key), dict))
    if load and least > held:
        raise ConfigError(
            f"backbone {source}: its open_clip_config.json describes {least:,} parameters or more, and its weights have {held:,} bytes. "
            "Give the config that belongs to them."
        )


def _least(tower: dict[str, Any]) -> int:
    """Parameters that a tower has at least: attention's four matrices (a ResNet: the stem's second convolution) and the embeddings."""
    if "hf_model_name" in tower or "timm_model_name" in tower:  # whose sizes are not these
        return 0
    width, patch, size = _number(tower.get("width")), _number(tower.get("patch_size")), tower.get("image_size")
    patches = (size // patch) ** 2 if patch and isinstance(size, int) else 0
    blocks = 9 * (width // 2) ** 2 if isinstance(tower.get("layers"), list) else 4 * _number(tower.get("layers")) * width**2
    return blocks + width * (patches + _number(tower.get("context_length")) + _number(tower.get("vocab_size")))


def _number(value: Any) -> int:
    """How much an entry of a config counts; of a list, its sum."""
    if isinstance(value, list):
        return sum(map(_number, value))
    return value if isinstance(value, int) and value > 0 else 0


def create(source: str, image_size: int | None, patch_dropout: float | None, load: bool, tag: str | None, filled: bool) -> nn.Module:
    """Build the model, with its own weights or a tag's where asked for; unless it is to be `filled`, all are loaded, here or next."""
    if source.startswith("local-dir:"):
        check_folder(source, load)
    with _fetched(source, tag), nullcontext() if filled else unfilled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*QuickGELU mismatch.*")  # checked above, with the right name in the message
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


def load_file(model: nn.Module, name: str, path: Path) -> None:
    """Put a file's weights into the model; nothing in the file is ever run."""
    if not path.is_file():
        raise ConfigError(f"pretrained {path}: there is no such file.")
    if path.suffix != ".safetensors":
        try:
            archive.check(path)
        except archive.RefusedError as error:
            raise ConfigError(f"pretrained {path} is not read: it {error}. Save the model's state_dict() as .safetensors.") from None
        except Exception as error:  # said below, with what else may be wrong
            logging.getLogger(__name__).debug("%s: %s", path, error)
    try:
        with archive.mapped(path):
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


def tokenizer_of(source: str) -> Callable[..., Tensor]:
    """The model's own tokenizer: texts to ids [N, context]."""
    with _fetched(source):
        try:
            return open_clip.get_tokenizer(source)
        except ImportError as error:  # open_clip's dependency for the tokenizers of the Hugging Face hub is optional
            raise ConfigError(
                f"backbone {source} needs its tokenizer from transformers: pip install transformers sentencepiece."
            ) from error
        except Exception as error:
            raise ConfigError(f"backbone {source}: its tokenizer cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
