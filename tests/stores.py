"""What the tests of the row store share: shelves filled with rows that follow from their digests, and other processes at the same shelf.

Its fixtures are in `stores_fixtures`. No torch at the top: the worker processes import this file.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cliptune.data.kept import locks
from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore, digests_of

ABOUT = {"backbone": "nano", "tower": "image", "view": "eval", "weights": "0123", "precision": "32-true"}
SHAPE = (3, 5)
LIVE = """
import os, signal, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from cliptune.data.kept import locks
from cliptune.data.kept.store import RowStore
from stores import ABOUT, SHAPE, items, rows_of, use_locks
use_locks({kind!r})
shelf = RowStore(Path({folder!r}), 1).shelf(ABOUT, SHAPE)
"""


def items(start: int, stop: int) -> np.ndarray:
    return digests_of(str(i).encode() for i in range(start, stop))


def rows_of(digests: np.ndarray, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> np.ndarray:
    """Rows that are a function of the digests alone, as a tower's are: small whole numbers, exact in every dtype."""
    seeds = [np.frombuffer(bytes(item), "<u4")[0] for item in digests.view("V16")]
    values = [np.random.default_rng(seed).integers(0, 100, shape) for seed in seeds]
    return np.array(values, dtype=dtype).reshape(len(digests), *shape)


def use_locks(kind: str, set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    if kind == "pid":
        set_attribute(locks, "fcntl", None)


def fill(shelf: Shelf, digests: np.ndarray) -> None:
    with shelf.lock():
        assert shelf.append(digests, rows_of(digests, shelf.shape, shelf.dtype.name))


def assert_holds(shelf: Shelf, digests: np.ndarray) -> None:
    assert len(shelf.missing(digests)) == 0
    np.testing.assert_array_equal(shelf.table(digests)[:].numpy(), rows_of(digests, shelf.shape, shelf.dtype.name))


def live(code: str, store: RowStore, kind: str = "flock", **values: Any) -> list[str]:
    """A process's command line: the code, on the store's shelf."""
    whole = (LIVE + code).format(tests=str(Path(__file__).parent), folder=str(store.folder), kind=kind, **values)
    return [sys.executable, "-c", whole]
