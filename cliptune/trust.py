"""What a checkpoint must be before anything of it is used: it may be of anybody, and of any version."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

import cliptune
from cliptune.archive import is_name
from cliptune.described import is_description
from cliptune.errors import CheckpointError

FORMAT = 1  # raised when an old reader would misread a new checkpoint


def check_is_ours(checkpoint: Any, name: str) -> None:
    """Refuse what cliptune did not write, or a newer cliptune wrote.

    Raises:
        CheckpointError: with the version that wrote it, where it says so.
    """
    ours = checkpoint.get("cliptune") if isinstance(checkpoint, dict) else None
    if not isinstance(ours, dict):
        raise CheckpointError(f"{name} is no checkpoint of cliptune: it holds no recipe. Weights of a CLIP go into backbone.pretrained.")
    if _is_count(ours.get("format")) and ours["format"] > FORMAT and is_name(ours.get("version")):
        raise CheckpointError(
            f"{name} was written by cliptune {ours['version']}, which is newer than this {cliptune.__version__}. Upgrade."
        )
    parts = {**ours, **{key: checkpoint[key] for key in ("state_dict",) if key in checkpoint}}
    lacking = [key for key in (*RECIPE, "state_dict") if key not in parts]
    odd = [key for key, fits in {**RECIPE, **FURTHER}.items() if key in parts and not fits(parts[key])]
    if not lacking and not odd and len(ours["class_names"]) != len(ours["class_texts"]):
        odd = ["class_texts"]
    if lacking or odd:
        what = [f"it lacks {', '.join(lacking)}"] * bool(lacking) + [f"it has no such {', '.join(odd)} as cliptune writes"] * bool(odd)
        raise CheckpointError(f"{name} is no whole checkpoint of cliptune: {'; '.join(what)}. Give one that cliptune wrote.{wrote(ours)}")


def wrote(recipe: dict[str, Any]) -> str:
    """The end of a message on what may be of another version: which one wrote it and which this is; empty where they are the same."""
    version = recipe.get("version")
    if version == cliptune.__version__ or not is_name(version):
        return ""
    return f" It was written by cliptune {version}, and this is {cliptune.__version__}."


def _is_part(value: Any) -> bool:
    return is_description(value) and _speaks(value)


def _speaks(value: Any) -> bool:
    """Whether all words in it can stand in a message of one line."""
    if isinstance(value, dict):
        return all(is_name(key) and _speaks(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_speaks, value))
    return value is None or is_name(value) or isinstance(value, (bool, int, float))


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_texts(value: Any) -> bool:
    """Lists with a text or more, one for each class."""
    return isinstance(value, list) and all(_is_words(texts) and texts for texts in value)


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(is_name(key) and isinstance(tensor, Tensor) for key, tensor in value.items())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


Fits = Callable[[Any], bool]
RECIPE: dict[str, Fits] = {  # what a reader cannot do without
    "backbone": _is_part,
    "base_fingerprint": is_name,
    "method": _is_part,
    "objective": lambda value: value is None or _is_part(value),
    "class_names": _is_words,
    "class_texts": _is_texts,
}
FURTHER: dict[str, Fits] = {  # what it looks at, where it is there
    "state_dict": _is_state,
    "templates": lambda value: value is None or _is_words(value),
    "schedule_start": _is_count,
    "format": _is_count,
    "version": is_name,
}
