"""A frozen product and its low-rank adapters in one: what adapters add is added in place, and one copy of the input is kept.

peft adds W x and B A x of each layer out of place, with as many new tensors between those that the backward pass wants, whose memory
glibc gives to nothing as large again; and under autocast each of q, k and v keeps a copy of their input. So this takes a quarter off the
memory of a step (benchmarks/adapter_step.py), and gives the same numbers up to rounding. What is more than a plain adapter (DoRA,
dropout, PiSSA's two) stays peft's.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Pair(NamedTuple):
    """An adapter of some rows of a matrix [out, in], to which it adds scale * b @ a."""

    a: Tensor  # [rank, in]
    b: Tensor  # [end - start, rank]
    scale: float
    start: int
    end: int


def wanted() -> bool:
    """Whether a gradient is, and nobody compiles, who joins these products too."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def pairs_of(layers: Sequence[Any]) -> list[Pair] | None:
    """The adapters of layers whose matrices lie one after another; None where one of them is more than a product of two.

    Args:
        layers: Linears, some of them with an adapter of peft's on top.
    """
    found, start = [], 0
    for layer in layers:
        base: Any = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
        end = start + len(base.weight)
        if base is not layer and not layer.disable_adapters:
            pair = _pair(layer, start, end)
            if pair is None or pair.a.dtype != base.weight.dtype:
                return None
            found.append(pair)
        start = end
    return found


def _pair(layer: Any, start: int, end: int) -> Pair | None:
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.merged or len(names) != 1 or names[0] in layer.lora_variant:
        return None
    (name,) = names
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    if b.bias is not None or type(a) is not nn.Linear or type(a.weight) is not nn.Parameter:  # sharded, or of a convolution
        return None
    if layer.training and getattr(dropout, "p", 0.0):
        return None
    return Pair(a.weight, b.weight, float(layer.scaling[name]), start, end)


def adapted(x: Tensor, weight: Tensor, bias: Tensor | None, pairs: Sequence[Pair]) -> Tensor:
    """The product x @ W.T + bias with the adapters' changes, [..., out].

    Args:
        x: [..., in].
        weight: [out, in], frozen.
        bias: [out], frozen.
        pairs: the adapters.
    """
    device = x.device.type
    halved = torch.is_autocast_enabled(device)
    kind = torch.get_autocast_dtype(device) if halved else weight.dtype
    tensors = [tensor for pair in pairs for tensor in (pair.a, pair.b)]
    with torch.autocast(device, enabled=False) if halved else nullcontext():
        return _Adapted.apply(x, weight, bias, kind, [pair[2:] for pair in pairs], *tensors)  # type: ignore[no-any-return]


class _Adapted(torch.autograd.Function):
    """Keeps the input once, and the products with A; the weight is turned again for the gradient, as in `halves`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, kind: torch.dtype, parts: list[Any], *tensors: Tensor) -> Tensor:
        """As `adapted`; of tensors A, B, A, B."""
        rows = x.to(kind)
        out = F.linear(rows, weight.to(kind), None if bias is None else bias.to(kind))
        rows, flat = rows.flatten(0, -2), out.view(-1, len(weight))
        a, bs = torch.cat(tensors[::2]).to(kind), [b.to(kind) for b in tensors[1::2]]
        low = rows @ a.T  # [N, all ranks]
        ranks = [b.shape[1] for b in bs]
        for own, b, (scale, start, end) in zip(low.split(ranks, dim=1), bs, parts, strict=True):
            flat[:, start:end].addmm_(own, b.T, alpha=scale)
        ctx.save_for_backward(rows, weight, a, low, *bs)
        ctx.parts, ctx.ranks, ctx.shape, ctx.kinds = parts, ranks, x.shape, (x.dtype, tensors[0].dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of the input, A, B, A, B."""
        rows, weight, a, low, *bs = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_bs, of_low = [], []
        for own, b, (scale, start, end) in zip(low.split(ctx.ranks, dim=1), bs, ctx.parts, strict=True):
            part = gradient[:, start:end]
            of_bs.append((part.T @ own).mul_(scale).to(ctx.kinds[1]))
            of_low.append((part @ b).mul_(scale))
        joined = torch.cat(of_low, dim=1)
        of_as = (joined.T @ rows).to(ctx.kinds[1]).split(ctx.ranks)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight.to(gradient.dtype)).addmm_(joined, a).to(ctx.kinds[0]).view(ctx.shape)
        return of_x, None, None, None, None, *(each for both in zip(of_as, of_bs, strict=True) for each in both)
