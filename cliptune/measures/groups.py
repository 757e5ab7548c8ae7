"""Groups of images by a column of the data, and how far apart they are: differences of means with their intervals, by resampling alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cliptune.data.images import ImageTextData
from cliptune.errors import DataError, did_you_mean
from cliptune.metrics.bootstrap import intervals
from cliptune.similarity import exact

KEY = "evaluation.bias"
LEAST = 10  # images of a group, below which it is shown and not compared
MOST = 50  # groups
FEW = 10  # different numbers, above which they are cut into thirds
RESAMPLES = 1000
CHUNK = 2**24  # numbers in memory at a time, of regroupings


@dataclass
class Groups:
    """Which group each image is of.

    Args:
        column: that says so.
        names: [G], in order.
        of: [N] long, by row of the test split; -1 for rows without a value.
    """

    column: str
    names: list[str]
    of: Tensor

    def counts(self, images: Tensor) -> Tensor:
        """[G]: how many of these images, by row, are of each group."""
        own = self.of[images]
        return torch.bincount(own[own >= 0], minlength=len(self.names))


class Gap(NamedTuple):
    """The two groups that differ most in a mean."""

    most: str
    least: str
    difference: float
    low: float  # of the 95 % interval of the difference between these two
    high: float
    p: float  # how often groups drawn at random differ as much: an answer to how the two were chosen, which the interval has none to


def read_groups(data: ImageTextData, column: str) -> Groups:
    """Read the groups of the test split's images; numbers of many values are cut into thirds.

    Args:
        data: set up.
        column: of any kind but images and lists.

    Raises:
        DataError: there is no such column, or it makes no groups that can be compared.
    """
    splits = data.splits["test"]
    for split in splits:
        if column not in split.whole.column_names:
            others = [name for name in split.whole.column_names if name != split.columns.image]
            raise DataError(f"{KEY}: {split.name} has no column {column}. {did_you_mean(column, others)}")
        if column == split.columns.image:
            raise DataError(f"{KEY}: {column} holds the images, and cannot group them. Set column to another one.")
    cells = [cell for split in splits for cell in split.values(column)]
    values = [None if cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()) else cell for cell in cells]
    given = [value for value in values if value is not None]
    odd = next((value for value in given if not isinstance(value, (str, bool, int, float))), None)
    if odd is not None:
        raise DataError(f"{KEY}: column {column} holds {type(odd).__name__} values, and an image is of one group. Take words or numbers.")
    numbers = [_number(value) for value in values]
    if given and all(number is not None for number, value in zip(numbers, values, strict=True) if value is not None):
        names, of = _of_numbers(numbers)
    else:
        words = [None if value is None else str(value).strip() for value in values]
        names = sorted({word for word in words if word is not None})
        place = {name: i for i, name in enumerate(names)}
        of = [-1 if word is None else place[word] for word in words]
    found = Groups(column, names, torch.tensor(of, dtype=torch.long))
    _check(found)
    return found


def _number(value: Any) -> float | None:
    """A cell as a number; None where it is none. A table made of a CSV has ages as words."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except ValueError:
        return None


def _of_numbers(numbers: Sequence[float | None]) -> tuple[list[str], list[int]]:
    """A group for each number; of many, cut where a third and two thirds lie below, each called by its least and greatest."""
    known = np.array([np.nan if number is None else number for number in numbers])
    bounds = np.unique(known[~np.isnan(known)])
    if len(bounds) > FEW:
        bounds = np.unique(np.quantile(known[~np.isnan(known)], [1 / 3, 2 / 3], method="lower"))
    of = np.where(np.isnan(known), -1, np.searchsorted(bounds, known, side="left"))
    found = {int(i): [known[of == i].min(), known[of == i].max()] for i in np.unique(of[of >= 0])}
    rank = {i: place for place, i in enumerate(found)}
    return [" to ".join(f"{bound:g}" for bound in dict.fromkeys(span)) for span in found.values()], [rank.get(int(i), -1) for i in of]


def _check(groups: Groups) -> None:
    counts = Counter(groups.of.tolist())
    large = [i for i in range(len(groups.names)) if counts[i] >= LEAST]
    if len(groups.names) > MOST:
        raise DataError(f"{KEY}: column {groups.column} makes {len(groups.names):,} groups, and at most {MOST} are compared. Take another.")
    if len(large) < 2:
        had = ", ".join(f"{name} ({counts[i]})" for i, name in enumerate(groups.names)) or "no value"
        raise DataError(
            f"{KEY}: column {groups.column} of the test split has {had}: two groups of {LEAST} images are needed. Take another column."
        )


def largest_gaps(values: Tensor, of: Tensor, names: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> list[Gap]:
    """For each column of values the two groups whose means differ most.

    The interval resamples images, for these two groups as they are. Of several groups, the two that differ most do so by chance too:
    `p` is the share of random regroupings, the true one among them, whose largest difference is as large.

    Args:
        values: [N, W].
        of: [N], group of each, among those that are compared; each has one at least.
        names: [G] of these groups.
        resamples: of the interval and of `p`.
        seed: of both.

    Returns:
        W of them.
    """
    with exact(values.device):
        values = values.double()
        belongs = torch.nn.functional.one_hot(of, len(names)).double()  # [N, G]
        means = (belongs.T @ values) / belongs.sum(dim=0)[:, None]  # [G, W]
        most, least = means.argmax(dim=0), means.argmin(dim=0)
        gap = means.amax(dim=0) - means.amin(dim=0)

        above, below = belongs[:, most] * values, belongs[:, least] * values  # [N, W]

        def weighted(weights: Tensor) -> dict[str, Tensor]:
            each = weights.double()
            sizes = (each @ belongs).clamp(min=1e-12)  # [R, G]
            found = ((each @ above) / sizes[:, most] - (each @ below) / sizes[:, least]).float()
            return {str(w): found[:, w] for w in range(values.shape[1])}

        drawn = intervals(weighted, len(values), resamples, seed)
        chance = _by_chance(values, belongs, gap, resamples, seed)
    return [
        Gap(names[int(most[w])], names[int(least[w])], float(gap[w]), drawn[str(w)].low, drawn[str(w)].high, float(chance[w]))
        for w in range(values.shape[1])
    ]


def _by_chance(values: Tensor, belongs: Tensor, gap: Tensor, resamples: int, seed: int) -> Tensor:
    """[W]: the share of regroupings, the true one among them, with as large a gap."""
    random = np.random.default_rng(seed)
    sizes = belongs.sum(dim=0)
    reached = torch.ones(values.shape[1], dtype=torch.double)
    at_once = max(CHUNK // belongs.numel(), 1)
    for start in range(0, resamples, at_once):
        drawn = [torch.from_numpy(random.permutation(len(values))) for _ in range(min(at_once, resamples - start))]
        means = torch.stack([belongs[order] for order in drawn]).transpose(1, 2) @ values / sizes[:, None]  # [R, G, W]
        reached += (means.amax(dim=1) - means.amin(dim=1) >= gap - 1e-12).sum(dim=0)
    return reached / (resamples + 1)
