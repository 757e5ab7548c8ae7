"""What travels with the package: configs and recipes; in the wheel they lie beside the modules, in a checkout above them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parent
OVERLAYS = ("offline", "described")  # of recipes: files that are laid over others


def shipped_folder(kind: str) -> Path | None:
    """The folder `configs` or `recipes`, if there is one."""
    return next((folder for folder in (PACKAGE / kind, PACKAGE.parent / kind) if folder.is_dir()), None)


def shipped_config(name: str) -> Path | None:
    """The config or recipe of that name, if there is one.

    Args:
        name: `digits`, `objective/balanced`; of a recipe as much of its name as tells it apart: `ham10000/lora`.
    """
    configs = shipped_folder("configs")
    file = None if configs is None else configs / f"{name.removesuffix('.yaml')}.yaml"
    return file if file is not None and file.is_file() else shipped_recipe(name)


def shipped_configs() -> list[str]:
    """The names of the shipped configs, without recipes."""
    return _names("configs")


def shipped_recipe(name: str) -> Path | None:
    """The recipe or overlay that a name ends like, if there is exactly one.

    Args:
        name: `recipes/medical/ham10000/lora`, with or without what stands before or behind it.
    """
    folder, plain = shipped_folder("recipes"), name.removesuffix(".yaml").removeprefix("recipes/")
    found = [known for known in shipped_recipes() if f"/{known}".endswith(f"/{plain}")] if plain else []
    return folder / f"{found[0]}.yaml" if folder is not None and len(found) == 1 else None


def shipped_recipes() -> list[str]:
    """The names of the recipes and overlays: `medical/ham10000/lora`."""
    return _names("recipes")


def offline_overlay(words: Sequence[str]) -> str | None:
    """The overlay beside the configs of a command line that needs no network, where there is one and it is not among them."""
    given = [
        after if word in ("--config", "-c") else word.partition("=")[2]
        for word, after in pairwise([*words, ""])
        if word.partition("=")[0] in ("--config", "-c")
    ]
    if any(Path(config).stem == OVERLAYS[0] for config in given):
        return None
    for config in given:
        path = Path(config) if Path(config).is_file() else shipped_config(config)
        if path is not None and (path.parent / f"{OVERLAYS[0]}.yaml").is_file():
            beside = Path(config).with_name(f"{OVERLAYS[0]}.yaml")
            return str(beside if path == Path(config) else beside.with_suffix(""))
    return None


def here_or_shipped(name: str) -> Path:
    """A file that a config names: as it stands, else, where it begins with `recipes/`, as it was shipped."""
    path, folder = Path(name).expanduser(), shipped_folder("recipes")
    if path.is_file() or folder is None or not name.startswith("recipes/"):
        return path
    shipped = folder / name.removeprefix("recipes/")
    return shipped if shipped.is_file() else path


def _names(kind: str) -> list[str]:
    folder = shipped_folder(kind)
    if folder is None:
        return []
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
