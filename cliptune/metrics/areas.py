"""Areas under the curves of one class against the others, by weights: AUROC and average precision, in every resample of the images.

A class needs no sorting of all images for each resample: only the probabilities of its own images are thresholds, and the weights that lie
between two neighbours of these are summed by one product with a sparse matrix. Ties are taken together, as scikit-learn does.
"""

import torch
from torch import Tensor

from cliptune.metrics.weighted import by_group


def areas(probabilities: Tensor, label: Tensor, several: Tensor | None, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The means over the classes that are there and not everywhere, in each resample by itself.

    Args:
        probabilities: [N, C].
        label: [N].
        several: [N, C], whether an image is of a class, where images may have several.
        weights: [N, R].

    Returns:
        AUROC and average precision, [R] each; not a number where no class can be told from others.
    """
    sums, counted = weights.new_zeros(2, weights.shape[1]), weights.new_zeros(weights.shape[1])
    for c in (label if several is None else several.any(dim=0).nonzero()).unique().tolist():
        positive = (label == c if several is None else several[:, c]).nonzero()[:, 0]
        both = torch.stack(areas_of(probabilities[:, c].contiguous(), positive, weights))
        known = ~both.isnan().any(dim=0)
        sums += both.where(known, 0)
        counted += known
    auroc, precision = (sums / counted).unbind()
    return auroc, precision


def areas_of(probability: Tensor, positive: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """One class's.

    Args:
        probability: [N], of the class.
        positive: places of the images that are of it.
        weights: [N, R].

    Returns:
        AUROC and average precision, [R] each; not a number where all weight is on one side.
    """
    if not len(positive):
        return weights.new_full((weights.shape[1],), torch.nan), weights.new_full((weights.shape[1],), torch.nan)
    least, own = probability[positive].unique(return_inverse=True)  # [K] thresholds, ascending
    between = torch.searchsorted(least, probability) + torch.searchsorted(least, probability, right=True)  # odd for a threshold itself
    parts = by_group(between, 2 * len(least) + 1, weights)
    right = by_group(own, len(least), weights, of=positive)  # [K, R]
    right_from, all_from = _from(right), _from(parts)  # of this probability or more
    right_sum, all_sum = right_from[0], all_from[0]
    wrong_sum = all_sum - right_sum
    all_from = all_from[1::2]
    wrong_below = (all_sum - all_from) - (right_sum - right_from)
    known = (right_sum > 0) & (wrong_sum > 0)
    before = (right * (wrong_below + (parts[1::2] - right) / 2)).sum(dim=0)
    precision = (right * right_from / all_from.clamp(min=1e-30)).sum(dim=0)
    auroc, average = before / (right_sum * wrong_sum), precision / right_sum
    return auroc.where(known, torch.nan), average.where(known, torch.nan)


def _from(sums: Tensor) -> Tensor:
    """[K, R], each with all that follow it."""
    return sums.flip(0).cumsum(dim=0).flip(0)
