"""`nn.MultiheadAttention` that computes as open_clip calls it: batch first, of all tokens at once, without weights.

torch's own turns [B, L, D] into [L, B, D] and back, over which bfloat16 products on a CPU stumble, and in evaluation leaves for a kernel
that is slower there than float32's (`benchmarks/attention_forms.py`). Names, weights and, up to rounding, values are torch's.
"""

from typing import Any

from torch import Tensor, nn

from cliptune.attended import attend
from cliptune.attention import mask_of
from cliptune.halves import product


class BatchFirst(nn.MultiheadAttention):
    """torch's, of one width, with one matrix for queries, keys and values."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's: [B, L, D] of [B, L, D]; what is asked for in another way than open_clip's is torch's own."""
        if need_weights or key_padding_mask is not None or is_causal or query.ndim < 3 or key is not value:
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights=average_attn_weights, is_causal=is_causal
            )
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key:
            parts: Any = product(self, query, weight, bias).chunk(3, dim=-1)
        else:  # queries of some tokens, see `pooled`
            own, others = zip(_cut(weight), _cut(bias), strict=True)
            parts = product(self, query, *own), *product(self, key, *others).chunk(2, dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)  # [B, H, L, D / H]
        mask = mask_of(attn_mask, None, q)
        x = attend(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.out_proj(x.transpose(1, 2).flatten(2)), None


def install(tower: nn.Module) -> None:
    """Let the attentions of a tower compute so, where they are torch's and of one width."""
    for module in tower.modules():
        if type(module) is nn.MultiheadAttention and module.batch_first and _is_plain(module):
            module.__class__ = BatchFirst


def remove(tower: nn.Module) -> None:
    """Undo `install`."""
    for module in tower.modules():
        if type(module) is BatchFirst:
            module.__class__ = nn.MultiheadAttention  # type: ignore[assignment]


def _is_plain(module: nn.MultiheadAttention) -> bool:
    return module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn


def _cut(joined: Any) -> tuple[Any, Any]:
    """Queries' rows, and those of keys and values."""
    return (None, None) if joined is None else joined.split([len(joined) // 3, 2 * len(joined) // 3])
