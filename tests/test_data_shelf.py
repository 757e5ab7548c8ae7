"""A shelf: what was appended comes back, what does not fit is refused, and of two runs at once one computes. No torch at the top: the
worker processes import this file."""

import logging
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import ABOUT, SHAPE, assert_holds, fill, items, rows_of, use_locks

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import DTYPES, RowStore

pytest_plugins = ["stores_fixtures"]
SPAWN = multiprocessing.get_context("spawn")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_rows_come_back_to_the_bit(store: RowStore, shape: tuple[int, ...], dtype: str) -> None:
    shelf = store.shelf(ABOUT, shape, dtype)
    digests = items(0, 20)
    with shelf.lock():
        assert shelf.append(digests[:15], rows_of(digests[:15], shape, dtype))
        assert shelf.append(digests[15:], rows_of(digests[15:], shape, dtype))
    again = RowStore(store.folder, 1).shelf(ABOUT, shape, dtype)
    found = again.table(digests)[:]
    assert (str(found.dtype), found.shape) == (f"torch.{dtype}", (20, *shape))
    assert_holds(again, digests)
    assert (shelf.folder / "rows.bin").stat().st_size == 20 * shelf.row_bytes == 20 * int(np.prod(shape)) * np.dtype(dtype).itemsize
    assert (shelf.folder / "keys.bin").read_bytes() == digests.tobytes()


def test_a_tensor_is_appended_like_an_array(shelf: Shelf) -> None:
    import torch

    with shelf.lock():
        assert shelf.append(items(0, 3), torch.from_numpy(rows_of(items(0, 3))))
    assert_holds(shelf, items(0, 3))


def test_missing_are_first_occurrences_in_order(shelf: Shelf) -> None:
    fill(shelf, items(0, 3))
    asked = np.concatenate([items(5, 6), items(1, 2), items(9, 10), items(5, 6), items(4, 5), items(1, 2)])
    assert shelf.missing(asked).tolist() == [0, 2, 4]
    assert shelf.missing(asked.view("V16")).tolist() == [0, 2, 4]
    assert shelf.missing(asked[::2]).tolist() == [0, 1, 2]


def test_digests_that_end_in_zeros_are_told_apart(shelf: Shelf) -> None:
    digests = np.array([b"", b"a", b"a\0b", b"\0a", b"\xff"], dtype="S16")  # numpy pads with zeros
    fill(shelf, digests)
    assert_holds(shelf, digests[::-1])
    assert shelf.missing(np.array([b"a\0a", b"a", b"\0"], dtype="S16")).tolist() == [0]


def test_nothing_asked_is_nothing_done(shelf: Shelf) -> None:
    none = items(0, 0)
    assert shelf.missing(none).shape == (0,)
    assert shelf.table(none)[[]].shape == (0, *SHAPE)  # before there is a shelf
    fill(shelf, none)
    assert len(shelf.table(none)) == len(pickle.loads(pickle.dumps(shelf.table(none)))) == 0
    fill(shelf, items(0, 2))
    assert shelf.table(items(0, 2))[[]].shape == (0, *SHAPE)
    assert_holds(shelf, items(0, 2))


WRONG: dict[str, tuple[Callable[[Shelf], Any], type[Exception], str]] = {
    "shape": (
        lambda s: s.append(items(0, 2), np.zeros((2, 5, 3), "float32")),
        ValueError,
        r"\(2, 5, 3\), but .* takes .*\(2, 3, 5\)",
    ),
    "count": (lambda s: s.append(items(0, 2), np.zeros((1, 3, 5), "float32")), ValueError, r"\(1, 3, 5\), but .* for 2 digests"),
    "dtype": (lambda s: s.append(items(0, 2), np.zeros((2, 3, 5))), ValueError, "rows are float64 .* but the shelf takes float32"),
    "digests": (lambda s: s.missing(np.zeros(3)), ValueError, "digests are float64 .* must be .* 16 bytes"),
    "flat digests": (lambda s: s.missing(items(0, 4).reshape(2, 2)), ValueError, r"\(2, 2\), but must be \[N\]"),
    "not there": (lambda s: s.table(items(0, 5)), LookupError, "5 of 5 items have no row"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line_and_changes_nothing(shelf: Shelf, case: str) -> None:
    wrong, error, message = WRONG[case]
    with shelf.lock(), pytest.raises(error, match=message) as caught:
        wrong(shelf)
    assert "\n" not in str(caught.value)
    assert len(shelf.missing(items(0, 5))) == 5


def test_what_cannot_be_stored_is_refused(store: RowStore, shelf: Shelf) -> None:
    with pytest.raises(ValueError, match=r"dtype bfloat16 cannot be stored\. Take one of float16"):
        store.shelf(ABOUT, SHAPE, "bfloat16")
    with pytest.raises(ValueError, match=r"shape \(3, 0\) hold nothing"):
        store.shelf(ABOUT, (3, 0))
    with pytest.raises(RuntimeError, match=r"is not locked. Append inside `with shelf.lock\(\):`"):
        shelf.append(items(0, 1), rows_of(items(0, 1)))
    with shelf.lock(), pytest.raises(RuntimeError, match="locked already"), shelf.lock():
        pass


# Two at once


def compute(folder: Path, kind: str, first: bool, barrier: Any, waiting: Any, out: Any) -> None:
    """The first takes the lock, and lets it go only when the second has said that it waits."""
    use_locks(kind)

    class Tell(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())
            waiting.set()

    notes: list[str] = []
    logging.getLogger("cliptune").addHandler(Tell())
    logging.getLogger("cliptune").setLevel(logging.INFO)
    shelf = RowStore(folder, 1).shelf(ABOUT, SHAPE)
    digests = items(0, 100)
    if not first:
        assert barrier.wait(60)
    with shelf.lock():
        if first:
            barrier.set()
            assert waiting.wait(60)
        missing = shelf.missing(digests)
        assert shelf.append(digests[missing], rows_of(digests[missing])) or not first
    out.put((first, len(missing), notes))


def test_of_two_at_once_one_computes_and_the_other_waits_and_finds(store: RowStore, kind: str) -> None:
    barrier, waiting, out = SPAWN.Event(), SPAWN.Event(), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=compute, args=(store.folder, kind, first, barrier, waiting, out), daemon=True) for first in (True, False)
    ]
    for process in processes:
        process.start()
    results = {first: rest for first, *rest in (out.get(timeout=120) for _ in processes)}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert_holds(RowStore(store.folder, 1).shelf(ABOUT, SHAPE), items(0, 100))
    assert results[True] == [100, []]
    assert results[False][0] == 0
    assert len(results[False][1]) == 1
    assert "waiting for another process to finish with the same cached rows" in results[False][1][0]
