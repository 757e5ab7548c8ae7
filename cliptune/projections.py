"""Linears whose products are computed together and adapted one by one: q, k and v of one attention."""

from typing import Any

import torch
from torch import Tensor, nn

from cliptune.halves import linear, product
from cliptune.low_rank import adapted, pairs_of, wanted


class Projection(nn.Linear):
    """A Linear whose product may be there already, computed together with its neighbours'."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        self.weight = nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
        if bias is not None:
            self.bias = nn.Parameter(bias.detach(), requires_grad=bias.requires_grad)
        self.ready: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., out] of [..., in]."""
        found, self.ready = self.ready, None
        return linear(self, x) if found is None else found


class Projections(nn.Module):
    """Several projections of one input that lie one after another in one matrix: one product, then each projection's own adapter.

    Args:
        weight: [parts * out, in]; its memory is shared, not copied.
        bias: [parts * out], or None.
        names: of the parts, such as q, k, v.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, names: str = "qkv") -> None:
        super().__init__()
        self.names = names
        biases = [None] * len(names) if bias is None else bias.chunk(len(names))
        for name, part, own in zip(names, weight.chunk(len(names)), biases, strict=True):
            setattr(self, name, Projection(part, own))
        self.packed: tuple[Tensor, Tensor | None] | None = (weight.detach(), None if bias is None else bias.detach())

    @property
    def learns(self) -> bool:
        """Whether the parts' own weights learn."""
        return any(part.weight.requires_grad for part in self.parts())

    def parts(self) -> list[Any]:
        """The projections, below any adapter."""
        found = [getattr(self, name) for name in self.names]
        return [part.get_base_layer() if hasattr(part, "get_base_layer") else part for part in found]

    def pack(self) -> None:
        """Put the parts' weights into one matrix again, after they were moved."""
        parts = self.parts()
        if self._is_one():
            return
        weight = torch.cat([part.weight.detach() for part in parts])
        bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
        for i, part in enumerate(parts):
            part.weight.data = weight.chunk(len(parts))[i]
            if bias is not None:
                part.bias.data = bias.chunk(len(parts))[i]
        self.packed = (weight, bias)

    def separate(self) -> None:
        """Let each part have its own weights and product from now on, which may then be sharded."""
        for part in self.parts():
            part.weight = nn.Parameter(part.weight.detach().clone(), requires_grad=part.weight.requires_grad)
            if part.bias is not None:
                part.bias = nn.Parameter(part.bias.detach().clone(), requires_grad=part.bias.requires_grad)
        self.packed = None

    def _apply(self, fn: Any, recurse: bool = True) -> "Projections":
        super()._apply(fn, recurse)
        if self.packed is not None and all(part.weight.device.type != "meta" for part in self.parts()):
            self.pack()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.packed is not None:
            self.pack()

    def _is_one(self) -> bool:
        """Whether the packed matrix is the parts' own memory."""
        if self.packed is None:
            return False
        parts = self.parts()
        size = self.packed[0].element_size() * self.packed[0].numel() // len(parts)
        start = self.packed[0].data_ptr()
        return all(type(part.weight) is nn.Parameter and part.weight.data_ptr() == start + i * size for i, part in enumerate(parts))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Each [..., out], of [..., in]."""
        if self.packed is not None and not self.learns and (torch.compiler.is_compiling() or self._is_one()):
            if wanted() and (pairs := pairs_of([getattr(self, name) for name in self.names])):
                return adapted(x, *self.packed, pairs).chunk(len(self.names), dim=-1)
            products = product(self, x, *self.packed).chunk(len(self.names), dim=-1)
            for part, own in zip(self.parts(), products, strict=True):
                part.ready = own
        return tuple(getattr(self, name)(x) for name in self.names)


class JoinedProjections(Projections):
    """Stands in for timm's fused Linears `qkv` and `kv`: the parts' outputs beside one another."""

    def __init__(self, of: nn.Linear, names: str) -> None:
        super().__init__(of.weight, of.bias, names)
        self._kind = type(of)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """[..., parts * out] of [..., in]."""
        return torch.cat(super().forward(x), dim=-1)

    def restore(self) -> nn.Linear:
        """The Linear that this stood in for."""
        self.pack()
        assert self.packed is not None
        weight, bias = self.packed
        linear = self._kind(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=self.learns)
        if bias is not None:
            linear.bias = nn.Parameter(bias, requires_grad=self.learns)
        return linear
