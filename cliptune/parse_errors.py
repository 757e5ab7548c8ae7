"""From the parser's long messages to one line each: the key, the value, the rule, and the nearest right one."""

import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from cliptune.errors import ConfigError, did_you_mean, nearest

SECTIONS = ("seed_everything", "seeds", "model", "data", "trainer", "run", "watch", "evaluation", "guard", "ckpt_path")
NEAR = 3  # keys of other sections that end alike, which a message names
PARTS = {"model.method": "cliptune.methods.base.Method", "model.objective": "cliptune.objectives.base.Objective"}
OPTIMIZER = "torch.optim.AdamW"  # whose arguments most optimizers have
ALIASES = {"learning_rate": "lr", "epochs": "max_epochs", "steps": "max_steps", "wd": "weight_decay", "bs": "batch_size"}


def check_config(path: Path) -> None:
    """Look at a config before the parser does, which passes over empty sections and does not name the file.

    Raises:
        ConfigError: the file is no YAML map, or has an unknown section.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"config {path} is not valid YAML{where}: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config {path} is not a map of sections. There is: {', '.join(SECTIONS)}.")
    for section in values:
        if section not in SECTIONS:
            raise ConfigError(f"config {path} has the unknown section {section}. {did_you_mean(str(section), SECTIONS)}")


def shorten(message: str, keys: Iterable[str], configs: Iterable[str] = ()) -> str:
    """Say in one line what a parser's message means.

    Args:
        message: the parser's.
        keys: every known key.
        configs: the files that were given, to find where an option stands.
    """
    unknown = re.search(r"does not accept option '([^']+)'", message) or re.search(r"unrecognized arguments: (\S+)", message)
    if unknown:
        return _unknown_key(unknown[1], list(keys))
    option = re.search(r"Option '([^']+)' is not accepted", message)
    if option:
        return _unknown_option(option[1], configs)
    missing = re.search(r"arguments are required: (.+)", message)
    if missing:
        return f"{missing[1].strip()} must be set. Write it into a config; `--config objective/keep` shows how a list of objectives looks."
    no_attribute = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if no_attribute:
        return _unknown_class(*no_attribute.groups())
    key = re.search(r'Parser key "([^"]+)"', message)
    if key:
        return _wrong_value(key[1], message)
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    return " ".join(lines[:2])


def _unknown_key(word: str, keys: list[str]) -> str:
    if not word.startswith("-") and ("." not in word or Path(word).exists()):
        return f"the word {word!r} is out of place: keys are written --KEY VALUE{_meant(word)}."
    key = word.lstrip("-").partition("=")[0]
    section, _, last = key.rpartition(".")
    last = ALIASES.get(last, last)
    inside = [k.rpartition(".")[2] for k in keys if k.rpartition(".")[0] == section]
    near = did_you_mean(last, inside)
    if meant := _ending(last, keys):
        near = f"Did you mean {' or '.join(meant)}?"
    elif near.startswith("Did you mean"):
        near = re.sub(r"(mean | or )", rf"\1{section}.", near) if section else near
    elif meant := _of_parts(last) or _alike(last, keys):
        near = f"Did you mean {' or '.join(meant)}?"
    elif not section:
        near = did_you_mean(key, SECTIONS, most=len(SECTIONS))
    elif not inside:
        near = did_you_mean(key, keys)
    return f"there is no key {key}. {near}"


def _ending(last: str, keys: list[str]) -> list[str]:
    """The keys of any section that end so, and those without a section that begin so; none where they are many."""
    found = [key for key in keys if key.rpartition(".")[2] == last or ("." not in key and key.startswith(f"{last}_"))]
    return found if len(found) <= NEAR else []


def _alike(last: str, keys: list[str]) -> list[str]:
    """The keys of any section that end in what is nearest to it."""
    lasts = nearest(last, [key.rpartition(".")[2] for key in keys])
    return _ending(lasts[0], keys) if lasts else []


def _of_parts(name: str) -> list[str]:
    """The keys of a method, an objective or an optimizer that has an argument of that name."""
    kinds = {part: _subclasses(_find_class(base)) for part, base in PARTS.items()} | {"model.optimizer": [_find_class(OPTIMIZER)]}
    return [f"{part}.{name}" for part, classes in kinds.items() if any(name in inspect.signature(kind).parameters for kind in classes)]


def _meant(word: str) -> str:
    """What a word without its key may have been for: a file or folder that is there."""
    if not Path(word).exists():
        return ""
    return f", a config as --config {word}" if Path(word).suffix in (".yaml", ".yml") else f", data as --data.path {word}"


def _unknown_option(option: str, configs: Iterable[str]) -> str:
    for path in configs:
        for found in _with_class_path(yaml.safe_load(Path(path).read_text(encoding="utf-8"))):
            if option in (found.get("init_args") or {}):
                name = str(found["class_path"])
                kind = _find_class(name)
                options = [k for k in inspect.signature(kind).parameters if k != "self"] if kind else []
                return f"{name} has no argument {option}. {did_you_mean(option, options)}"
    return f"there is no argument {option}."


def _with_class_path(values: Any) -> Iterable[dict[str, Any]]:
    if isinstance(values, dict):
        if "class_path" in values:
            yield values
        for value in values.values():
            yield from _with_class_path(value)
    elif isinstance(values, list):
        for value in values:
            yield from _with_class_path(value)


def _find_class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module or "cliptune"), name)
    except (ImportError, AttributeError):
        return None


def _unknown_class(module: str, name: str) -> str:
    classes = [n for n, value in vars(importlib.import_module(module)).items() if inspect.isclass(value)]
    return f"{module} has no class {name}. {did_you_mean(name, classes)}"


def _wrong_value(key: str, message: str) -> str:
    value = _given(message)
    if key in PARTS:
        base: Any = _find_class(PARTS[key])
        known = [kind.__name__ for kind in _subclasses(base) if not inspect.isabstract(kind)]
        word = re.search(r"Expected a dot import path string: (\S+)", message) or re.search(r"Got value: (\S+)", message)
        if word:
            return f"{key} {word[1]} is no class that is known here. {did_you_mean(word[1], known)}"
    literal = re.search(r"Literal\[([^\]]+)\]", message)
    if literal:
        options = [option.strip(" '\"") for option in literal[1].split(",")]
        near = did_you_mean(value, options)
        return f"{key} is {value}, but must be one of {', '.join(options)}." + (f" {near}" if near.startswith("Did you mean") else "")
    kinds = dict.fromkeys(re.findall(r"Expected an? <class '(\w+)'>", message))
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null", "list": "a list"}
    if kinds:
        return f"{key} is {value}, but must be {' or '.join(names.get(kind, kind) for kind in kinds)}."
    lines = [line.strip(" -") for line in message.splitlines()[1:] if line.strip(" -")]
    return f"{key}: {lines[0] if lines else message}"


def _given(message: str) -> str:
    found = re.search(r"(?:Got value|Given value): (.+)", message)
    return found[1].strip() if found else "wrong"


def _subclasses(kind: Any) -> list[type]:
    return [sub for child in kind.__subclasses__() for sub in (child, *_subclasses(child))]
