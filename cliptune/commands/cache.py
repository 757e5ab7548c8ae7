"""`cliptune cache`: what is kept of frozen towers."""

import time
from typing import TYPE_CHECKING

from cliptune.call import choose
from cliptune.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cliptune.data.kept.store import ShelfInfo


def run(words: list[str]) -> None:
    """Run `cache list` or `cache clear`."""
    choose("cache", words, {"list": cache_list, "clear": cache_clear})


def cache_list() -> None:
    """Print which rows are kept, the most recently used first, and how much room they take."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from cliptune.data.kept.store import RowStore

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


def cache_clear(*, older_than: float = 0.0) -> None:
    """Remove kept rows that no run is using, and say what was freed.

    Args:
        older_than: days since the last use; younger ones stay.

    Raises:
        ConfigError: older_than is negative.
        DataError: the folder does not let itself be changed.
    """
    if older_than < 0:
        raise ConfigError(f"cache clear --older-than is {older_than:g}, but must be 0 or more. Write --older-than 30, say.")
    from cliptune.data.kept.store import RowStore

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
