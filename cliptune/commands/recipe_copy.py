"""Copies of recipes: what goes where, and the files' words of one another put right, so that a copy runs the copy.

Which recipe is meant, and the command itself, are `recipes.py`'s.
"""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from cliptune.commands.recipe_cards import pictures_of
from cliptune.shipped import CARD, OVERLAYS, TABLE, card_of

ASIDE = r" \(\[[^\]]*\]\((?!\w+:)([^)]+)\)\)"  # a link alone in brackets


def usual(names: list[str]) -> str:
    """The recipe that is named first."""
    return next((name for name in names if name in ("lora", "folder")), names[0])


def places(source: Path, single: Path | None, target: Path) -> dict[Path, Path]:
    """Where the files go, with the card and the pictures that it has of them.

    Args:
        source: the folder of the data set or domain.
        single: the recipe, where only one is wanted: with it goes what it names.
        target: the folder of the copy.
    """
    files = [file for file in sorted(source.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    if single is not None:
        text = single.read_text(encoding="utf-8")
        files = [single, *(file for file in files if file.suffix not in (".yaml", ".md") and file.name in text)]
    card = card_of(source)
    found = {file: target / file.relative_to(source) for file in files} | {card: target / CARD}
    for link in pictures_of(source):
        if (card.parent / link).is_file():
            found[card.parent / link] = target / link
    return found


def command(found: Mapping[Path, Path]) -> str:
    """The command that runs a copy; an overlay's over the shipped recipe."""
    recipe = _recipe(found)
    if recipe is not None:
        return f"cliptune fit --config {_word(found[recipe])}"
    file, place = next((file, place) for file, place in found.items() if file.suffix == ".yaml")
    below = usual([other.stem for other in sorted(file.parent.glob("*.yaml")) if other.stem not in OVERLAYS])
    return f"cliptune fit --config {file.parent.name}/{below} --config {_word(place)}"


def made_first(found: Mapping[Path, Path]) -> str:
    """What must be run before that command, where a script makes the recipe's table; else nothing."""
    recipe = _recipe(found)
    script = found.get(recipe.with_name(TABLE)) if recipe is not None else None
    card = next((place for place in found.values() if place.name == CARD), None)
    return f"python {_word(script)}, which makes the table that is read: {card} says how" if script is not None else ""


def _recipe(found: Mapping[Path, Path]) -> Path | None:
    """The recipe of a copy that is run first; None of an overlay."""
    recipes = {file.stem: file for file in found if file.suffix == ".yaml" and file.stem not in OVERLAYS}
    return recipes[usual(list(recipes))] if recipes else None


def moved(file: Path, found: Mapping[Path, Path], home: Path) -> str:
    """A config's or card's text, as it is right in the copy.

    Args:
        file: as shipped.
        found: where the files go.
        home: the folder of all shipped recipes.
    """
    text = _without_copying(file.read_text(encoding="utf-8"), found)
    for old, place in found.items():
        text = _renamed(text, old.relative_to(home), place)
    folder, above = found[file].parent, file.parent.parent / CARD
    if file.suffix == ".yaml" and above in found:
        text = text.replace(f"../{CARD}", _from(folder, found[above]))
    if file.suffix == ".md":
        title, _, rest = text.partition("\n")
        text = f"{title}\n\nThis is a copy, to be changed: `{command(found)}` runs it. Names without `.yaml` are shipped recipes.\n{rest}"
        text = re.sub(ASIDE, lambda link: link[0] if _copied(link[1], file, found) else "", text)
        text = re.sub(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)]+)\)", lambda link: _link(link, file, found), text)
    return text


def _renamed(text: str, old: Path, new: Path) -> str:
    """Configs by the copies' paths, since short names are of shipped ones; other files where they are named in full."""
    if old.suffix != ".yaml":
        return text.replace(f"recipes/{old.as_posix()}", new.as_posix())
    parts = old.with_suffix("").parts
    names = "|".join(re.escape("/".join(parts[i:])) for i in range(len(parts) - 1))
    return re.sub(rf"(?<=--config )(?:recipes/)?(?:{names})(?:\.yaml)?(?![\w./-])", lambda _: _word(new), text)


def _without_copying(text: str, found: Mapping[Path, Path]) -> str:
    """Leave out the lines that make a copy of what is one by now; what they call the copy's folder is this one."""
    for old, new in {file.parent: place.parent for file, place in found.items() if file.suffix == ".yaml"}.items():
        line = rf"(?m)^[# ]*cliptune recipes copy {re.escape(old.name)} (\S+).*\n"
        for name in dict.fromkeys(re.findall(line, text)):
            inside = rf"(?<![\w./-]){re.escape(name)}/([\w.-]+)"
            if all(old / file in found for file in re.findall(inside, text)):
                place = f"{new.as_posix()}/".replace("\\", r"\\")
                text = re.sub(inside, rf"{place}\1", re.sub(line, "", text))
    return text


def _link(link: re.Match[str], card: Path, found: Mapping[Path, Path]) -> str:
    """A link of a card where the copy has what it leads to; else its words, and nothing of a picture."""
    mark, words, place = link.groups()
    copy = _copied(place, card, found)
    if copy is not None:
        return f"{mark}[{words}]({_from(found[card].parent, copy)})"
    return "" if mark else str(words)


def _copied(place: str, card: Path, found: Mapping[Path, Path]) -> Path | None:
    """The copy of what a link of a card leads to, where there is one."""
    return next((copy for file, copy in found.items() if file.resolve() == (card.parent / place).resolve()), None)


def _from(folder: Path, file: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def _word(place: Path) -> str:
    """A path as a word of a command line."""
    return shlex.quote(place.as_posix())
