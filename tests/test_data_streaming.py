"""Batches of a stream: who gets what, in which order, and from where on."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import datasets
import pytest
from datasets import Image, IterableDataset, Value
from torch.utils.data import DataLoader

from cliptune import retries
from cliptune.data.batches import FILL, Order
from cliptune.data.examples import Retrying, Shards, sample
from cliptune.data.streaming import Stream
from cliptune.errors import DataError

Rows = list[tuple[int, int, Any]]


def numbers(sizes: list[int], start: list[int]) -> Iterator[dict[str, Any]]:
    """Counts through all shards; `start` is the first of each."""
    for size, first in zip(sizes, start, strict=True):
        for i in range(size):
            yield {"value": first + i}


def counting(sizes: list[int]) -> IterableDataset:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return IterableDataset.from_generator(numbers, gen_kwargs={"sizes": sizes, "start": starts})


def values(examples: list[dict[str, Any]], numbers: list[int]) -> list[int]:
    return [example["value"] for example in examples]


def made(sizes: list[int], batch_size: int = 2, **options: Any) -> Stream:
    return Stream(counting(sizes), values, batch_size, **{"epoch_rows": sum(sizes), "buffer": 8, **options})


def loaded(stream: Stream, workers: int = 0) -> list[Rows]:
    return list(DataLoader(stream, batch_size=None, num_workers=workers, collate_fn=list))


def shown(batches: list[Rows]) -> list[int]:
    return [row for batch in batches for _, _, row in batch]


# Dealing


@pytest.mark.parametrize("sizes", [[8] * 4, [8] * 8, [32], [12, 20], [8] * 6, [8] * 10])
def test_two_devices_of_two_workers_see_everything_once(sizes: list[int]) -> None:
    parts = [loaded(made(sizes, share=(rank, 2)), workers=2) for rank in range(2)]
    assert [len(part) for part in parts] == [sum(sizes) // 4] * 2
    assert all(len(batch) == 2 for part in parts for batch in part)
    assert sorted(shown(parts[0]) + shown(parts[1])) == list(range(sum(sizes)))


def test_uneven_shards_give_every_device_as_many_batches() -> None:
    sizes = [40, 2, 2, 2]
    parts = [loaded(made(sizes, share=(rank, 2)), workers=2) for rank in range(2)]
    assert [len(part) for part in parts] == [46 // 4] * 2
    assert set(shown(parts[0]) + shown(parts[1])) > set(range(40, 46))  # and the small ones are seen, again and again
    assert all(len(batch) == 2 for part in parts for batch in part)


def test_a_stream_that_ends_early_begins_anew() -> None:
    seen = Counter(shown(loaded(made([5, 5], epoch_rows=30))))
    assert seen == dict.fromkeys(range(10), 3)


def test_fewer_rows_than_workers_are_seen_by_all() -> None:
    assert set(shown(loaded(made([1], epoch_rows=16, share=(1, 2)), workers=2))) == {0}


def test_numbers_tell_rows_apart_whoever_reads_them() -> None:
    alone = {row: number for batch in loaded(made([6, 10])) for _, number, row in batch}
    shared = {row: number for rank in range(2) for batch in loaded(made([6, 10], share=(rank, 2)), 2) for _, number, row in batch}
    assert len(set(alone.values())) == 16
    assert {row: alone[row] for row in shared} == shared


def test_held_rows_are_not_given() -> None:
    stream = counting([10, 10])
    held = {number: example["value"] for number, example in sample(stream, 4, seed=3)}
    assert len(held) == 4
    seen = shown(loaded(made([10, 10], epoch_rows=16, held=frozenset(held))))
    assert sorted(seen) == sorted(set(range(20)) - set(held.values()))


# Order


def test_epochs_and_seeds_have_orders_of_their_own_and_the_same_again() -> None:
    first, again, other = (shown(loaded(made([16, 16], seed=seed))) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) != first
    later = made([16, 16])
    later.set_epoch(1)
    assert shown(loaded(later)) not in (first, other)
    assert shown(loaded(made([16, 16], epoch=1))) == shown(loaded(later))


def test_workers_that_live_on_see_the_next_epoch() -> None:
    stream = made([16, 16])
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True, collate_fn=list)
    orders = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        batches = list(loader)
        assert {told for batch in batches for told, _, _ in batch} == {epoch}
        orders.append(shown(batches))
    fresh = DataLoader(made([16, 16], epoch=1), batch_size=None, num_workers=2, collate_fn=list)
    assert orders[1] == shown(list(fresh)) != orders[0]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("done", [1, 4, 5])
def test_a_resumed_run_sees_what_an_unbroken_one_would(workers: int, done: int) -> None:
    for rank in range(2):
        whole = loaded(made([9, 9, 9, 9], share=(rank, 2), epoch=2), workers)
        resumed = made([9, 9, 9, 9], share=(rank, 2), epoch=2, done=done)
        assert loaded(resumed, workers) == whole[done:]
        resumed.set_epoch(3)
        assert len(loaded(resumed, workers)) == len(whole)


def test_rows_seen_before_are_not_made_again() -> None:
    asked: list[int] = []

    def make(examples: list[dict[str, Any]], numbers: list[int]) -> list[int]:
        asked.extend(numbers)
        return values(examples, numbers)

    list(Stream(counting([20]), make, 2, epoch_rows=20, done=7))
    assert len(asked) == 6


def test_epochs_that_are_less_than_the_stream_go_on_where_the_last_ended() -> None:
    seen = [sorted(shown(loaded(made([20, 20], epoch_rows=10, rows=40, epoch=epoch)))) for epoch in range(8)]
    assert sorted(row for part in seen[:4] for row in part) == list(range(40))
    assert sorted(row for part in seen[4:] for row in part) == list(range(40))
    shared = [shown(loaded(made([20], epoch_rows=10, rows=20, share=(rank, 2), epoch=epoch))) for rank in range(2) for epoch in range(2)]
    assert len({row for part in shared for row in part}) >= 16


def test_a_buffer_mixes_rows_that_lie_apart() -> None:
    order = shown(loaded(made([400], batch_size=4, buffer=200)))
    assert len([1 for first, second in pairwise(order) if abs(first - second) <= 2]) < 40
    assert shown(loaded(made([40], buffer=1)))[:4] != order[:4]


# In order


@pytest.mark.parametrize("rows", [8, 9, 13, 1])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_each_row_once_in_the_batches_of_a_table(rows: int, workers: int) -> None:
    sizes = [rows // 2, rows - rows // 2] if rows > 1 else [1]
    for rank in range(3):
        stream = made(sizes, shuffle=False, share=(rank, 3), epoch_rows=None)
        batches = loaded(stream, workers)
        places = list(Order(rows, 2, shuffle=False, seed=0, share=(rank, 3)))
        assert [[(epoch, row) for epoch, _, row in batch] for batch in batches] == places
    filled = [epoch for rank in range(3) for batch in loaded(made(sizes, shuffle=False, share=(rank, 3))) for epoch, _, _ in batch]
    assert len(filled) - filled.count(FILL) == rows
    assert len(made(sizes, shuffle=False, share=(0, 3))) == len(places)


# What can go wrong


class Flaky:
    """A stream's shard that fails at two places, once each."""

    def __init__(self) -> None:
        self.failed: list[int] = []

    def __call__(self, parts: list[int]) -> Iterator[dict[str, Any]]:
        for part in parts:
            for i in range(200):
                if i in (70, 137) and i not in self.failed:
                    self.failed.append(i)
                    raise ConnectionResetError("connection reset")
                yield {"value": part * 200 + i}


def test_a_stream_that_fails_twice_loses_nothing_and_gives_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cliptune.data.examples.retried", lambda call, what: retries.retried(call, what, sleep=waits.append))
    flaky = Flaky()
    shards = Shards(IterableDataset.from_generator(flaky, gen_kwargs={"parts": [0]}))
    assert [example["value"] for _, example in shards.examples(0)] == list(range(200))
    assert (len(waits), flaky.failed) == (2, [70, 137])


def test_a_network_that_does_not_come_back_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(place: int) -> Iterator[int]:
        raise TimeoutError("timed out")

    monkeypatch.setattr("cliptune.data.examples.retried", lambda call, what: retries.retried(call, what, sleep=lambda seconds: None))
    with pytest.raises(DataError, match=r"^reading a failed again and again: timed out\. See to the network"):
        next(Retrying(fail, "reading a"))


def test_images_by_url_are_fetched_when_they_are_due(tmp_path: Any) -> None:
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]))
    features = datasets.Features({"image": Image(decode=False), "value": Value("int64")})
    rows = [{"image": {"bytes": None, "path": f"file://{file}"}, "value": i} for i, file in enumerate(files)]
    stream = datasets.Dataset.from_list(rows, features=features).to_iterable_dataset()
    files[0].unlink()
    batches = list(islice(Stream(stream, lambda examples, _: examples, 1, shuffle=False, done=1), 3))
    assert [batch[0][2]["image"]["bytes"] for batch in batches] == [b"\1", b"\2", b"\3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch_rows": None}, r"does not say how many rows it has\. Set data\.epoch_rows"),
        ({"epoch_rows": 3, "share": (0, 2)}, r"batch_size 2 is more than the 1 rows of an epoch on each device"),
    ],
)
def test_what_cannot_be_an_epoch_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made([4, 4], **options)


def test_an_empty_stream_does_not_run_forever() -> None:
    with pytest.raises(DataError, match=r"holds no row"):
        loaded(made([0, 0], epoch_rows=4))
