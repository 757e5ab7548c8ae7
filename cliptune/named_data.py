"""The data that a config names, looked for before anything is made of it: weights are not fetched for data that is not there."""

from typing import Any

from cliptune.data.formats.sources import check_early
from cliptune.errors import DataError
from cliptune.guard_sets import guard_sets


def check_named(config: Any) -> None:
    """Look whether there is something at each path of this machine that a config names.

    Args:
        config: parsed, with nothing made of it.

    Raises:
        ConfigError: a guard is no guard.
        DataError: nothing lies there.
    """
    data = config.data
    own = [part["path"] for part in data.sources or []] or listed(data.path)
    for path in (*own, *listed(data.eval_path)):
        check_early(str(path))
    for guard in guard_sets(config.guard):
        try:
            check_early(guard.path)
        except DataError as error:
            raise DataError(f"guard {guard.name}: {error.fact}", error.near, error.missing) from None


def listed(value: Any) -> list[Any]:
    """One, several or none, as a list."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
