"""Attention that keeps for its backward pass only queries, keys and values, in bfloat16 training on a CPU.

The CPU's flash kernel, which keeps as little, takes several times as long there as plain products; torch's own plain products keep
scaled copies of queries and keys besides, and the weights of all heads. Here these are computed anew, by one more product of a few.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: [B, H, L, D].
        k: [B, H, S, D].
        v: likewise.
        mask: added to the logits, [L, S] or [B, H, L, S].
        dropout: the probability that a weight is left out.

    Returns:
        [B, H, L, D].
    """
    if dropout or (mask is not None and mask.requires_grad) or not _wanted(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    kind = torch.get_autocast_dtype("cpu")
    return Attention.apply(q.to(kind), k.to(kind), v.to(kind), None if mask is None else mask.to(kind))  # type: ignore[no-any-return]


def _wanted(*parts: Tensor) -> bool:
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not torch.is_autocast_enabled("cpu"):
        return False
    return parts[0].device.type == "cpu" and any(part.requires_grad for part in parts)


class Attention(torch.autograd.Function):
    """By plain products of [B * H, L, D] and [B * H, D, S]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """As `attend`."""
        heads = q.shape[:2]
        q, k, v = (part.flatten(0, 1).contiguous() for part in (q, k, v))
        mask = mask.expand(*heads, *mask.shape[-2:]).flatten(0, 1) if mask is not None and mask.ndim == 4 else mask
        ctx.save_for_backward(q, k, v, mask)
        return torch.bmm(_weights(q, k, mask), v).unflatten(0, heads)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of queries, keys and values."""
        q, k, v, mask = ctx.saved_tensors
        heads, gradient = gradients[0].shape[:2], gradients[0].flatten(0, 1)
        weights = _weights(q, k, mask)
        of_v = torch.bmm(weights.mT, gradient)
        of_logits = torch._softmax_backward_data(torch.bmm(gradient, v.mT), weights, -1, weights.dtype).mul_(_scale(q))
        found = torch.bmm(of_logits, k), torch.bmm(of_logits.mT, q), of_v
        return *(part.unflatten(0, heads) for part in found), None


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    logits = torch.bmm(q, k.mT).mul_(_scale(q)) if mask is None else torch.baddbmm(mask, q, k.mT, alpha=_scale(q))
    return logits.softmax(dim=-1)


def _scale(q: Tensor) -> float:
    return float(q.shape[-1] ** -0.5)
