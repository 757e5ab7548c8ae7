"""peft's adapted Linear that computes its product and its adapter together, see `low_rank`; whatever is more than that is peft's."""

from typing import Any

from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from cliptune.halves import SHARDED
from cliptune.low_rank import adapted, pairs_of, wanted


class AdaptedLinear(Linear):
    """Of the same tensors and names."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., out] of [..., in]."""
        base: Any = self.get_base_layer()
        if not args and not kwargs and wanted() and _is_plain(base) and (pairs := pairs_of([self])):
            return adapted(x, base.weight, base.bias, pairs)
        return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]


def _is_plain(base: Any) -> bool:
    """Whether it is a frozen Linear, all there, whose product is not there yet."""
    if not isinstance(base, nn.Linear) or base.weight.requires_grad or hasattr(base, SHARDED):
        return False
    return getattr(base, "ready", None) is None


def install(layer: nn.Module) -> None:
    """Let a layer of peft's compute so."""
    if type(layer) is Linear and isinstance(layer.get_base_layer(), nn.Linear):
        layer.__class__ = AdaptedLinear
