"""The commands without a config, one typed function each; what they need is imported inside, so that they answer at once.

`run` turns a command's words into a call: an option is an argument's name, and its value a number.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cliptune.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    from cliptune.data.store import ShelfInfo


def run(words: Sequence[str]) -> None:
    """Run a command.

    Args:
        words: the command, its sub-command and its options, such as `cache clear --older-than 30`.

    Raises:
        ConfigError: a sub-command or option that there is not, or a value that is no number.
    """
    command, *rest = words
    known = COMMANDS[command]
    if not rest:
        raise ConfigError(f"{command} needs to be told what to do. {did_you_mean('', known)}")
    name, *options = rest
    if name not in known:
        raise ConfigError(f"there is no command {command} {name}. {did_you_mean(name, known)}")
    known[name](**_values(f"{command} {name}", options, inspect.signature(known[name]).parameters))


def _values(command: str, words: list[str], arguments: Iterable[str]) -> dict[str, float]:
    """Read `--key value` and `--key=value`."""
    names = {f"--{name.replace('_', '-')}": name for name in arguments}
    values: dict[str, float] = {}
    while words:
        key, equals, value = words.pop(0).partition("=")
        if key not in names:
            options = did_you_mean(key, names) or "It takes none."
            raise ConfigError(f"{command} has no option {key}. {options}")
        if not equals:
            value = words.pop(0) if words else ""
        values[names[key]] = _number(f"{command} {key}", value)
    return values


def _number(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ConfigError(f"{what} is {text or 'missing'}, but must be a number, 0 or more. Write {what} 30, say.")
    return number


def cache_list() -> None:
    """Print which rows are kept, the most recently used first, and how much room they take."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cliptune.data.store import RowStore

    store = RowStore()
    shelves = store.shelves()[::-1]
    console = Console()
    if shelves:
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("what", overflow="fold")
        table.add_column("view", overflow="fold")
        for name in ("rows", "MB", "last used"):
            table.add_column(name, justify="right", no_wrap=True)
        for shelf in shelves:
            table.add_row(*map(escape, _described(shelf)), f"{shelf.rows:,}", f"{shelf.size / 1e6:,.1f}", _ago(time.time() - shelf.used))
        console.print(table)
        console.print()
    total = sum(shelf.size for shelf in shelves)
    line = f"{store.folder}: {total / 1e6:,.1f} MB of at most {store.limit_gb * 1e3:,.0f} MB ({store.limit_key} sets how many GB)"
    console.print(line, highlight=False, soft_wrap=True, markup=False)


def cache_clear(older_than: float = 0.0) -> None:
    """Remove kept rows that no run is using, and say what was freed.

    Args:
        older_than: days since the last use; younger ones stay.

    Raises:
        DataError: the folder does not let itself be changed.
    """
    from cliptune.data.store import RowStore

    store = RowStore()
    try:
        removed, in_use = store.clear(older_than)
    except OSError as error:
        raise DataError(f"the cache {store.folder} cannot be cleared: {error.strerror or error}. Ask its owner, or remove it.") from None
    for shelf in removed:
        print(f"removed {' '.join(_described(shelf))}: {shelf.rows:,} rows, {shelf.size / 1e6:,.1f} MB")
    for shelf in in_use:
        print(f"in use, left: {' '.join(_described(shelf))}, {shelf.size / 1e6:,.1f} MB")
    print(f"{store.folder}: {sum(shelf.size for shelf in removed) / 1e6:,.1f} MB freed")


def _described(shelf: "ShelfInfo") -> tuple[str, str]:
    """What was computed, and of which view of the items."""
    about = shelf.about
    what = " ".join(str(about[key]) for key in ("backbone", "tower") if about.get(key) is not None)
    return what or f"unknown ({shelf.folder.name})", str(about.get("view", "-"))


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        number = int(seconds // size)
        if number >= 1:
            return f"{number:,} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


COMMANDS: dict[str, dict[str, Callable[..., None]]] = {"cache": {"list": cache_list, "clear": cache_clear}}
