"""From the words of a command to a call of its function: the function's signature is the command line.

An argument without a default is a word in its place, `*names` takes the words that are left, what stands behind it is an option.
"""

import inspect
import math
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cliptune.errors import ConfigError, did_you_mean

PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
KINDS = {int: "a whole number", float: "a number"}


def choose(command: str, words: list[str], known: Mapping[str, Callable[..., None]]) -> None:
    """Call one of a command's sub-commands, which the first word names.

    Raises:
        ConfigError: there is no such sub-command, or its words are wrong.
    """
    if not words:
        raise ConfigError(f"{command} needs to be told what to do. {did_you_mean('', known)}")
    name, *rest = words
    if name not in known:
        raise ConfigError(f"there is no command {command} {name}. {did_you_mean(name, known)}")
    call(f"{command} {name}", rest, known[name])


def call(command: str, words: list[str], function: Callable[..., None]) -> None:
    """Call a function with what the words say.

    Args:
        command: for messages.
        words: `value`, `--key value`, `--key=value`, or `--key` alone where it is true or false.
        function: whose arguments are typed.

    Raises:
        ConfigError: an option that there is not, a value of another kind, or a word that is missing or too many.
    """
    arguments, kinds = inspect.signature(function).parameters, get_type_hints(function)
    placed = [name for name, argument in arguments.items() if argument.kind in PLACED]
    names = {f"--{name.replace('_', '-')}": name for name in arguments if name not in placed}
    given, options = [], {}
    words = list(words)
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if key == "-" or not key.startswith("-"):
            given.append(word)
            continue
        if key not in names:
            raise ConfigError(f"{command} has no option {key}. {did_you_mean(key, names) or 'It takes none.'}")
        kind = kinds[names[key]]
        if not equals and kind is not bool:
            value = words.pop(0) if words else ""
        options[names[key]] = True if kind is bool and not equals else _value(f"{command} {key}", value, kind)
    function(*_in_place(command, given, [arguments[name] for name in placed], names), **options)


def _in_place(command: str, given: list[str], placed: list[inspect.Parameter], options: Mapping[str, str]) -> list[str]:
    for argument, word in zip(placed, [*given, *[""] * len(placed)], strict=False):
        if not word and argument.default is argument.empty and argument.kind is not argument.VAR_POSITIONAL:
            raise ConfigError(f"{command} lacks {argument.name.upper()}. See cliptune {command} --help")
    every = any(argument.kind is argument.VAR_POSITIONAL for argument in placed)
    if len(given) > len(placed) and not every:
        extra = given[len(placed)]
        own = f"Did you mean --path {extra}?" if "--path" in options and f"--{extra}" not in options else ""
        taken = [argument.name.upper() if argument.default is argument.empty else f"[{argument.name.upper()}]" for argument in placed]
        near = own or did_you_mean(f"--{extra}", options) or f"It takes {' '.join([*taken, *(['and'] if taken else []), 'nothing'])} more."
        raise ConfigError(f"{command} does not know what {extra} is for. {near}")
    return given


def _value(what: str, text: str, kind: Any) -> Any:
    """A word as the type says; of several, the first that it fits."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if not text:
        raise ConfigError(f"{what} is missing its value. See cliptune {what.partition(' --')[0]} --help")
    choices = [str(choice) for one in kinds if get_origin(one) is Literal for choice in get_args(one)]
    if text in choices:
        return text
    for one in kinds:
        if one in (int, float):
            try:
                number = one(text)
            except ValueError:
                continue
            if math.isfinite(number):
                return number
        elif one is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        elif one in (str, Path):
            return one(text)
    wanted = [*(KINDS[one] for one in kinds if one in KINDS), *(["true or false"] if bool in kinds else [])]
    if choices:
        near = did_you_mean(text, choices)
        meant = f" {near}" if near.startswith("Did") else ""
        raise ConfigError(f"{what} is {text}, but must be {' or '.join([*wanted, *choices])}.{meant}")
    raise ConfigError(f"{what} is {text}, but must be {' or '.join(wanted)}.")
