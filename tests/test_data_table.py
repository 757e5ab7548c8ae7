"""A table: the rows asked for, in worker processes too, as long as it lives. No torch at the top: the worker processes import this file."""

import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest
from stores import ABOUT, SHAPE, assert_holds, fill, items, rows_of

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.shelf_files import remove
from cliptune.data.kept.store import RowStore
from cliptune.data.kept.table import RowTable
from cliptune.errors import DataError

pytest_plugins = ["stores_fixtures"]
SPAWN = multiprocessing.get_context("spawn")


def test_a_table_gives_rows_in_the_order_asked(shelf: Shelf) -> None:
    fill(shelf, items(0, 10))
    asked = np.concatenate([items(7, 9), items(2, 3), items(7, 8)])
    table, expected = shelf.table(asked), rows_of(asked)
    assert len(table) == 4
    for numbers in ([3, 0, 2], np.array([1, 1]), (0,), slice(1, None), [-1]):
        np.testing.assert_array_equal(table[numbers].numpy(), expected[list(numbers) if isinstance(numbers, tuple) else numbers])
    np.testing.assert_array_equal(table[2].numpy(), expected[2:3])
    with pytest.raises(IndexError):
        table[[4]]


def test_rows_read_are_memory_of_their_own(shelf: Shelf) -> None:
    fill(shelf, items(0, 2))
    table = shelf.table(items(0, 2))
    table[[0]].fill_(-1)
    table[:].fill_(-1)
    assert_holds(shelf, items(0, 2))


def test_a_row_where_it_lies_is_the_same_and_cannot_be_written_to(shelf: Shelf) -> None:
    fill(shelf, items(0, 9))
    row = shelf.table(items(4, 9)).row(2)
    np.testing.assert_array_equal(row, rows_of(items(6, 7))[0])
    with pytest.raises(ValueError, match="read-only"):
        row[0, 0] = 1


def test_a_reader_goes_on_while_another_appends(shelf: Shelf) -> None:
    fill(shelf, items(0, 4))
    table = shelf.table(items(0, 4))
    fill(RowStore(shelf.folder.parent, 1).shelf(ABOUT, SHAPE), items(4, 500))
    np.testing.assert_array_equal(table[:].numpy(), rows_of(items(0, 4)))
    assert_holds(shelf, items(0, 500))


def read(table: RowTable, numbers: list[int], out: Any) -> None:
    out.put(table[numbers].numpy())


def test_a_table_goes_to_a_spawned_process(shelf: Shelf) -> None:
    fill(shelf, items(0, 50))
    out = SPAWN.Queue()
    process = SPAWN.Process(target=read, args=(shelf.table(items(10, 50)), [39, 0, 7], out))
    process.start()
    np.testing.assert_array_equal(out.get(timeout=120), rows_of(items(10, 50))[[39, 0, 7]])
    process.join()


def test_a_pickle_holds_no_rows_and_keeps_the_shelf_from_removal(store: RowStore, shelf: Shelf, kind: str) -> None:
    big = store.shelf(ABOUT, (1000,))
    fill(big, items(0, 100))
    table = big.table(items(0, 100))
    pickled = pickle.dumps(table)
    assert len(pickled) < 5_000  # the rows are 400,000 bytes
    again = pickle.loads(pickled)
    del table
    assert store.clear()[0] == []
    np.testing.assert_array_equal(again[[5]].numpy(), rows_of(items(5, 6), (1000,)))
    del again
    assert len(store.clear()[0]) == 1


def test_a_pickle_of_removed_rows_is_refused(store: RowStore, shelf: Shelf) -> None:
    fill(shelf, items(0, 4))
    table = shelf.table(items(0, 4))
    pickled = pickle.dumps(table)
    remove(shelf.folder)
    with pytest.raises(DataError, match=r"were removed while a run was using them\. Start the run again"):
        pickle.loads(pickled)
    fill(shelf, items(0, 4)[::-1])  # others in their place
    with pytest.raises(DataError, match="were removed"):
        pickle.loads(pickled)
    np.testing.assert_array_equal(table[:].numpy(), rows_of(items(0, 4)))  # who has them mapped keeps them


def test_workers_of_a_data_loader_read_the_table(shelf: Shelf) -> None:
    from torch.utils.data import DataLoader

    fill(shelf, items(0, 30))
    order = [[3, 1], [29, 0, 4], [7]]
    loader: DataLoader[Any] = DataLoader(shelf.table(items(0, 30)), batch_size=None, sampler=order, num_workers=2)  # type: ignore[arg-type]
    for numbers, rows in zip(order, loader, strict=True):
        np.testing.assert_array_equal(rows.numpy(), rows_of(items(0, 30))[numbers])
