"""The formula that every part of cliptune shares, in full float32 whatever the precision around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def similarity(image_rows: Tensor, text_rows: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compare rows.

    Args:
        image_rows: [B, D].
        text_rows: [C, D].
        scale: the factor on the cosines.
        bias: added to each logit.

    Returns:
        [B, C], float32.
    """
    with torch.autocast(image_rows.device.type, enabled=False):
        logits = _Product.apply(scale.float() * image_rows.float(), text_rows.float())
        return logits if bias is None else logits + bias.float()  # type: ignore[no-any-return]


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Without autocast and TF32, whose ten bits of a cosine are a fifth of a logit at scale 100."""
    before = torch.get_float32_matmul_precision() if device.type == "cuda" else "highest"
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def wide(device: torch.device) -> torch.dtype:
    """What sums over many logits are kept in: float64, which Apple's GPUs do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


class _Product(torch.autograd.Function):
    """a @ b.T, exact in the backward pass too."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        with exact(a.device):
            return a @ b.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        with exact(a.device):
            return (
                gradients[0] @ b if ctx.needs_input_grad[0] else None,
                gradients[0].T @ a if ctx.needs_input_grad[1] else None,
            )
