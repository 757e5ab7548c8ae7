"""Texts that start alike, read by a causal text tower without reading their start twice, and without padding between them.

A causal tower gives a token the same value in every text that is the same up to it. So texts are laid out as a tree of their tokens, cut
into rows of bounded length: each token has the place that it has in its text, and sees itself and what comes before it there, as in the
tree attention of Miao et al. 2024, "SpecInfer", sec. 4.2. What the rows are made of is laid out once; nothing here runs a tower.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from open_clip.model import CLIP
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock, TextTransformer, Transformer
from torch import Tensor, nn

from cliptune.attention import SplitAttention
from cliptune.preprocess import TRIM_MULTIPLE

ROW = 64  # tokens: attention costs their square, shorter rows repeat more starts; the best of 32 to 512 for widths 128 and 512
BLOCKS = (ResidualAttentionBlock, CustomResidualAttentionBlock)


class Packs(NamedTuple):
    """Rows of the tokens of many texts, ready for the text tower."""

    tokens: Tensor  # [R, L]
    source: Tensor  # [R, L], the number of the learned word that goes there, -1 where the token itself stays
    places: Tensor  # [R, L], each token's in its own text
    seen: Tensor  # [R, L, L], whether the first sees the second
    ends: Tensor  # [R, E], where texts end; 0 after the last of a row

    def part(self, rows: Tensor) -> "Packs":
        """Some of the rows."""
        return Packs(*(each[rows] for each in self))

    def mask(self, heads: int, dtype: torch.dtype) -> Tensor:
        """What is added to attention's logits: [L, L] of a single row, else [R * heads, L, L]."""
        added = torch.zeros(self.seen.shape, dtype=dtype, device=self.seen.device).masked_fill_(~self.seen, float("-inf"))
        return added[0] if len(added) == 1 else added.repeat_interleave(heads, dim=0)


class Packing(NamedTuple):
    """Texts as rows, and where each text's own row comes to be."""

    packs: Packs
    order: Tensor  # [N], each text's among the R * E ends
    chunk: int  # rows that hold no more tokens than as many texts as may be read at a time

    def to(self, device: torch.device) -> "Packing":
        """On a device."""
        return Packing(Packs(*(each.to(device) for each in self.packs)), self.order.to(device), self.chunk)


def readable(text: nn.Module) -> bool:
    """Whether a causal text tower reads rows as it reads texts: open_clip's, of blocks that take any mask and draw nothing at random."""
    inner: Any = getattr(text, "transformer", None)
    if torch.compiler.is_compiling() or not isinstance(text, (CLIP, TextTransformer)) or not isinstance(inner, Transformer):
        return False
    known = all(isinstance(block, BLOCKS) and not hasattr(block, "ln_1_kv") for block in inner.resblocks)
    return known and not any(_draws(part) for part in inner.modules() if part.training)


def heads_of(text: Any) -> int:
    """The heads of each attention of a readable tower."""
    return int(text.transformer.resblocks[0].attn.num_heads)


def pack(tokens: Tensor, source: Tensor, ends: Tensor, size: int) -> Packing | None:
    """Lay out texts.

    Args:
        tokens: [N, T].
        source: [N, T], as `prompts.Prompts` has it.
        ends: [N], where each text is pooled; what follows is left out.
        size: texts of T tokens that may be read at a time.

    Returns:
        None where the rows would have no fewer tokens than the texts have.
    """
    whole = zip(torch.stack([tokens, source], dim=-1).tolist(), ends.tolist(), strict=True)
    texts = [tuple(map(tuple, ids[: end + 1])) for ids, end in whole]
    order = sorted(range(len(texts)), key=texts.__getitem__)  # so that texts that start alike are neighbours
    ordered = [texts[i] for i in order]
    rows = _cut([len(text) for text in ordered], shared := _shared(ordered), min(ROW, size * tokens.shape[1]))
    packs, found = _laid_out(ordered, shared, rows)
    if packs.tokens.numel() >= tokens.numel():
        return None
    back = torch.empty(len(order), dtype=torch.long)
    back[order] = torch.tensor(found)
    return Packing(packs, back, max(1, size * tokens.shape[1] // packs.tokens.shape[1]))


def _draws(part: Any) -> bool:
    if isinstance(part, nn.Dropout):
        return part.p > 0
    return isinstance(part, (nn.MultiheadAttention, SplitAttention)) and part.dropout > 0


def _shared(texts: Sequence[Sequence[Any]]) -> list[int]:
    """How many tokens each text shares with the one before it."""
    pairs = zip(texts, [(), *texts[:-1]], strict=True)
    return [next((i for i, (a, b) in enumerate(zip_longest(text, last)) if a != b), len(text)) for text, last in pairs]


def _cut(lengths: list[int], shared: list[int], limit: int) -> list[range]:
    """Ranges of texts, as few as `limit` allows, and of as equal a number of tokens as may be."""

    def rows(most: int) -> list[range]:
        starts, held = [0], 0
        for i, (length, known) in enumerate(zip(lengths, shared, strict=True)):
            new = length - known
            if i > starts[-1] and held + new > most:
                starts.append(i)
            held = length if i == starts[-1] else held + new
        return [range(*pair) for pair in zip(starts, [*starts[1:], len(lengths)], strict=True)]

    least, limit = max(lengths), max(limit, *lengths)
    fewest = len(rows(limit))
    return rows(bisect_left(range(limit), True, lo=least, key=lambda most: len(rows(most)) <= fewest))


def _laid_out(texts: Sequence[Sequence[tuple[int, int]]], shared: list[int], rows: list[range]) -> tuple[Packs, list[int]]:
    """The rows of ranges of ordered texts, and where each text's end is among all."""
    items: list[list[tuple[int, int, int]]] = []  # token, source and place
    ends: list[list[int]] = []
    sights: list[tuple[int, int, int]] = []  # row, token, and what that sees
    for row, numbers in enumerate(rows):
        laid: list[tuple[int, int, int]] = []
        path: list[int] = []  # where the tokens of the text are
        ends.append([])
        for i in numbers:
            path = path[: shared[i]]
            for place in range(len(path), len(texts[i])):
                path.append(len(laid))
                sights += [(row, len(laid), other) for other in path]
                laid.append((*texts[i][place], place))
            ends[-1].append(path[-1])
        items.append(laid)
    length = -(-max(map(len, items)) // TRIM_MULTIPLE) * TRIM_MULTIPLE
    most = max(map(len, ends))
    tokens, source, places = torch.tensor([laid + [(0, -1, 0)] * (length - len(laid)) for laid in items]).unbind(-1)
    seen = torch.eye(length, dtype=torch.bool).repeat(len(items), 1, 1)  # what fills a row sees itself, and nothing sees it
    seen[torch.tensor(sights).unbind(-1)] = True
    found = [row * most + i for row, numbers in enumerate(rows) for i in range(len(numbers))]
    return Packs(tokens, source, places, seen, torch.tensor([own + [0] * (most - len(own)) for own in ends])), found
