"""What a config says under `guard`: held-out sets on which is seen what an adaptation forgets. They are opened in `guards.py`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cliptune.data.texts.templates import TEMPLATE
from cliptune.errors import ConfigError, did_you_mean

SPLITS = ("train", "validation", "test", "all")
CLASSES = ("all", "base", "new")
PLAIN_STEMS = ("data", "dataset", "images", "metadata", "table", "test", "train", "validation", "val")  # their folder says more


@dataclass
class GuardSet:
    """A held-out set, labelled or captioned, as a config has it.

    Args:
        path: as `data.path`.
        name: that it has in metrics, `guard/NAME/top1`; the path's last part where not given.
        images: at most so many are scored, always the same ones.
        split: whose images: `train`, `validation`, `test`, or `all`; of data that has no split of that name, all.
        image_column: as `data.image_column`; so are the other columns.
        caption_column: null not to use captions.
        label_column: null not to use labels.
        split_column: null for none.
        class_names: as `data.class_names`.
        classes: `base` or `new` for half of the classes, as `data.classes`.
        templates: texts around class names.
        allow_outside: let image paths in a table lead out of its folder.
    """

    path: str
    name: str | None = None
    images: int = 1000
    split: Literal["train", "validation", "test", "all"] = "test"
    image_column: str = "auto"
    caption_column: str | None = "auto"
    label_column: str | None = "auto"
    split_column: str | None = "auto"
    class_names: str | list[str] | None = None
    classes: Literal["all", "base", "new"] = "all"
    templates: str | list[str] = TEMPLATE
    allow_outside: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ConfigError: naming the value, the rule and the way out.
        """
        if not isinstance(self.path, str) or not self.path:
            raise ConfigError(f"guard: path {self.path!r} is no path. Give a file, a folder, a hub id, or digits.")
        if not isinstance(self.images, int) or isinstance(self.images, bool) or self.images < 1:
            raise ConfigError(f"guard {self.path}: images {self.images!r} is no number of images. Take 1000.")
        for key, options in (("split", SPLITS), ("classes", CLASSES)):
            value = getattr(self, key)
            if value not in options:
                raise ConfigError(f"guard {self.path}: {key} {value!r} is not known. {did_you_mean(str(value), options)}")
        if self.name is not None and not re.fullmatch(r"[\w.+-]+", str(self.name)):
            raise ConfigError(f"guard {self.path}: name {self.name!r} becomes part of metrics. Take letters, digits, _ . + and -.")


def guard_sets(given: Any) -> list[GuardSet]:
    """Read what a config or the command line gives.

    Args:
        given: a path, a map, or a list of these; None for none.

    Returns:
        The sets, each with a name of its own.

    Raises:
        ConfigError: naming the value, the rule and the way out.
    """
    listed = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    found = [_one(each) for each in listed]
    taken = [one.name for one in found if one.name is not None]
    twice = next((name for name in taken if taken.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"guard: two sets have the name {twice}. Give each one its own.")
    for one in found:
        if one.name is None:
            one.name = _free(_usual_name(one.path), taken)
            taken.append(one.name)
    return found


def _one(given: Any) -> GuardSet:
    if isinstance(given, GuardSet):
        return given
    if isinstance(given, str):
        return GuardSet(given)
    if not isinstance(given, dict):
        raise ConfigError(f"guard: {given!r} is no set. Write a path, or a map such as {{path: photos.parquet, images: 500}}.")
    known = [field.name for field in fields(GuardSet)]
    odd = [key for key in given if key not in known]
    if odd:
        raise ConfigError(f"guard: there is no key {odd[0]}. {did_you_mean(str(odd[0]), known)}")
    if "path" not in given:
        raise ConfigError("guard: a set has no path. Give a file, a folder, a hub id, or digits.")
    return GuardSet(**given)


def _usual_name(path: str) -> str:
    place = Path(path)
    stem = place.name if place.is_dir() else place.stem
    if stem.lower() in PLAIN_STEMS and place.absolute().parent.name:
        stem = place.absolute().parent.name
    return re.sub(r"[^\w.+-]+", "_", stem).strip("_.") or "guard"


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or the first of name-2, name-3, ... that nobody has."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
