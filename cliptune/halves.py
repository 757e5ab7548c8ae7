"""Weights that stay, turned into bfloat16 once.

Under autocast torch turns each float32 weight into bfloat16 for its product. Of weights that learn it keeps what it made until the step
ends; those that do not it turns anew each time, which with LoRA are nearly all. Here that is done once for all steps, of the same
numbers, so that no bit of a result is another (a change through `.data` in the same memory would not be seen). What is kept is what a
step keeps for its backward pass anyhow, 2 bytes of a weight.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.weak import WeakIdKeyDictionary

SHARDED = "_weights_come_and_go"
_made: Any = WeakIdKeyDictionary()  # from a weight to what it was when it was turned, and what came of it


def turned(module: nn.Module, weight: Tensor | None) -> Any:
    """A weight as autocast would turn it for a product; the weight itself where it learns, or nothing is to be turned or differentiated.

    Args:
        module: whose weight it is.
        weight: of it.
    """
    if weight is None or weight.requires_grad or weight.dtype != torch.float32 or not torch.is_grad_enabled():
        return weight
    kind = weight.device.type
    if not torch.is_autocast_enabled(kind) or torch.compiler.is_compiling() or weight.is_inference() or hasattr(module, SHARDED):
        return weight
    state = (weight._version, weight.data_ptr(), torch.get_autocast_dtype(kind))
    known = _made.get(weight)
    if known is None or known[0] != state:
        known = _made[weight] = (state, weight.detach().to(state[2]))
    return known[1]


def product(module: nn.Linear, input: Tensor) -> Tensor:  # as torch names it
    """[..., out] of [..., in]."""
    return F.linear(input, turned(module, module.weight), turned(module, module.bias))


class HalvedLinear(nn.Linear):
    """torch's."""

    forward = product


class HalvedOut(NonDynamicallyQuantizableLinear):
    """That of `nn.MultiheadAttention`."""

    forward = product


KINDS: dict[type, type] = {nn.Linear: HalvedLinear, NonDynamicallyQuantizableLinear: HalvedOut}
BACK = {ours: theirs for theirs, ours in KINDS.items()}


def install(tower: nn.Module) -> None:
    """Let the Linears of a tower take their weights so."""
    for module in tower.modules():
        module.__class__ = KINDS.get(type(module), type(module))


def remove(tower: nn.Module) -> None:
    """Undo `install`."""
    for module in tower.modules():
        module.__class__ = BACK.get(type(module), type(module))


def let_go(tower: nn.Module) -> None:
    """Keep nothing of a tower whose weights are sharded, and whole for a moment only."""
    for module in tower.modules():
        setattr(module, SHARDED, True)
