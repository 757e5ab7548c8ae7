"""Which rows an epoch has and which meet in a batch, counted exactly."""

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import data

from cliptune.data.apart import apart, apart_in_all
from cliptune.data.batches import AGAIN, Order
from cliptune.data.sampling import Sampling
from cliptune.errors import ConfigError, DataError

pytest_plugins = ["made_data"]


def made(labels: Any = None, how: str = "shuffle", whole: int = 8, rows: int | None = None, **options: Any) -> Sampling:
    labels = np.array(labels) if isinstance(labels, list) and isinstance(labels[0], int) else labels
    sizes = options.pop("sizes", None) or [rows or len(labels)]
    given = {"shares": None, "weights": None, **options}
    return Sampling(sizes, given.pop("shares"), labels, given.pop("weights"), how, whole, **given)


def batches(order: np.ndarray, whole: int) -> np.ndarray:
    return order[: len(order) // whole * whole].reshape(-1, whole)


ALL: list[Sampling] = [
    made(rows=50),
    made(sizes=[40, 10], shares=[1.0, 1.0]),
    made([0] * 40 + [1] * 10, "balanced"),
    made(rows=50, how="weighted", weights=np.arange(50.0)),
    made([i % 25 for i in range(50)], "distinct"),
    made([i % 5 for i in range(50)], "pk", classes=4, images=2),
]


@pytest.mark.parametrize("sampling", ALL, ids=lambda one: one.how)
def test_an_epoch_is_a_function_of_seed_and_epoch_as_long_as_it_says(sampling: Sampling) -> None:
    first, again = sampling(3), pickle.loads(pickle.dumps(sampling))(3)
    assert first.tolist() == again.tolist()
    assert first.tolist() != sampling(4).tolist()
    assert len(first) == len(sampling)
    assert first.min() >= 0
    assert first.max() < 50


def test_shuffled_rows_are_those_of_an_order_without_a_sampler() -> None:
    plain = [row for batch in Order(50, 8, shuffle=True, seed=7, epoch=2) for _, row in batch]
    assert made(rows=50, seed=7)(2)[:48].tolist() == plain


def test_sources_are_seen_by_their_shares_and_small_ones_go_round_evenly() -> None:
    counts = Counter(made(sizes=[90, 10], shares=[1.0, 3.0])(0).tolist())
    assert sum(counts[row] for row in range(90)) == 25
    assert max(counts[row] for row in range(90)) == 1
    assert sorted(counts[row] for row in range(90, 100)) == [7] * 5 + [8] * 5


def test_shares_are_met_to_a_row() -> None:
    order = made(sizes=[7, 7, 6], shares=[1.0, 1.0, 1.0])(0)
    assert sorted(Counter(np.searchsorted([7, 14, 20], order, side="right").tolist()).values()) == [6, 7, 7]


def test_balanced_classes_come_equally_often_and_their_images_too() -> None:
    order = made([0] * 40 + [1] * 7 + [-1] * 3, "balanced")(1)
    counts = Counter(order.tolist())
    assert sum(counts[row] for row in range(40)) == sum(counts[row] for row in range(40, 47)) == 25
    assert {counts[row] for row in range(40, 47)} == {3, 4}
    assert not any(counts[row] for row in range(47, 50))  # of no class


def test_images_of_several_classes_count_for_each() -> None:
    labels = [np.array([0]), np.array([0, 1]), np.array([], dtype=np.int64), np.array([1])]
    counts = Counter(made(labels, "balanced", whole=2)(0).tolist())
    assert counts[2] == 0
    assert sum(counts.values()) == 4


def test_weights_are_met_up_to_one_row() -> None:
    weights = np.array([0.0, 1.0, 2.0, 5.0, 2.0])
    found = [np.bincount(made(rows=5, how="weighted", weights=weights)(epoch), minlength=5) for epoch in range(200)]
    exact = 5 * weights / weights.sum()
    assert all((counts >= np.floor(exact)).all() and (counts <= np.ceil(exact)).all() for counts in found)
    np.testing.assert_allclose(np.mean(found, axis=0), exact, atol=0.11)  # 3 standard deviations of a coin's mean


@pytest.mark.parametrize("labels", [[i % 20 for i in range(100)], [min(i, 12) for i in range(25)], [-1] * 30 + [1, 2] * 3])
def test_classes_stay_apart_where_there_are_batches_enough(labels: list[int]) -> None:
    order = made(labels, "distinct", whole=8)(0)
    assert sorted(order.tolist()) == list(range(len(labels)))
    count = len(labels) // 8
    most = max(Counter(label for label in labels if label >= 0).values())
    worst = [
        max(Counter(label for label in np.array(labels)[batch].tolist() if label >= 0).values(), default=1) for batch in batches(order, 8)
    ]
    left = len(labels) - count * 8
    assert max(worst) <= max(-(-(most - left) // count), 1)


def test_a_class_of_more_rows_than_batches_meets_itself_as_seldom_as_can_be() -> None:
    labels = np.array([0] * 40 + list(range(1, 41)))
    order = apart(labels, 8, np.random.default_rng(0))
    assert {int((labels[batch] == 0).sum()) for batch in batches(order, 8)} == {4}


def test_images_that_share_any_class_stay_apart() -> None:
    rng = np.random.default_rng(0)
    labels = [np.unique(rng.integers(0, 60, 2)) for _ in range(96)]
    order = apart_in_all(labels, 8, rng)
    assert sorted(order.tolist()) == list(range(96))
    clashes = sum(
        len(np.concatenate([labels[row] for row in batch])) - len(np.unique(np.concatenate([labels[row] for row in batch])))
        for batch in batches(order, 8)
    )
    shuffled = rng.permutation(96)
    at_random = sum(
        len(np.concatenate([labels[row] for row in batch])) - len(np.unique(np.concatenate([labels[row] for row in batch])))
        for batch in batches(shuffled, 8)
    )
    assert clashes < at_random / 4


@pytest.mark.parametrize("counts", [[6] * 5, [2, 9, 1, 40, 3]])
def test_batches_of_few_classes_have_so_many_images_of_each(counts: Sequence[int]) -> None:
    labels = np.repeat(np.arange(5), counts)
    sampling = made(labels, "pk", whole=12, classes=3, images=4, rows=sum(counts))
    order = sampling(0)
    seen: Counter[int] = Counter()
    for batch in batches(order, 12):
        found = Counter(labels[batch].tolist())
        assert sorted(found.values()) == [4, 4, 4]
        seen.update(found.keys())
    assert max(seen.values()) - min(seen[label] for label in range(5)) <= 1


def test_images_of_a_class_take_turns_in_batches_of_few_classes() -> None:
    labels = np.repeat(np.arange(4), 10)
    counts = Counter(made(labels, "pk", whole=4, classes=2, images=2, rows=40)(0).tolist())
    assert set(counts.values()) == {1}


def test_a_hundred_thousand_rows_of_a_thousand_classes_are_kept_apart() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 100_000)
    order = apart(labels, 256, np.random.default_rng(0))
    assert {Counter(labels[batch].tolist()).most_common(1)[0][1] for batch in batches(order, 256)} == {1}


def test_a_row_that_comes_again_has_another_epoch_so_that_its_view_is_another() -> None:
    order = Order(6, 3, True, 0, epoch=2, draw=lambda epoch: np.array([4, 1, 4, 4, 0, 1]))
    assert list(order) == [[(2, 4), (2, 1), (2 + AGAIN, 4)], [(2 + 2 * AGAIN, 4), (2, 0), (2 + AGAIN, 1)]]


ERRORS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no labels": ({"rows": 9, "how": "distinct"}, DataError, r"the sampler distinct goes by classes, and the training rows have none"),
    "all unknown": ({"labels": [-1] * 9, "how": "balanced"}, DataError, r"the sampler balanced goes by classes"),
    "no weights": ({"rows": 9, "how": "weighted"}, DataError, r"Set data\.weight_column"),
    "negative": (
        {"rows": 2, "how": "weighted", "weights": np.array([1.0, -1.0])},
        DataError,
        r"value of weight_column is -1\.0 for number 1",
    ),
    "nan": ({"rows": 2, "how": "weighted", "weights": np.array([np.nan, 1.0])}, DataError, r"value of weight_column is nan for number 0"),
    "zeros": ({"sizes": [2, 2], "shares": [0.0, 0.0]}, DataError, r"each weight of a source is 0"),
    "both": (
        {"labels": [0, 1], "how": "balanced", "sizes": [1, 1], "shares": [1.0, 1.0]},
        ConfigError,
        r"both say how often rows are seen",
    ),
    "no P": ({"labels": [0, 1], "how": "pk"}, ConfigError, r"pk needs classes_per_batch and images_per_class"),
    "P x K": ({"labels": [0, 1], "how": "pk", "classes": 2, "images": 2}, ConfigError, r"are 4 rows, and a batch of all devices has 8"),
    "few": ({"labels": [0, 1], "how": "pk", "classes": 4, "images": 2}, ConfigError, r"classes_per_batch 4 is more than the 2 classes"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_does_not_fit_is_one_line(case: str) -> None:
    options, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message) as caught:
        made(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("size", "images"), [(10, 4), (7, 3), (3, 4), (1, 3), (5, 5)])
def test_an_image_comes_again_in_a_batch_only_after_all_others_of_its_class(size: int, images: int) -> None:
    labels = np.repeat(np.arange(6), size)
    sampling = made(labels, "pk", whole=2 * images, classes=2, images=images, rows=len(labels))
    most = -(-images // size)
    for epoch in range(5):
        for batch in batches(sampling(epoch), 2 * images):
            assert max(Counter(batch.tolist()).values()) == most


def test_every_batch_has_its_share_of_each_class_and_source() -> None:
    balanced = made([0] * 90 + [1] * 10, "balanced", whole=20)
    mixed = made(sizes=[90, 10], shares=[1.0, 1.0], whole=20)
    for batch in [*batches(balanced(0), 20), *batches(mixed(0), 20)]:
        assert 9 <= (batch < 90).sum() <= 11  # half of it, and at each end one that the neighbour has instead


def test_no_row_of_several_classes_is_left_out_of_every_epoch() -> None:
    labels = [np.arange(i % 5) for i in range(20)]
    seen = {row for epoch in range(40) for row in apart_in_all(labels, 8, np.random.default_rng(epoch))[:16].tolist()}
    assert seen == set(range(20))


def test_what_cannot_be_kept_apart_is_told() -> None:
    told = made([0] * 9 + list(range(1, 8)), "distinct", whole=4).note
    assert told == "sampler distinct: the largest class has 9 images, and an epoch 4 batches: they meet, 3 at most"
    assert made([0] * 4 + list(range(1, 13)), "distinct", whole=4).note == ""
    assert made([0] * 9 + list(range(1, 8)), whole=4).note == ""


def test_labels_that_evaluation_does_not_know_keep_images_apart_too(write: Callable[..., Path]) -> None:
    table = write([f"thing {i}" for i in range(32)], label=[i % 8 for i in range(32)])  # numbers without names are no classes
    made = data(table, sampler="distinct", batch_size=4)
    assert made.class_names == []
    rows = made.rows("train")
    for places in made.train_dataloader().sampler:
        labels = [row.label for _, _, row in rows[places]]
        assert len(set(labels)) == len(labels)
