"""From rows to batches: which rows, in which order, on which process."""

from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from cliptune.data.batches import FILL, KEPT, Order, Rows
from cliptune.data.columns import Columns
from cliptune.data.split import Split

COLUMNS = Columns("image", "text", None)


def split(name: str, rows: int) -> Split:
    table = Dataset.from_dict({"image": [f"{i}.png" for i in range(rows)], "text": [f"{name} {i}" for i in range(rows)]})
    return Split(table, COLUMNS, [Path()], name)


# Rows


def test_rows_of_several_splits_come_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = split("first", 3), split("second", 2)
    rows = Rows([first, second, first])
    assert len(rows) == 8
    places = [(5, 4), (5, 0), (5, 7), (5, 2), (5, 3)]
    assert [(epoch, number, row.captions) for epoch, number, row in rows[places]] == [
        (5, 4, ["second 1"]),
        (5, 0, ["first 0"]),
        (5, 7, ["first 2"]),
        (5, 2, ["first 2"]),
        (5, 3, ["second 0"]),
    ]


def test_a_batch_is_one_read_of_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = Split.read
    monkeypatch.setattr(Split, "read", lambda self, numbers, images=True: reads.append(len(numbers)) or read(self, numbers))
    Rows([split("first", 20), split("second", 20)])[[(0, i) for i in range(0, 40, 2)]]
    assert reads == [10, 10]


def test_rows_without_images_are_read_once_for_all_epochs_and_no_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = Split.read
    monkeypatch.setattr(Split, "read", lambda self, numbers, images=True: reads.append(len(numbers)) or read(self, numbers, images))
    rows = Rows([split("first", 6)], images=False)
    first, second = rows[[(0, 1), (0, 4)]], rows[[(1, 4), (1, 5), (1, 1)]]
    assert [(epoch, number, row.captions[0]) for epoch, number, row in [*first, *second]] == [
        *[(0, 1, "first 1"), (0, 4, "first 4")],
        *[(1, 4, "first 4"), (1, 5, "first 5"), (1, 1, "first 1")],
    ]
    assert reads == [2, 1]
    for more in (Rows([split("first", 6)]), Rows([split("first", KEPT + 1)], images=False)):
        reads.clear()
        assert more[[(0, 1)]] == more[[(0, 1)]]
        assert reads == [1, 1]


# Order


def test_an_order_shows_every_row_once_in_an_epoch_and_leaves_out_the_last_smaller_batch() -> None:
    batches = list(Order(23, 5, shuffle=True, seed=1))
    assert [len(batch) for batch in batches] == [5] * 4
    assert len(batches) == len(Order(23, 5, shuffle=True, seed=1))
    assert max(Counter(row for batch in batches for _, row in batch).values()) == 1


def test_without_shuffling_all_rows_come_in_order() -> None:
    batches = list(Order(7, 3, shuffle=False, seed=1))
    assert batches == [[(0, 0), (0, 1), (0, 2)], [(0, 3), (0, 4), (0, 5)], [(0, 6)]]
    assert len(batches) == len(Order(7, 3, shuffle=False, seed=1))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    order, resumed = Order(50, 10, shuffle=True, seed=1), Order(50, 10, shuffle=True, seed=1, epoch=2)
    zero = list(order)
    assert list(order) == zero != list(Order(50, 10, shuffle=True, seed=2))
    order.set_epoch(2)
    assert list(order) == list(resumed)
    assert {epoch for batch in order for epoch, _ in batch} == {2}
    assert [row for batch in order for _, row in batch] != [row for batch in zero for _, row in batch]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_the_batches_of_all_processes_are_those_of_one_with_as_many_times_the_rows(world: int, shuffle: bool) -> None:
    rows = 29
    shares = [list(Order(rows, 4, shuffle, seed=1, share=(rank, world))) for rank in range(world)]
    whole = list(Order(rows, 4 * world, shuffle, seed=1))
    assert len({len(share) for share in shares}) == 1
    for parts, together in zip(zip(*shares, strict=True), whole, strict=True):
        assert len({len(part) for part in parts}) == 1  # collectives wait for every process
        assert [place for part in parts for place in part if place[0] != FILL] == together


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 13])
def test_in_order_every_row_is_counted_once_by_one_process(rows: int) -> None:
    shares = [list(Order(rows, 3, shuffle=False, seed=1, share=(rank, 4))) for rank in range(4)]
    counted = [row for share in shares for batch in share for epoch, row in batch if epoch != FILL]
    assert sorted(counted) == list(range(rows))
    assert all(batch for share in shares for batch in share)
