"""What travels with the package: configs and recipes; in the wheel they lie beside the modules, in a checkout above them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parent
OVERLAYS = ("offline", "described")  # of recipes: files that are laid over others
TABLE = "table.py"  # beside recipes: the script that makes what they read
CARD = "README.md"
UNSHIPPED = "../shared/"  # where data of tables in the docs lies, beside a checkout


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


def recipe_folders() -> list[str]:
    """The data sets that have recipes, and then the domains: `medical/ham10000`, `medical`."""
    sets = dict.fromkeys(name.rpartition("/")[0] for name in shipped_recipes())
    return list(dict.fromkeys([*sets, *(folder.partition("/")[0] for folder in sets)]))


def recipe_folder(name: str) -> str | None:
    """The data set or domain that a name ends like, if there is exactly one."""
    plain = name.removeprefix("recipes/").strip("/")
    found = [folder for folder in recipe_folders() if f"/{folder}".endswith(f"/{plain}")] if plain else []
    return found[0] if len(found) == 1 else None


def given_configs(words: Sequence[str]) -> dict[str, Path]:
    """The configs of a command line that there are: their files by what was given."""
    given = [
        after if word in ("--config", "-c") else word.partition("=")[2]
        for word, after in pairwise([*words, ""])
        if word.partition("=")[0] in ("--config", "-c")
    ]
    found = {config: Path(config) if Path(config).is_file() else shipped_config(config) for config in given}
    return {config: file for config, file in found.items() if file is not None}


def offline_overlay(words: Sequence[str]) -> str | None:
    """The overlay beside the configs of a command line that needs no network, where there is one and it is not among them."""
    given = given_configs(words)
    if any(file.stem == OVERLAYS[0] for file in given.values()):
        return None
    for config, file in given.items():
        if (file.parent / f"{OVERLAYS[0]}.yaml").is_file():
            beside = Path(config).with_name(f"{OVERLAYS[0]}.yaml")
            return str(beside if file == Path(config) else beside.with_suffix(""))
    return None


def data_source(path: str, words: Sequence[str]) -> str:
    """Where data comes from that is not there and that a config of a command line names, in a sentence; `` where none of them tells."""
    for file in given_configs(words).values():
        text = file.read_text(encoding="utf-8")
        if not re.search(rf"path: {re.escape(path)}(?![^\s,}}])", text):
            continue
        if path.startswith(UNSHIPPED):
            return "This data does not come with cliptune: name data of your own (--data.path, --guard)."
        card = _card(file)
        if card and re.search(rf"(?m)^# Needs:.*{CARD}", text):
            made = file.with_name(TABLE)
            how = f"made by {made.name if _is_shipped(made) else made}" if made.is_file() else "to be fetched"
            return f"It is {how}: see {card}."
    return ""


def laid_over(file: Path) -> str:
    """The configs that an overlay's own command gives, a recipe before it; `` of what is no overlay."""
    head = file.read_text(encoding="utf-8").splitlines()[:4]
    found = re.search(r"cliptune fit (--config .+? --config .+?)(?:  | --seeds|$)", "\n".join(head), flags=re.MULTILINE)
    return found[1] if file.stem in OVERLAYS and found and "an overlay over" in head[0] else ""


def _card(file: Path) -> str:
    """How a recipe's card is read."""
    if _is_shipped(file):
        return f"the card, cliptune recipes show {file.parent.name}"
    card = card_of(file.parent)
    return str(card) if card.is_file() else ""


def card_of(folder: Path) -> Path:
    """The card that tells of a data set or domain: its own, else that of the folder above."""
    own = folder / CARD
    return own if own.is_file() else folder.parent / CARD


def _is_shipped(file: Path) -> bool:
    folder = shipped_folder("recipes")
    return folder is not None and file.is_relative_to(folder)


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
