"""The last block of a tower computes what is pooled: one token of each image or text, since all others of its output are thrown away.

Keys and values of all tokens are still wanted, but of a block's twelve products of W x W the other ten are of that token alone: of a pass
through 12 blocks 7 % less is left to do, of nano's six and four 14 % and 21 %, forward and backward, and as much memory. The
rows are the same up to rounding. Names and weights stay; towers of another structure are left as they are.
"""

from typing import Any

from open_clip.transformer import ResidualAttentionBlock, Transformer, VisionTransformer
from torch import Tensor, nn


class PooledBlock(ResidualAttentionBlock):
    """open_clip's block, which may be asked for some tokens only."""

    def forward(
        self,
        q_x: Tensor,
        k_x: Tensor | None = None,
        v_x: Tensor | None = None,
        attn_mask: Tensor | None = None,
        places: Tensor | int | None = None,
    ) -> Tensor:
        """As open_clip's; of x [B, L, W] the tokens at `places`, see `picked`, [B, E, W]."""
        if places is None:
            return super().forward(q_x, k_x, v_x, attn_mask)
        normed = self.ln_1(q_x)
        mask = None if attn_mask is None else _mask_of(attn_mask, places, self.attn.num_heads)
        x = picked(q_x, places) + self.ls_1(self.attention(picked(normed, places), normed, normed, mask))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class PooledTransformer(Transformer):
    """open_clip's, whose last block computes what is asked for; in an image tower the class token, whoever asks."""

    first = False

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, places: Tensor | int | None = None) -> Tensor:
        """As open_clip's; of x [B, L, W] the tokens at `places`, see `picked`, [B, E, W]."""
        places = 0 if self.first else places
        if places is None:
            return super().forward(x, attn_mask)
        if self.grad_checkpointing:  # open_clip's own, which hands no places on
            return picked(super().forward(x, attn_mask), places)
        *before, last = self.resblocks
        for block in before:
            x = block(x, attn_mask=attn_mask)
        return last(x, attn_mask=attn_mask, places=places)


def install(tower: nn.Module) -> None:
    """Let a tower compute only what is pooled, where its structure is the one that is known here."""
    inner: Any = getattr(tower, "transformer", None)
    if type(inner) is not Transformer or not inner.batch_first or type(inner.resblocks[-1]) is not ResidualAttentionBlock:
        return
    if hasattr(inner.resblocks[-1], "ln_1_kv"):
        return
    image = isinstance(tower, VisionTransformer)
    if image and (tower.pool_type != "tok" or tower.attn_pool is not None or tower.output_tokens):
        return
    inner.resblocks[-1].__class__, inner.__class__ = PooledBlock, PooledTransformer
    if image:
        inner.first = True


def remove(tower: nn.Module) -> None:
    """Undo `install`."""
    inner: Any = getattr(tower, "transformer", None)
    if type(inner) is PooledTransformer:
        inner.resblocks[-1].__class__, inner.__class__ = ResidualAttentionBlock, Transformer
        inner.__dict__.pop("first", None)


def picked(x: Tensor, places: Tensor | int) -> Tensor:
    """Some tokens.

    Args:
        x: [B, L, W].
        places: of the tokens in each row, [B, E]; or a place that is the same in all.

    Returns:
        [B, E, W].
    """
    if isinstance(places, int):
        return x[:, places : places + 1]
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))


def run(transformer: nn.Module, x: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """The tokens at `places` of what a text tower's transformer gives, [B, E, W], also where that is not one of ours."""
    if isinstance(transformer, PooledTransformer):
        return transformer(x, attn_mask=mask, places=places)
    return picked(transformer(x, attn_mask=mask), places)


def _mask_of(mask: Tensor, places: Tensor | int, heads: int) -> Tensor:
    """What those tokens see: [E, L] or [B * heads, E, L] of [L, L] or [B * heads, L, L], as `nn.MultiheadAttention` has it."""
    if isinstance(places, int):
        return mask[..., places : places + 1, :]
    own = places.repeat_interleave(heads, dim=0)  # [B * heads, E]
    return mask[own] if mask.ndim == 2 else mask.gather(1, own[..., None].expand(-1, -1, mask.shape[-1]))
