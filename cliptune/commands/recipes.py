"""`cliptune recipes`: the templates that people start from, listed, shown and copied, from a checkout or the installed wheel."""

import re
import shutil
from pathlib import Path

from cliptune.call import choose
from cliptune.errors import ConfigError, did_you_mean
from cliptune.shipped import OVERLAYS, shipped_folder, shipped_recipe, shipped_recipes

CARD = "README.md"
OWN = "your-own"


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
        print(f"  {folder if own else folder + '/'}: {about(_home() / folder / f'{_usual(plain)}.yaml')}")
        print(f"    {', '.join(plain)}" + "".join(f"; + {name}" for name in names if name in OVERLAYS))
    print("\nnext:  cliptune recipes show medical          what the data is, its licence, what was measured")
    print("       cliptune fit --config ham10000/lora    with the network; + --config ham10000/offline without, on ../shared/data")
    print("       cliptune recipes copy your-own         the template for your own images, explained line by line")


def recipes_show(name: str) -> None:
    """Print a recipe, or the card of a domain or data set.

    Args:
        name: of a recipe (`ham10000/lora`), a data set (`ham10000`) or a domain (`medical`).

    Raises:
        ConfigError: there is none.
    """
    file = shipped_recipe(name)
    if file is None:
        folder = _folder(name)
        file = next(place / CARD for place in (folder, folder.parent) if (place / CARD).is_file())
    print(file.read_text(encoding="utf-8").rstrip())


def recipes_copy(name: str, folder: str = "") -> None:
    """Copy a recipe, or all of a data set or domain, to be changed; what the files say of one another is put right.

    Args:
        name: as `recipes show` takes it.
        folder: where to; a folder of that name here where not given.

    Raises:
        ConfigError: there is no such recipe, or a file is there already.
    """
    single = shipped_recipe(name)
    source = single.parent if single is not None else _folder(name)
    target = Path(folder or (source.name if single is None else "."))
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    if single is not None:
        text = single.read_text(encoding="utf-8")
        files = [single, *(file for file in files if file != single and file.suffix != ".yaml" and file.name in text)]
    places = {file: target / file.relative_to(source) for file in files}
    if (source.parent / CARD).is_file() and source != _home():
        places[source.parent / CARD] = target / CARD  # the domain's, which tells of the data
    there = next((place for place in places.values() if place.exists()), None)
    if there is not None:
        raise ConfigError(f"recipes copy: {there} is there already, and is not written over. Give another folder.")
    for file, place in places.items():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in (".yaml", ".md"):
                place.write_text(_moved(file.read_text(encoding="utf-8"), source, target, files), encoding="utf-8")
            else:
                shutil.copyfile(file, place)
        except OSError as error:
            raise ConfigError(f"recipes copy cannot write {place}: {error.strerror or error}. Give another folder.") from None
        print(place)
    recipes = {file.stem: place for file, place in places.items() if file.suffix == ".yaml" and file.stem not in OVERLAYS}
    print(f"\nnext:  cliptune fit --config {recipes[_usual(list(recipes))]}")


def about(file: Path) -> str:
    """What a recipe's first line says that it is of, without the method."""
    first = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return first.partition(": ")[0].rstrip(".:")


def _moved(text: str, source: Path, target: Path, files: list[Path]) -> str:
    """A file's text with the copied files' new places: configs by their paths, since short names are of shipped ones."""
    inside = f"recipes/{source.relative_to(_home()).as_posix()}/"
    for file in sorted(files, key=lambda file: -len(str(file))):
        old, new = inside + file.relative_to(source).as_posix(), (target / file.relative_to(source)).as_posix()
        text = text.replace(old, new)
        if file.suffix == ".yaml":
            text = re.sub(rf"{re.escape(old.removesuffix('.yaml'))}(?![\w./-])", new, text)
    return text


def _usual(names: list[str]) -> str:
    """The recipe that is named first."""
    return next((name for name in names if name in ("lora", "folder")), names[0])


def _home() -> Path:
    folder = shipped_folder("recipes")
    if folder is None:
        raise ConfigError("this installation has no recipes. Install cliptune from its wheel, or as `pip install -e .` from a checkout.")
    return folder


def _folders() -> list[str]:
    """The folders that hold recipes, your own last."""
    folders = dict.fromkeys(name.rpartition("/")[0] for name in shipped_recipes())
    return sorted(folders, key=lambda folder: (folder == OWN, folder))


def _folder(name: str) -> Path:
    """The folder of a data set or domain."""
    home, plain = _home(), name.removeprefix("recipes/").strip("/")
    known = dict.fromkeys([*_folders(), *(folder.partition("/")[0] for folder in _folders())])
    found = [folder for folder in known if f"/{folder}".endswith(f"/{plain}")] if plain else []
    if len(found) != 1:
        names = dict.fromkeys([*known, *(folder.rpartition("/")[2] for folder in known), *shipped_recipes()])
        raise ConfigError(f"recipes: there is no recipe, data set or domain {name}. {did_you_mean(name, names, most=12)}")
    return home / found[0]
