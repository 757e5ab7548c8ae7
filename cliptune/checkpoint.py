"""What a checkpoint holds beyond Lightning's own: only what learned, and the recipe that rebuilds the model from it.

Everything is plain data, so that `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

import cliptune
from cliptune import archive
from cliptune.backbone import Backbone
from cliptune.described import build, completed, plain
from cliptune.errors import CheckpointError, CliptuneError
from cliptune.methods.base import ClassTexts, Method
from cliptune.objectives.base import Objective
from cliptune.trust import FORMAT, check_is_ours, wrote

if TYPE_CHECKING:
    from cliptune.module import AdaptModule

SHOWN = 100  # characters of a value in a message


def learned_names(method: Method, objective: Objective | None, backbone: Backbone) -> list[str]:
    """The names in the module of the tensors that training changed; all of a CLIP that started from random weights."""
    learned = set(backbone.state_dict() if _is_random(backbone) else method.learned(backbone))
    own = [*method.state_dict(prefix="method."), *(objective.state_dict(prefix="objective.") if objective is not None else {})]
    learned.update(objective.learned(backbone) if objective is not None else ())
    return [*(f"backbone.{name}" for name in backbone.state_dict() if name in learned), *own]


def learned_state(method: Method, objective: Objective | None, backbone: Backbone) -> dict[str, Tensor]:
    """The tensors that training changed, by their names in the module."""
    parts = {"backbone.": backbone, "method.": method, "objective.": objective}
    state = {f"{prefix}{name}": value for prefix, part in parts.items() if part is not None for name, value in part.state_dict().items()}
    return {name: state[name] for name in learned_names(method, objective, backbone)}


def learned_only(state: dict[str, Tensor], module: AdaptModule) -> dict[str, Tensor]:
    """Of a module's whole state what training changed.

    Args:
        state: by name; empty on all processes but the first, where one gathers it from all.
        module: whose it is.
    """
    names = learned_names(module.method, module.objective, module.backbone)
    return {name: state[name] for name in names if name in state}


def recipe(module: AdaptModule) -> dict[str, Any]:
    """How to rebuild a module's model, as plain data."""
    about = describe(module.backbone, module.method, module.classes, module.base_fingerprint)
    return {**about, "objective": module.objective.describe(), "schedule_start": module.schedule_start}


def describe(backbone: Backbone, method: Method, classes: ClassTexts, base_fingerprint: str) -> dict[str, Any]:
    """What a model is made of, as plain data.

    Args:
        backbone: of the model.
        method: attached to it.
        classes: that it was adapted to.
        base_fingerprint: of the weights before.
    """
    return {
        "format": FORMAT,
        "version": cliptune.__version__,
        "backbone": backbone.describe(),
        "base_fingerprint": base_fingerprint,
        "method": method.describe(),
        "objective": None,
        "preprocess": plain(backbone.preprocess.config),
        "class_names": plain(classes.names),
        "class_texts": plain(classes.texts),
        "templates": plain(classes.templates),
        "tokenizer": backbone.preprocess.about_tokenizer(),
        "activation": "QuickGELU" if backbone.config.get("quick_gelu") else "GELU",
    }


def read(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, running nothing of it.

    Raises:
        CheckpointError: there is no such file, or it is no checkpoint of cliptune.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no checkpoint {path}. Give a run folder, or a .ckpt file in its checkpoints.")
    try:
        found = archive.load(Path(path))
    except archive.RefusedError as error:
        raise CheckpointError(f"{path} is not read: it {error}. Give one that cliptune wrote.") from None
    except Exception as error:  # an unpickler refuses in many ways
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}): it is damaged, or holds more than plain data, "
            "which could run code. Give one that cliptune wrote."
        ) from error
    check_is_ours(found, str(path))
    return dict(found)


def check_goes_on(checkpoint: dict[str, Any], path: Path) -> None:
    """Refuse to train on from a checkpoint that was kept for use.

    Raises:
        CheckpointError: it has no optimizer's state, or lacks what Lightning keeps.
    """
    if "optimizer_states" not in checkpoint:
        last = path.with_name("last.ckpt")
        way = f"Go on from last.ckpt: --ckpt_path {last}" if last.is_file() else "Go on from the last.ckpt of its run"
        raise CheckpointError(f"{path} holds what use needs, and no optimizer's state to train on with. {way}.")
    kinds = {"global_step": int, "epoch": int, "loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list}
    odd = [key for key, kind in kinds.items() if not isinstance(checkpoint.get(key), kind)]
    if odd:
        raise CheckpointError(f"{path} cannot be trained on with: it lacks {', '.join(odd)}. Give one that cliptune wrote.")


def check_fits(checkpoint: dict[str, Any], module: AdaptModule) -> None:
    """Refuse a checkpoint that is not of this module, whose method is attached.

    Raises:
        CheckpointError: naming the part or the tensors that differ.
    """
    check_parts(checkpoint, module)
    theirs, ours = list(checkpoint["cliptune"]["class_names"]), module.classes.names
    if module.method.bound_to_classes and theirs != ours:
        raise CheckpointError(
            f"the checkpoint learned {len(theirs)} classes ({_listed(theirs)}), and the data has {len(ours)} ({_listed(ours)}): what "
            f"{type(module.method).__name__} learns is of its own classes alone. Give their data, or adapt with LoRA, Full or prompts "
            "that classes share."
        )
    check_state(checkpoint["state_dict"], learned_state(module.method, module.objective, module.backbone))


def check_parts(checkpoint: dict[str, Any], module: AdaptModule) -> None:
    """Refuse a checkpoint whose backbone, method or objective is not the module's.

    Raises:
        CheckpointError: naming the part, and the checkpoint's and the module's value.
    """
    check_is_ours(checkpoint, "the checkpoint")
    theirs, ours = checkpoint["cliptune"], recipe(module)
    for part in ("backbone", "method", "objective"):
        difference = _difference(theirs[part], ours[part])
        if difference:
            raise CheckpointError(
                f"the checkpoint is of another {part}: {difference}. Set it so, or start without --ckpt_path. "
                f"To load another run's model for use, see cliptune.load.{wrote(theirs)}"
            )
    if theirs["base_fingerprint"] != ours["base_fingerprint"] and not _is_random(module.backbone):
        raise CheckpointError(
            f"the checkpoint was trained on other weights of {ours['backbone']['arguments']['name']} "
            f"({theirs['base_fingerprint']}, not {ours['base_fingerprint']}). Give the same pretrained weights.{wrote(theirs)}"
        )


def check_state(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> None:
    """Refuse a state with keys missing or unknown, or of another shape.

    Raises:
        CheckpointError: naming the first few.
    """
    shapes = [
        f"{key} {tuple(theirs[key].shape)} instead of {tuple(value.shape)}"
        for key, value in ours.items()
        if key in theirs and theirs[key].shape != value.shape
    ]
    found = {"lacks": sorted(ours.keys() - theirs.keys()), "has the unknown": sorted(theirs.keys() - ours.keys()), "has": shapes}
    parts = [f"{lead} {', '.join(keys[:3])}" for lead, keys in found.items() if keys]
    if parts:
        raise CheckpointError(f"the checkpoint {' and '.join(parts)}. It does not fit this model: give the model that it was trained on.")


def rebuild(checkpoint: dict[str, Any]) -> tuple[Backbone, Method]:
    """Build the adapted model from a checkpoint alone.

    Returns:
        The backbone and the method, attached, with what was learned, in evaluation mode.

    Raises:
        CheckpointError: the base weights are not those it was trained on, or keys do not fit.
    """
    found, state = checkpoint["cliptune"], checkpoint["state_dict"]
    with telling_versions(found):
        backbone, method = attached(found)
        objective: Objective = build(found["objective"])
        objective.attach(backbone, [1] * len(found["class_names"]))  # so that what it has learn is known; itself it serves training alone
        check_state(state, learned_state(method, objective, backbone))
        for prefix, part in (("backbone.", backbone), ("method.", method)):
            part.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}, strict=False)
    return backbone.requires_grad_(False).eval(), method.requires_grad_(False).eval()


@contextmanager
def telling_versions(recipe: dict[str, Any]) -> Iterator[None]:
    """Turn whatever goes wrong with a recipe into one line that says which version wrote it, where that is another one.

    Raises:
        CheckpointError: for an error of the user's, and for what a recipe that no cliptune wrote leads to.
    """
    try:
        yield
    except CliptuneError as error:
        raise CheckpointError(f"{error}{wrote(recipe)}") from None
    except (RuntimeError, MemoryError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise CheckpointError(
            f"the checkpoint's recipe makes no model ({type(error).__name__}: {said}). Give one that cliptune wrote.{wrote(recipe)}"
        ) from error


def attached(recipe: dict[str, Any]) -> tuple[Backbone, Method]:
    """The backbone and the method of a recipe, attached, before anything was learned.

    Raises:
        CheckpointError: the base weights are not those it was trained on.
    """
    backbone: Backbone = build(recipe["backbone"])
    method: Method = build(recipe["method"])
    base = backbone.fingerprint()
    if base != recipe["base_fingerprint"] and not _is_random(backbone):
        raise CheckpointError(
            f"the checkpoint was trained on other weights of {backbone.name} ({recipe['base_fingerprint']}, not {base}). "
            f"Put those back to {backbone.pretrained or backbone.name}."
        )
    classes = ClassTexts(recipe["class_names"], recipe["class_texts"], backbone.preprocess, recipe.get("templates") or ())
    method.attach(backbone, classes)
    return backbone, method


def _is_random(backbone: Backbone) -> bool:
    """Whether nobody can make the base weights again, so that a checkpoint must hold those that do not learn too."""
    return backbone.pretrained == "random"


def _difference(theirs: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    if theirs is None:
        return "none is known"
    if theirs["class"] != ours["class"]:
        return f"{theirs['class'].rpartition('.')[2]}, not {ours['class'].rpartition('.')[2]}"
    before, now = completed(theirs)["arguments"], ours["arguments"]
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return ", ".join(f"{key} {_shown(before.get(key))}, not {_shown(now.get(key))}" for key in changed[:3])


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
