"""The commands of README, docs and recipes' cards: found, and read as their own parsers read them. `docs_shortened` runs them."""

import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cliptune.call
from cliptune.cli import Parser
from cliptune.commands import doctor, sweep
from cliptune.help import COMMANDS, SCREENS
from cliptune.launch import _Resolving, prepared

ROOT = Path(__file__).parents[1]
CONTINUED = re.compile(r"\\\n\s*")


class Line(NamedTuple):
    """A line of a bash block."""

    text: str  # without its comment
    comment: str


def fenced(kind: str, text: str) -> list[str]:
    """The fenced blocks of a kind, as `bash`."""
    return [block for _, block in re.findall(rf"^( *)```{kind}\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)]


def lines_of(text: str) -> list[Line]:
    """The lines of all bash blocks, what is broken by a backslash as one."""
    whole = CONTINUED.sub(" ", "\n".join(fenced("bash", text))).splitlines()
    parts = [re.split(r"\s+#\s+|^#", line.strip(), maxsplit=1) for line in whole]
    return [Line(part[0], "".join(part[1:])) for part in parts if part[0]]


def needs_network(line: Line) -> bool:
    """Whether a line is marked so."""
    return re.search(r"needs the network|network: yes", line.comment) is not None


def words_of(line: Line) -> list[str]:
    """The words of the `cliptune` command in a line, whatever starts it; none where it is another program's."""
    words = shlex.split(line.text)
    for i, word in enumerate(words):
        if word.rpartition("/")[2] == "cliptune":
            return words[i:]
    return []


class Checked(_Resolving):
    """A fit that ends with its config: one parser, which takes a second to build, reads all command lines."""

    built: list[Any] = []

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Take the parser of the first."""
        if not self.built:
            super().setup_parser(*args, **kwargs)
            self.built += [self.parser, self._subcommand_parsers, list(Parser.made)]
        self.parser, self._subcommand_parsers = self.built[:2]
        Parser.made = self.built[2]

    def before_instantiate_classes(self) -> None:
        """Keep nothing."""


@functools.cache
def check_fit(words: tuple[str, ...]) -> None:
    """Read the words after `fit` as it does; raises what it raises."""
    Checked(*prepared(["fit", *words]))


def check_command(words: list[str]) -> None:
    """Read a command as it does, and run nothing.

    Args:
        words: `cliptune` and what follows.

    Raises:
        CliptuneError: what the program would say.
    """
    name, rest = words[1], words[2:]
    if name.startswith("-") or "--help" in rest or "--help-all" in rest:
        assert name.startswith("-") or name in SCREENS, name
    elif name in COMMANDS and not (name == "predict" and not rest[0].startswith("-")):
        check_fit(tuple(rest))
    elif name in ("doctor", "sweep"):
        own, rest = {"doctor": doctor, "sweep": sweep}[name].own_options(rest)  # type: ignore[attr-defined]
        if name == "sweep":
            sweep.shots_of(own.shots), sweep.keep_of(own.keep), sweep.lanes_of(own.jobs, own.devices)
        check_fit(tuple(rest))
    else:
        bind(name, rest)


def bind(name: str, words: list[str]) -> None:
    """Give the words to the signature of a command without a config."""
    module, call = importlib.import_module(f"cliptune.commands.{name}"), cliptune.call.call

    def bound(command: str, given: list[str], function: Callable[..., None]) -> None:
        call(command, given, functools.wraps(function)(lambda *args, **kwargs: None))

    places = [(cliptune.call, "call"), *([(module, "call")] if hasattr(module, "call") else [])]
    try:
        for place, key in places:
            setattr(place, key, bound)
        module.run(words)
    finally:
        for place, key in places:
            setattr(place, key, call)
