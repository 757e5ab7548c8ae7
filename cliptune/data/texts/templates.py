"""The texts around class names: with `{}` for the name, from a known list or a file; and the template of given texts."""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import product
from pathlib import Path

from cliptune.data.texts.text_files import read_list
from cliptune.errors import ConfigError

TEMPLATE = "a photo of a {}."  # Radford et al. 2021, sec. 3.1.4
KNOWN = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "simple": "SIMPLE_IMAGENET_TEMPLATES"}  # open_clip's lists, of 80 and of 7
FILES = (".txt", ".json")
MOST_PLACES = 8  # of a class name in its text, before a template is given up: 2^8 ways


def read_templates(given: str | Sequence[str], files: bool = True) -> list[str]:
    """The templates that are meant.

    Args:
        given: one text, several, the name of a known list (`imagenet`, `simple`), or a file: a JSON list, or a template per line.
        files: whether it may be a file.

    Raises:
        ConfigError: a template has no place for the class name; there is none.
        DataError: a file holds no templates.
    """
    listed = [given] if isinstance(given, str) else list(given)
    if len(listed) == 1 and "{}" not in listed[0]:
        name = listed[0]
        if name in KNOWN:
            return known_templates(name)
        if files and (Path(name).suffix.lower() in FILES or Path(name).expanduser().is_file()):
            listed = read_list(name, "templates", "template")
    for template in listed:
        if "{}" not in template:
            near = get_close_matches(template.lower(), KNOWN, n=1)
            way = f"Did you mean {near[0]}?" if near else f"Write it as {TEMPLATE!r}, or take a list: {' or '.join(KNOWN)}."
            raise ConfigError(f"template {template!r} has no {{}} for the class name. {way}")
    if not listed:
        raise ConfigError(f"templates is empty. Give at least one, such as {TEMPLATE!r}.")
    return listed


def known_templates(name: str) -> list[str]:
    """The templates of a list that open_clip has."""
    import open_clip  # here, since nobody else who reads texts needs it

    return [template("{}") for template in getattr(open_clip, KNOWN[name])]


def template_of(names: Sequence[str], texts: Sequence[str]) -> str | None:
    """Read the template, with `{}` for the name, off the classes' texts; None where no template gives all of them.

    Where a name is a word of the template too, the other classes tell which is which.
    """
    for name, text in sorted(zip(names, texts, strict=True), key=lambda pair: (pair[1].count(pair[0]), -len(pair[0]))):
        first, *rest = text.split(name) if name else [text]
        for places in product(("{}", name), repeat=len(rest) if len(rest) <= MOST_PLACES else 0):
            template = first + "".join(place + piece for place, piece in zip(places, rest, strict=False))
            if "{}" in template and all(template.replace("{}", other) == said for other, said in zip(names, texts, strict=True)):
                return template
    return None


def shared_templates(names: Sequence[str], texts: Sequence[Sequence[str]]) -> list[str] | None:
    """Read the templates that all classes' texts [C][T] are of; None where some are of none, as descriptions are."""
    if len({len(of_class) for of_class in texts}) != 1:
        return None
    found: list[str] = []
    for column in zip(*texts, strict=True):
        template = template_of(names, column)
        if template is None:
            return None
        found.append(template)
    return found
