"""Descriptions of classes in place of templates, in CuPL's format: {class name: [sentence, ...]}.

CuPL: Pratt et al. 2023, "What does a platypus look like? Generating customized prompts for zero-shot image classification".
"""

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from cliptune.data.texts.text_files import read_json
from cliptune.errors import DataError

KEY = "descriptions"
LISTED = 3  # names in a message


class Descriptions(NamedTuple):
    """The classes' own texts."""

    texts: list[list[str]]  # [C][T], each class with as many as it has
    note: str  # what the user should know, or ""


def read_descriptions(given: str, names: Sequence[str]) -> Descriptions:
    """Read the descriptions of these classes; names match as the data's do: underscores are spaces, and case may differ.

    Args:
        given: the file's path.
        names: of the classes.

    Raises:
        DataError: the file is no such map, or a class has none in it.
    """
    if not names:
        raise DataError(f"{KEY} {given} are set, but the data has no classes. Set label_column, or leave {KEY} out.")
    told = _checked(read_json(given, KEY, "a map from class names to lists of sentences"), given)
    alike: dict[str, list[str]] = {}  # the file's names that are the same but for case
    for key in told:
        alike.setdefault(_plain(key).lower(), []).append(key)
    chosen = {name: _key_of(name, alike, given) for name in dict.fromkeys(names)}
    missing = [name for name, key in chosen.items() if key is None]
    if missing:
        more = f", and {len(missing) - LISTED} more" * (len(missing) > LISTED)
        listed = ", ".join(repr(name) + _near(name, alike) for name in missing[:LISTED])
        lacks = f"has no sentences for {len(missing)} of the {len(chosen)} classes: {listed}{more}"
        raise DataError(f"{KEY} {given} {lacks}. Add them, or name them as the data does.")
    texts = [[text.replace("{}", name) for text in told[chosen[name] or ""]] for name in names]
    unknown = sorted(told.keys() - chosen.values())
    more = f", and {len(unknown) - LISTED} more" * (len(unknown) > LISTED)
    are = f"{len(unknown)} names in {given} are no classes" if len(unknown) > 1 else f"a name in {given} is no class"
    note = f"{KEY}: {are} of the data: {', '.join(unknown[:LISTED])}{more}"
    return Descriptions(texts, note if unknown else "")


def _checked(told: Any, given: str) -> dict[str, list[str]]:
    if not isinstance(told, dict) or not told:
        raise DataError(
            f'{KEY} {given}: the file holds no map from class names to lists of sentences, such as {{"cat": ["A cat is ..."]}}.'
        )
    for name, texts in told.items():
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f"{KEY} {given}: what stands at {name!r} is no list of sentences. Write one, without empty ones.")
    return told


def _key_of(name: str, alike: dict[str, list[str]], given: str) -> str | None:
    """The file's name of a class: the very same, else the one that is the same but for case."""
    near = alike.get(_plain(name).lower(), [])
    same = [key for key in near if _plain(key) == _plain(name)] or near
    if len(same) > 1:
        raise DataError(f"{KEY} {given}: both {same[0]!r} and {same[1]!r} are the class {name!r}. Put them together.")
    return same[0] if same else None


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def _near(name: str, alike: dict[str, list[str]]) -> str:
    found = get_close_matches(_plain(name).lower(), alike, n=1)
    return f" (near: {alike[found[0]][0]})" if found else ""
