"""Logarithms of sums of exponentials along columns that are seen block by block, and then over processes."""

import torch
from torch import Tensor

from cliptune.distributed import greatest, total


class ColumnLSE:
    """The running logsumexp of each column.

    Args:
        columns: how many.
        device: where they are.
    """

    def __init__(self, columns: int, device: torch.device) -> None:
        self.most = torch.full((columns,), -torch.inf, device=device)
        self.sum = torch.zeros(columns, device=device)

    def update(self, logits: Tensor, weights: Tensor | None = None) -> None:
        """Take a block.

        Args:
            logits: [b, N]; -inf for what does not count.
            weights: [b, N], factors on the exponentials.
        """
        shift = self.shift_to(torch.maximum(self.most, logits.amax(dim=0)))
        powers = (logits - shift).exp_()
        self.sum += (powers if weights is None else powers.mul_(weights)).sum(dim=0)

    def shift_to(self, most: Tensor) -> Tensor:
        """Count from another greatest; gives what to subtract, which is finite."""
        shift = most.clamp(min=torch.finfo(most.dtype).min)
        self.sum *= (self.most.clamp(min=torch.finfo(most.dtype).min) - shift).exp()
        self.most = most
        return shift

    def over_ranks(self) -> Tensor:
        """[N]: the logsumexp over the rows of all processes."""
        self.shift_to(greatest(self.most))
        return self.most + total(self.sum).log()
