"""`cliptune recipes`: the templates that people start from, listed, shown and copied, from a checkout or the installed wheel."""

import re
import shutil
from itertools import takewhile
from pathlib import Path

from cliptune.call import choose
from cliptune.commands.recipe_cards import shown, told_of
from cliptune.commands.recipe_copy import command, made_first, moved, places, usual
from cliptune.errors import ConfigError, did_you_mean
from cliptune.shipped import OVERLAYS, card_of, recipe_folder, recipe_folders, shipped_folder, shipped_recipe, shipped_recipes

OWN = "your-own"
SHOWN = 6  # names that hold what was asked for


def run(words: list[str]) -> None:
    """Run `recipes list`, `recipes show` or `recipes copy`."""
    choose("recipes", words, {"list": recipes_list, "show": recipes_show, "copy": recipes_copy})


def recipes_list() -> None:
    """Print the data sets with their recipes, by domain."""
    domain = ""
    for folder in _folders():
        names = [name.rpartition("/")[2] for name in shipped_recipes() if name.rpartition("/")[0] == folder]
        before, _, own = folder.partition("/")
        if before != domain:
            domain = before
            print(f"{domain}")
        plain = [name for name in names if name not in OVERLAYS]
        kinds = plain if folder == OWN else [usual(plain)]
        told = ". ".join(about(_home() / folder / f"{name}.yaml") for name in kinds)
        print(f"  {folder if own else folder + '/'}: {told}")
        print(f"    {', '.join(plain)}" + "".join(f"; + {name}" for name in names if name in OVERLAYS))
    print("\nnext:  cliptune recipes show medical          what the data is, its licence, what was measured")
    print("       cliptune fit --config ham10000/lora    with the network; + --config ham10000/offline without, on ../shared/data")
    print("       cliptune recipes copy your-own         the template for your own images, explained line by line")


def recipes_show(name: str) -> None:
    """Print a recipe, or what the card says of a domain or data set.

    Args:
        name: of a recipe (`ham10000/lora`), a data set (`ham10000`) or a domain (`medical`).

    Raises:
        ConfigError: there is none.
    """
    file = shipped_recipe(name)
    if file is not None:
        print(file.read_text(encoding="utf-8").rstrip())
        return
    folder = _folder(name)
    print(shown(told_of(folder)))
    if (domain := card_of(folder).parent) != folder:
        print(f"\nThe whole card: cliptune recipes show {domain.name}")


def recipes_copy(name: str, folder: str = "") -> None:
    """Copy a recipe, or all of a data set or domain, to be changed; what the files say of one another is put right.

    Args:
        name: as `recipes show` takes it.
        folder: where to; where not given, one here named after the data set or domain, but for data, whose folder has its plain name.

    Raises:
        ConfigError: there is no such recipe, or a file is there already.
    """
    single = shipped_recipe(name)
    source = single.parent if single is not None else _folder(name)
    target = Path(folder or ("mine" if source.name == OWN else f"my_{source.name}"))
    found = places(source, single, target)
    there = next((place for place in found.values() if place.exists()), None)
    if there is not None:
        raise ConfigError(f"recipes copy: {there} is there already, and is not written over. Give another folder.")
    for file, place in found.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in (".yaml", ".md"):
                place.write_text(moved(file, found, _home()), encoding="utf-8")
            else:
                shutil.copyfile(file, place)
        except OSError as error:
            raise ConfigError(f"recipes copy cannot write {place}: {error.strerror or error}. Give another folder.") from None
        print(place)
    print(f"\n{len(found)} files in {target}/" + ("" if folder else f"; another folder: cliptune recipes copy {name} FOLDER"))
    if script := made_first(found):
        print(f"first: {script}")
    print(f"next:  {command(found)}")


def about(file: Path) -> str:
    """What a recipe's head says that it is of, without the method, which stands behind the last colon."""
    lines = takewhile(lambda line: re.match(r"# \S", line), file.read_text(encoding="utf-8").splitlines())
    return " ".join(line.removeprefix("# ") for line in lines).rpartition(": ")[0]


def _home() -> Path:
    folder = shipped_folder("recipes")
    if folder is None:
        raise ConfigError("this installation has no recipes. Install cliptune from its wheel, or as `pip install -e .` from a checkout.")
    return folder


def _folders() -> list[str]:
    """The data sets' folders, your own last."""
    folders = [folder for folder in recipe_folders() if "/" in folder or folder == OWN]
    return sorted(folders, key=lambda folder: (folder == OWN, folder))


def _folder(name: str) -> Path:
    """The folder of a data set or domain."""
    home, found = _home(), recipe_folder(name)
    if found is None:
        plain = name.removeprefix("recipes/").strip("/")
        raise ConfigError(f"recipes: there is no recipe, data set or domain {name}. {_meant(plain, recipe_folders())}")
    return home / found


def _meant(word: str, folders: list[str]) -> str:
    """Which are meant: those that hold the word, in the shortest form that names them, else what is near."""
    short = [folder.rpartition("/")[2] for folder in folders]
    names = list(dict.fromkeys([*short, *("/".join(recipe.split("/")[-2:]) for recipe in shipped_recipes())]))
    holding = [name for name in names if word and word.lower() in name.lower()]
    if not holding:
        return did_you_mean(word, names, most=12)
    more = f", ... ({len(holding)} in all)" if len(holding) > SHOWN else ""
    return f"Did you mean {', '.join(holding[:SHOWN])}{more}?"
