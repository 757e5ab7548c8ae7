"""Which rows an epoch has, and which of them meet in a batch: a function of seed and epoch, as arrays of row numbers.

What has to hold in a batch holds in each block of `whole` rows, the batches of all processes together.
"""

from collections.abc import Sequence

import numpy as np

from cliptune.data.apart import apart, apart_in_all
from cliptune.errors import ConfigError, DataError

Labels = np.ndarray | Sequence[np.ndarray] | None  # [N] of classes, -1 for none; or N arrays of classes


class Sampling:
    """Gives an epoch's rows in order.

    Args:
        sizes: rows of each source; those of one follow those of the one before.
        shares: how often sources are seen against one another; None for each row once.
        labels: the classes of each row.
        weights: [N], how often rows are seen against one another.
        how: `shuffle`, `balanced`, `weighted`, `distinct` or `pk`.
        whole: rows of a batch, over all processes.
        classes: in a batch, of `pk`.
        images: of each of these classes.
        seed: of all draws.

    Raises:
        ConfigError: what is set does not fit together.
        DataError: the data lacks what the sampler goes by.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        shares: Sequence[float] | None,
        labels: Labels,
        weights: np.ndarray | None,
        how: str,
        whole: int,
        classes: int | None = None,
        images: int | None = None,
        seed: int = 0,
    ) -> None:
        self.rows, self.how, self.whole, self.seed = sum(sizes), how, whole, seed
        self.sizes, self.shares, self.labels, self.weights = list(sizes), shares, labels, weights
        self.classes, self.images = classes, images
        self.members = _members(labels) if how in ("balanced", "pk") else []
        self._check()

    def __len__(self) -> int:
        return self.rows // self.whole * self.whole if self.how == "pk" else self.rows

    @property
    def note(self) -> str:
        """What the sampler cannot keep to, or ""."""
        count = self.rows // self.whole
        most = max((len(rows) for rows in _members(self.labels)), default=0) if self.how == "distinct" and count else 0
        if most <= count:
            return ""
        return (
            f"sampler distinct: the largest class has {most} images, and an epoch {count} batches: they meet, {-(-most // count)} at most"
        )

    def __call__(self, epoch: int) -> np.ndarray:
        """[N] row numbers, the epoch's batches one after another."""
        rng = np.random.default_rng((self.seed, epoch))
        if self.how == "balanced":
            return _spread(self.members, _counts(np.ones(len(self.members)), self.rows, rng), rng)
        if self.how == "weighted":
            assert self.weights is not None
            return rng.permutation(_by_weight(self.weights, rng))
        if self.how == "distinct":
            assert self.labels is not None
            if isinstance(self.labels, np.ndarray):
                return apart(self.labels, self.whole, rng)
            return apart_in_all(self.labels, self.whole, rng)
        if self.how == "pk":
            return self._of_few_classes(rng)
        return self._mixed(rng)

    def _mixed(self, rng: np.random.Generator) -> np.ndarray:
        """Sources by their shares, in every part of the epoch."""
        if self.shares is None:
            return rng.permutation(self.rows)
        ends = np.cumsum(self.sizes)
        members = [np.arange(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        return _spread(members, _counts(np.array(self.shares), self.rows, rng), rng)

    def _of_few_classes(self, rng: np.random.Generator) -> np.ndarray:
        """Batches of so many classes with so many images each; classes take turns, and the images of each."""
        assert self.classes is not None
        assert self.images is not None
        turns = _rounds(np.arange(len(self.members)), len(self) // self.whole, self.classes, rng).ravel()
        places = np.split(np.argsort(turns, kind="stable"), np.cumsum(np.bincount(turns, minlength=len(self.members)))[:-1])
        found = np.empty((len(turns), self.images), dtype=np.int64)
        for rows, own in zip(self.members, places, strict=True):
            found[own] = _rounds(rows, len(own), self.images, rng)
        return found.ravel()

    def _check(self) -> None:
        if self.shares is not None:
            if self.how != "shuffle":
                raise ConfigError(
                    f"data: the sampler {self.how} and weights of sources both say how often rows are seen. Leave out one of them."
                )
            _check_weights(np.array(self.shares), "weight of a source")
        if self.how in ("balanced", "distinct", "pk") and not any(len(rows) for rows in _members(self.labels)):
            raise DataError(f"data: the sampler {self.how} goes by classes, and the training rows have none. Set data.label_column.")
        if self.how == "weighted":
            if self.weights is None:
                raise DataError("data: the sampler weighted goes by a column, and there is none. Set data.weight_column.")
            _check_weights(self.weights, "value of weight_column")
        if self.how == "pk":
            self._check_few_classes()

    def _check_few_classes(self) -> None:
        if not self.classes or not self.images:
            raise ConfigError("data: the sampler pk needs classes_per_batch and images_per_class. Set both, such as 16 and 4.")
        if self.classes * self.images != self.whole:
            raise ConfigError(
                f"data: {self.classes} classes_per_batch of {self.images} images_per_class are {self.classes * self.images} rows, and a "
                f"batch of all devices has {self.whole}. Set data.batch_size so that they are as many."
            )
        if self.classes > len(self.members):
            raise ConfigError(f"data: classes_per_batch {self.classes} is more than the {len(self.members)} classes. Set it to less.")


def _check_weights(weights: np.ndarray, what: str) -> None:
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DataError(f"data: the {what} is {weights[bad[0]]} for number {bad[0]}, and has to be 0 or more. Mend it, or leave it out.")
    if not weights.sum():
        raise DataError(f"data: each {what} is 0, so that no row would be seen. Give one at least that is above 0.")


def _members(labels: Labels) -> list[np.ndarray]:
    """The rows of each class that has any."""
    if labels is None:
        return []
    if isinstance(labels, np.ndarray):
        rows, flat = np.arange(len(labels)), labels
    else:
        rows = np.repeat(np.arange(len(labels)), [len(each) for each in labels])
        flat = np.concatenate([*labels, np.empty(0)]).astype(np.int64)
    order = np.argsort(flat, kind="stable")
    order = order[flat[order] >= 0]
    ends = np.flatnonzero(np.diff(flat[order])) + 1
    return [rows[part] for part in np.split(order, ends)] if len(order) else []


def _counts(shares: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Split a total by shares: rounded down, what is left by the largest remainders, ties at random."""
    exact = total * shares / shares.sum()
    found = np.floor(exact).astype(np.int64)
    order = np.lexsort((rng.random(len(shares)), -(exact - found)))
    found[order[: total - int(found.sum())]] += 1
    return found


def _spread(members: list[np.ndarray], counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """So many rows of each group, in rounds of all its rows; every part of the order has its share of each group."""
    parts, places = [], []
    for rows, count in zip(members, counts.tolist(), strict=True):
        if count and not len(rows):
            raise DataError("data: a source with a weight has no rows. Leave it out.")
        times, rest = divmod(count, max(len(rows), 1))
        parts += [rng.permuted(np.tile(rows, (times, 1)), axis=1).ravel(), rng.permutation(rows)[:rest]]
        places.append((np.arange(count) + rng.random(count)) / max(count, 1))
    return np.concatenate(parts)[np.argsort(np.concatenate(places))]


def _rounds(rows: np.ndarray, times: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """[times, size]: all rows take turns, and none comes again in a block before all others have."""
    whole, rest = divmod(size, len(rows))
    if whole:
        again = _rounds(rows, times, rest, rng) if rest else np.empty((times, 0), dtype=np.int64)
        return np.concatenate([np.tile(rows, (times, whole)), again], axis=1)
    found, have = [rng.permutation(rows)], len(rows)
    while have < times * size:
        left = found[-1][len(rows) - have % size :]  # begins a block that the next round ends
        turn = rng.permutation(rows)
        found.append(np.concatenate([turn[~np.isin(turn, left)], left]))
        have += len(rows)
    return np.concatenate(found)[: times * size].reshape(times, size)


def _by_weight(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many rows as there are, each about in proportion to its weight: systematic resampling (Kitagawa 1996), floor or ceil of it."""
    order = rng.permutation(len(weights))  # or neighbours would share their luck
    bounds = np.cumsum(weights[order])
    points = (np.arange(len(weights)) + rng.random()) * (bounds[-1] / len(weights))
    last = int(np.searchsorted(bounds, bounds[-1]))  # that weighs anything: the last point may be rounded up to the end
    return order[np.searchsorted(bounds, points, side="right").clip(max=last)]
