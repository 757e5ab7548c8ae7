"""What processes tell one another: rows with their exact gradient, counts and sums. Alone, everything here gives its input.

Every process works on its own rows; the loss of all is the mean of the losses that the processes give, since data parallelism (DDP, FSDP)
means gradients. Nothing here knows of losses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_alone = False  # see `alone`


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _alone else 1


@contextmanager
def alone() -> Iterator[None]:
    """While it lasts, this process takes itself for the only one: for what it does while others wait, who would not answer."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def rank() -> int:
    """This process's number among them, from 0."""
    return dist.get_rank() if world() > 1 else 0


def sizes_of(*sizes: int, device: torch.device) -> list[list[int]]:
    """Tell all processes this one's sizes.

    Args:
        sizes: such as the number of its rows.
        device: that the processes talk by.

    Returns:
        For each of the sizes that of every process, in the order of ranks.
    """
    if world() == 1:
        return [[size] for size in sizes]
    own = torch.tensor(sizes, device=device)
    found = [torch.empty_like(own) for _ in range(world())]
    dist.all_gather(found, own)
    return torch.stack(found, dim=1).tolist()


def gather_rows(rows: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Stack the rows of all ranks, in rank order, keeping the gradient.

    Args:
        rows: [B, ...].
        sizes: every rank's B (`sizes_of`); the same everywhere where not given.

    Returns:
        [sum of B, ...]; the input itself when not distributed.
    """
    if world() == 1:
        return rows
    return _Gather.apply(rows, [len(rows)] * world() if sizes is None else list(sizes))  # type: ignore[no-any-return]


def total(value: Tensor) -> Tensor:
    """The sum over all ranks, without a gradient."""
    if world() == 1:
        return value.detach()
    summed = value.detach().clone()
    dist.all_reduce(summed)
    return summed


def mean_of(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means over all ranks of scalars, without a gradient, told at once."""
    if world() == 1:
        return {name: value.detach() for name, value in values.items()}
    told = total(torch.stack([value.detach().float().reshape(()) for value in values.values()])) / world()
    return dict(zip(values, told.unbind(), strict=True))


def greatest(value: Tensor) -> Tensor:
    """The greatest over all ranks, element by element, without a gradient."""
    if world() == 1:
        return value.detach()
    found = value.detach().clone()
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found


def unsharded(value: Tensor) -> Tensor:
    """A sharded weight, or a sum over one, as a plain tensor with its gradient; any other tensor as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value  # type: ignore[no-any-return]


def gathered(found: list[Any]) -> list[Any]:
    """The items of all ranks, in rank order; any that pickle."""
    if world() == 1:
        return found
    everyone: list[Any] = [None] * world()
    dist.all_gather_object(everyone, found)
    return [item for part in everyone for item in part]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        most = max(sizes)
        padded = F.pad(rows, [0, 0] * (rows.ndim - 1) + [0, most - len(rows)]).contiguous()  # collectives want the same shape everywhere
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)  # every rank's loss depends on these rows
        return summed.split(ctx.sizes)[rank()], None
