"""`cliptune.load`: from what lies on a disk, or the name of a CLIP, to a model in use."""

import json
from pathlib import Path
from typing import Any

import torch

from cliptune import adapters
from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.checkpoint import attached, describe, read, rebuild, telling_versions
from cliptune.described import build
from cliptune.errors import CheckpointError, ConfigError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.pretrained import SCHEMES
from cliptune.trust import check_is_ours

RECIPE_FILE = "cliptune.json"  # beside what another library reads: the recipe, as in a checkpoint


def load(path: str | Path, device: str | torch.device = "cpu") -> AdaptedCLIP:
    """Load a model for use.

    Args:
        path: a run folder, of which the best checkpoint is taken; a `.ckpt` file; a folder that `cliptune export` wrote as `peft` or
            `open_clip`; or an untouched CLIP: `nano`, `NAME,PRETRAINED` such as `ViT-B-32-quickgelu,openai`, or a `local-dir:` or
            `hf-hub:` name.
        device: where to put it.

    Raises:
        CheckpointError: there is none, or it does not fit.
        ConfigError: there is no CLIP of that name.
    """
    name, folder = str(path), Path(path)
    if name == "nano" or "," in name or name.startswith(SCHEMES):
        base, _, weights = name.partition(",")
        return untouched(base, weights or None).to(device)
    if folder.is_dir() and (folder / "adapter_config.json").is_file():
        return _of_adapter(folder).to(device)
    if folder.is_dir() and (folder / "open_clip_config.json").is_file():
        return _of_open_clip(folder).to(device)
    checkpoint = read(folder / "checkpoints" / "best.ckpt" if folder.is_dir() else folder)
    return AdaptedCLIP(*rebuild(checkpoint), checkpoint["cliptune"]).to(device)


def usual_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def untouched(name: str, pretrained: str | None = None, recipe: dict[str, Any] | None = None) -> AdaptedCLIP:
    """A CLIP as it is.

    Args:
        name: of the backbone.
        pretrained: its weights.
        recipe: classes, where it knows any.
    """
    backbone, method = Backbone(name, pretrained), Full()
    known = recipe or {"class_names": [], "class_texts": []}
    classes = ClassTexts(known["class_names"], known["class_texts"], backbone.preprocess, known.get("templates") or ())
    method.attach(backbone, classes)
    return AdaptedCLIP(backbone.requires_grad_(False).eval(), method.eval(), describe(backbone, method, classes, backbone.fingerprint()))


def untouched_of(model: AdaptedCLIP) -> AdaptedCLIP:
    """The CLIP that a model was before it was adapted, with the same classes."""
    backbone, method = build(model.about["backbone"]), Full()
    method.attach(backbone, model.classes)
    about = describe(backbone, method, model.classes, model.about["base_fingerprint"])
    return AdaptedCLIP(backbone.requires_grad_(False).eval(), method.eval(), about).to(model.device)


def read_recipe(folder: Path) -> dict[str, Any]:
    """The recipe beside an export.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    file = folder / RECIPE_FILE
    if not file.is_file():
        raise CheckpointError(f"{folder} has no {RECIPE_FILE}, which says what the adapter was made on. Load the run, or export it again.")
    try:
        found = {"cliptune": json.loads(file.read_text(encoding="utf-8")), "state_dict": {}}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged: {error}. Export the run again.") from None
    check_is_ours(found, str(file))
    return dict(found["cliptune"])


def _of_adapter(folder: Path) -> AdaptedCLIP:
    recipe = read_recipe(folder)
    _, state = adapters.read(folder)
    with telling_versions(recipe):
        backbone, method = attached(recipe)
        adapters.put(backbone.model, state)
    return AdaptedCLIP(backbone.requires_grad_(False).eval(), method.requires_grad_(False).eval(), recipe)


def _of_open_clip(folder: Path) -> AdaptedCLIP:
    known = read_recipe(folder) if (folder / RECIPE_FILE).is_file() else None
    try:
        return untouched(f"local-dir:{folder}", None, known)
    except ConfigError as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}") from None
