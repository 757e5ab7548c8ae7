"""Attention whose projections are Linears of their own, so that each can be adapted; and back again, bit for bit.

`nn.MultiheadAttention` and its like hold q, k and v in one parameter that adapters cannot reach; timm holds them in one Linear; CLIP's
ResNets pass by their Linears' forward. Stand-ins for all three share the originals' memory. Read by structure, not by version.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from cliptune.attended import attend
from cliptune.errors import ConfigError
from cliptune.projections import JoinedProjections, Projection, Projections

PARTS = {"in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight", "bias_k", "bias_v", "out_proj"}
EXTRAS = {"ln_q", "ln_k", "ln_inner", "attn_drop", "out_drop"}  # open_clip's own Attention, taken over as they are
UNKNOWN_MATH = ("bias_k", "bias_v", "logit_scale", "head_scale", "q_norm_scale")  # where set, attention is more than what is here
CALLED_WITH = {"need_weights", "attn_mask", "key_padding_mask", "is_causal", "average_attn_weights"}


class SplitAttention(nn.Module):
    """Stands in for `nn.MultiheadAttention`, or a class of its structure: Linears q, k, v and out around SDPA.

    Attention weights are never given. A boolean mask means "blocked" where true, as with `nn.MultiheadAttention`.
    """

    ln_q: Any
    ln_k: Any
    ln_inner: Any
    attn_drop: Any
    out_drop: Any
    out: Any

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.num_heads: int = of.num_heads  # type: ignore[assignment]
        self.batch_first = bool(getattr(of, "batch_first", True))
        self.gives_pair = isinstance(of, nn.MultiheadAttention)
        self.dropout = float(of.dropout) if isinstance(of, nn.MultiheadAttention) else 0.0
        weight, bias = of.in_proj_weight, getattr(of, "in_proj_bias", None)
        self.out = of.out_proj
        if weight is not None:
            self.qkv: Projections | None = Projections(weight, bias)  # type: ignore[arg-type]
        else:  # keys and values of another width
            self.qkv = None
            biases = [None] * 3 if bias is None else bias.chunk(3)  # type: ignore[operator]
            for name, own in zip("qkv", biases, strict=True):
                setattr(self, f"{name}_proj", Projection(getattr(of, f"{name}_proj_weight"), own))
        for name in EXTRAS:
            setattr(self, name, getattr(of, name, None) or nn.Identity())
        for name in ("in_proj_weight", "in_proj_bias", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(of, name, None) is not None:
                setattr(of, name, None)  # the shell, to be filled again, holds no memory
        self._shell = [of]  # in a list, so that it is no part of this module

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        """As the original's: [B, L, D], or [L, B, D] where that is not batch-first."""
        first = self.batch_first
        inputs = [t if first or t is None else t.transpose(0, 1) for t in (query, key, value)]
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in self._project(*inputs))  # [B, H, L, D / H]
        mask = mask_of(attn_mask, key_padding_mask, q)
        dropped = self.attn_drop.p if isinstance(self.attn_drop, nn.Dropout) else self.dropout
        q, k = self.ln_q(q), self.ln_k(k)
        x = attend(q, k, v, mask, dropped if self.training else 0.0)
        x = self.out_drop(self.out(self.ln_inner(x.transpose(1, 2).flatten(2))))
        x = x if first else x.transpose(0, 1)
        return (x, None) if self.gives_pair else x

    def _project(self, query: Any, key: Tensor | None, value: Tensor | None) -> tuple[Tensor, ...]:
        key = query if key is None else key
        value = key if value is None else value
        if self.qkv is not None and query is key and key is value:
            return self.qkv(query)
        parts = [getattr(self.qkv, name) if self.qkv is not None else getattr(self, f"{name}_proj") for name in "qkv"]
        return tuple(part(x) for part, x in zip(parts, (query, key, value), strict=True))

    def restore(self) -> nn.Module:
        """The module that this stood in for, with these weights."""
        of = self._shell[0]
        if self.qkv is not None:
            self.qkv.pack()
            assert self.qkv.packed is not None
            weight, bias = self.qkv.packed
            learns = self.qkv.learns
            of.in_proj_weight = nn.Parameter(weight, requires_grad=learns)
        else:
            parts: list[Any] = [getattr(self, f"{name}_proj") for name in "qkv"]
            for name, part in zip("qkv", parts, strict=True):
                setattr(of, f"{name}_proj_weight", part.weight)
            bias = None if parts[0].bias is None else torch.cat([part.bias.detach() for part in parts])
            learns = parts[0].weight.requires_grad
        if bias is not None:
            of.in_proj_bias = nn.Parameter(bias, requires_grad=learns)
        of.out_proj = self.out
        return of.train(self.training)


class PoolAttention(nn.Module):
    """Stands in for the pooling of CLIP's ResNets, whose own forward passes by its Linears; only the first query is computed."""

    q_proj: Any
    k_proj: Any
    v_proj: Any
    c_proj: Any

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.num_heads: int = of.num_heads  # type: ignore[assignment]
        self.positional_embedding = of.positional_embedding
        for name in ("q_proj", "k_proj", "v_proj", "c_proj"):
            setattr(self, name, getattr(of, name))
        self._shell = [of]

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] of [B, C, H, W]."""
        x = x.flatten(2).transpose(1, 2)  # [B, HW, C]
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)  # type: ignore[operator]
        products = (self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x))
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in products)
        return self.c_proj(attend(q, k, v).transpose(1, 2).flatten(1))

    def restore(self) -> nn.Module:
        """The module that this stood in for, with these weights."""
        of = self._shell[0]
        for name in ("q_proj", "k_proj", "v_proj", "c_proj"):
            setattr(of, name, getattr(self, name))
        return of


def split(tower: nn.Module, skip: str | tuple[str, ...] = ()) -> None:
    """Put a stand-in for every attention of the tower whose projections cannot be reached.

    Args:
        tower: changed in place.
        skip: starts of names that are left alone.

    Raises:
        ConfigError: an attention whose structure is not known.
    """
    for name, module in list(tower.named_modules()):
        if skip and name.startswith(skip):
            continue
        for key, child in list(module.named_children()):
            if skip and f"{name}.{key}".lstrip(".").startswith(skip):
                continue
            if _holds_all_in_one(child):
                _check_known(f"{name}.{key}", child)
                setattr(module, key, SplitAttention(child).train(child.training))
            elif all(hasattr(child, part) for part in ("q_proj", "k_proj", "v_proj", "c_proj", "positional_embedding")):
                setattr(module, key, PoolAttention(child).train(child.training))
            elif key in ("qkv", "kv") and isinstance(child, nn.Linear):
                _make_live(f"{name}.{key}", module)
                setattr(module, key, JoinedProjections(child, key).train(child.training))


def fold(tower: nn.Module) -> None:
    """Undo `split`: the state dict has its original names again, and what was not adapted its bits."""
    for module in list(tower.modules()):
        for key, child in list(module.named_children()):
            if isinstance(child, (SplitAttention, PoolAttention, JoinedProjections)):
                setattr(module, key, child.restore())
                if getattr(module, "was_joined", False):
                    module.qkv_bias_separate = False  # type: ignore[assignment]
                    del module.was_joined


def _holds_all_in_one(module: nn.Module) -> bool:
    return hasattr(module, "in_proj_weight") and hasattr(module, "num_heads") and isinstance(getattr(module, "out_proj", None), nn.Linear)


def _check_known(name: str, module: nn.Module) -> None:
    kind = f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"
    more = [part for part in UNKNOWN_MATH if getattr(module, part, None) is not None]
    own = {key for key, _ in [*module.named_parameters(recurse=False), *module.named_children()]}
    more += sorted(own - PARTS - EXTRAS - set(more))
    if getattr(module, "add_zero_attn", False):
        more.append("add_zero_attn")
    if not isinstance(module, nn.MultiheadAttention):
        words = [p.name for p in inspect.signature(module.forward).parameters.values()][1:]
        more += [f"the argument {word}" for word in words if word not in CALLED_WITH]
    if more:
        raise ConfigError(f"attention {name} is {kind} with {', '.join(more)}, which cannot be split. Use method: Full on this backbone.")


def _make_live(name: str, attention: Any) -> None:
    """Attentions of timm with biases of their own (EVA, BEiT, Swin v2) use the Linear's weight alone, unless told to add them later."""
    if getattr(attention, "q_bias", None) is None:
        return
    if not hasattr(attention, "qkv_bias_separate"):
        raise ConfigError(
            f"attention {name} passes by its Linear's forward ({type(attention).__name__}), so an adapter on it would do nothing. "
            "Set targets to [out, mlp], or use method: Full."
        )
    if not attention.qkv_bias_separate:
        attention.qkv_bias_separate = True
        attention.was_joined = True


def mask_of(attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor) -> Tensor | None:
    """[L, S] or [B, H, L, S], added to the logits."""
    found = _additive(attn_mask, q)
    if found is not None and found.ndim == 3:
        found = found.view(q.shape[0], -1, *found.shape[1:])  # len() would be a constant in an exported graph
    if key_padding_mask is not None:
        padding = _additive(key_padding_mask, q)[:, None, None]  # type: ignore[index]
        found = padding if found is None else found + padding
    return found


def _additive(mask: Tensor | None, q: Tensor) -> Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.to(q.dtype)
    return torch.zeros_like(mask, dtype=q.dtype).masked_fill_(mask, float("-inf"))
