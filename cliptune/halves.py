"""Products with weights that stay, under autocast: a weight is turned into bfloat16 for its product, and again for the gradient.

Autocast turns it for the product alone, and keeps what it made until the gradient is there: 2 bytes of each frozen weight, which with
LoRA are half a model again. Here nothing is kept but the weight, which is there anyhow, and no bit of a result is another. Turning it
twice takes the time of reading it twice: nothing that shows in a step of 32 images with ViT-B-32, 3 to 5 percent of one with nano.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

SHARDED = "_weights_come_and_go"


def product(module: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product x @ W.T + bias, [..., out], as autocast gives it.

    Args:
        module: whose weight it is.
        x: [..., in].
        weight: [out, in].
        bias: [out].
    """
    device = x.device.type
    learns = weight.requires_grad or (bias is not None and bias.requires_grad)
    halved = torch.is_autocast_enabled(device) and weight.dtype == torch.float32 and not torch.compiler.is_compiling()
    if learns or not halved or not (x.requires_grad and torch.is_grad_enabled()) or weight.is_inference() or hasattr(module, SHARDED):
        return F.linear(x, weight, bias)
    with torch.autocast(device, enabled=False):
        return _Product.apply(x, weight, bias, torch.get_autocast_dtype(device))  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    """Keeps the weight alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, kind: torch.dtype) -> Tensor:
        """As `product`."""
        ctx.save_for_backward(weight)
        ctx.kind = x.dtype
        return F.linear(x.to(kind), weight.to(kind), None if bias is None else bias.to(kind))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Of the input."""
        (weight,) = ctx.saved_tensors
        rows = gradients[0].reshape(-1, len(weight)) @ weight.to(gradients[0].dtype)
        return rows.to(ctx.kind).view(*gradients[0].shape[:-1], -1), None, None, None


def linear(module: nn.Linear, input: Tensor) -> Tensor:  # as torch names it
    """[..., out] of [..., in]."""
    return product(module, input, module.weight, module.bias)


class HalvedLinear(nn.Linear):
    """torch's."""

    forward = linear


class HalvedOut(NonDynamicallyQuantizableLinear):
    """That of `nn.MultiheadAttention`."""

    forward = linear


KINDS: dict[type, type] = {nn.Linear: HalvedLinear, NonDynamicallyQuantizableLinear: HalvedOut}
BACK = {ours: theirs for theirs, ours in KINDS.items()}


def install(tower: nn.Module) -> None:
    """Let the Linears of a tower compute so."""
    for module in tower.modules():
        module.__class__ = KINDS.get(type(module), type(module))


def remove(tower: nn.Module) -> None:
    """Undo `install`."""
    for module in tower.modules():
        module.__class__ = BACK.get(type(module), type(module))


def let_go(tower: nn.Module) -> None:
    """Leave a tower to autocast whose weights are sharded, and whole for a moment only."""
    for module in tower.modules():
        setattr(module, SHARDED, True)
