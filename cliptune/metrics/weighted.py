"""Sums over images each of which counts some number of times: a bootstrap's resamples are such weights."""

import numpy as np
import torch
from torch import Tensor


def by_group(group: Tensor, groups: int, weights: Tensor, of: Tensor | None = None, value: Tensor | None = None) -> Tensor:
    """Sum the weights of each group, in every resample.

    Args:
        group: [M], in 0..`groups`-1.
        groups: how many there are.
        weights: [N, R] of the images.
        of: [M], whose weight each of them has; its own where not given.
        value: [M], a factor on each one's weight.

    Returns:
        [`groups`, R], of the type of `weights`.
    """
    column = torch.arange(len(group)) if of is None else of
    factor = torch.ones(len(group)) if value is None else value
    if weights.shape[1] == 1:  # no resamples: laying out a matrix would take longer than the sums
        return weights.new_zeros(groups, 1).index_add_(0, group, weights[column] * factor.to(weights.dtype)[:, None])
    from scipy import sparse  # only resamples need it

    matrix = sparse.csr_matrix(
        (factor.to(weights.dtype).numpy(), (group.numpy(), column.numpy())), shape=(groups, len(weights))
    )  # one number for each of M: a product with it reads each weight once
    return torch.from_numpy(np.asarray(matrix @ weights.numpy()))


def median(values: Tensor, counts: Tensor) -> Tensor:
    """The median of numbers that are there several times; the mean of both middle ones where these are an even number.

    Args:
        values: [K], ascending.
        counts: [K, R], how often each is there.

    Returns:
        [R], float64; not a number where there are none.
    """
    if not len(values):
        return torch.full(counts.shape[1:], torch.nan, dtype=torch.float64)
    reached = counts.cumsum(dim=0)
    middles = ((reached[-1] - 1) / 2).floor(), (reached[-1] / 2).floor()
    found = [values[(reached <= middle).sum(dim=0).clamp(max=len(values) - 1)].double() for middle in middles]
    return (found[0] + found[1]) / 2
