"""Small files of words that a config names: lists of names or templates, and maps from classes to sentences."""

import json
from pathlib import Path
from typing import Any

from cliptune.errors import DataError
from cliptune.shipped import here_or_shipped


def read_list(given: str, key: str, word: str) -> list[str]:
    """Read a JSON list of strings, or a text file with one per line; empty lines are passed over.

    Args:
        given: the file's path.
        key: of the config, for messages.
        word: what a line holds, such as `name`.

    Raises:
        DataError: there is no such file, or it holds no such list.
    """
    if not here_or_shipped(given).is_file():
        raise DataError(f"{key} {given}: there is no such file. Give a list, or a file with a {word} per line.")
    if Path(given).suffix.lower() == ".json":
        found = read_json(given, key, f"a list of {word}s")
    else:
        found = [line.strip() for line in _text(given, key).splitlines() if line.strip()]
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise DataError(f"{key} {given}: the file holds no list of {word}s. Write a JSON list, or a text file with a {word} per line.")
    return found


def read_json(given: str, key: str, what: str) -> Any:
    """Read a JSON file in which no map has a key twice, which JSON readers pass over in silence.

    Args:
        given: the file's path.
        key: of the config, for messages.
        what: the file should hold.

    Raises:
        DataError: there is no such file, or it is no such JSON.
    """
    if not here_or_shipped(given).is_file():
        raise DataError(f"{key} {given}: there is no such file. Give a JSON file of {what}.")
    try:
        return json.loads(_text(given, key), object_pairs_hook=lambda pairs: _map(pairs, f"{key} {given}"))
    except (json.JSONDecodeError, RecursionError) as error:
        said = str(error) if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
        raise DataError(f"{key} {given}: the file is no JSON: {said}. Write {what}.") from None


def _text(given: str, key: str) -> str:
    try:
        return here_or_shipped(given).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{key} {given}: the file is no UTF-8 text. Save it as UTF-8.") from None


def _map(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: {twice!r} stands there twice, and only one could count. Put them together.")
    return found
