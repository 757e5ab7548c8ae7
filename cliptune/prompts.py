"""Learned words in the towers, by hooks: where a text's template and class name are, and what stands in for the template.

Nothing here learns, and no encoder is rewritten: a hook on the token embedding puts the words in (Zhou et al. 2022, CoOp, sec. 3.2),
hooks on the blocks put the image prompts in and take them off (Jia et al. 2022, VPT, sec. 3.2). Positions are found by tokenizing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import sqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliptune.errors import ConfigError
from cliptune.preprocess import TRIM_MULTIPLE
from cliptune.towers import blocks as blocks_of

BEYOND = 256  # ids read past the context, so that a text that does not fit is seen and not cut
STAND_INS = ("x", "7")  # two names without a token in common: what texts with both share is the template


class Prompts(NamedTuple):
    """The prompts of classes, ready for the text tower."""

    tokens: Tensor  # [C, T, L], with ordinary ids where learned words go
    source: Tensor  # [C, T, L], the number of the learned word that goes there, -1 where the token itself stays


class Frame(NamedTuple):
    """A template as the tokenizer reads it."""

    template: str
    shared: tuple[list[int], list[int]]  # the ids of its text around each of `STAND_INS`
    before: list[int]  # ordinary ids that hold the places of the learned words before the name
    after: list[int]  # and of those after it
    replaces: bool  # the words replace all that stands before the name, and not as many of the template's own


class Reader:
    """A tokenizer, with its start, end and padding as its own output shows them.

    Args:
        tokenizer: texts to ids, of open_clip's kind.
        trim: cut token rows to the longest; right only for causal text towers.
    """

    def __init__(self, tokenizer: Callable[..., Tensor], trim: bool) -> None:
        self.tokenizer, self.trim = tokenizer, trim
        self.context = tokenizer([""]).shape[1]
        empty = self._rows([""])[0]
        self.pad = Counter(empty).most_common(1)[0][0]
        self.behind = _leading([i == self.pad for i in empty[::-1]], [False] * len(empty))  # ids after the padding
        nothing, word = self.contents("{}", ["", STAND_INS[0]])
        self.start = _leading(nothing, word)
        self.end = _leading(nothing[self.start :][::-1], word[::-1])
        self.least_padding = int(self.end == self.behind)  # where the padding is the end token too (T5), one must stay
        self.placeholder = word[self.start]

    def _rows(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, context_length=self.context + BEYOND).tolist()  # type: ignore[no-any-return]

    def contents(self, template: str, names: Sequence[str]) -> list[list[int]]:
        """The ids of the template's text for each name, with start and end, without padding."""
        found = []
        for row in self._rows([template.replace("{}", name) for name in names]):
            last = len(row) - self.behind
            found.append(row[: last - _leading(row[:last][::-1], [self.pad] * last)] + row[last:])
        return found

    def padded(self, ids: list[int], padding: int) -> list[int]:
        """Contents, or what goes with each of them, up to the context as the tokenizer pads it."""
        cut = len(ids) - self.behind
        return ids[:cut] + [padding] * (self.context - len(ids)) + ids[cut:]

    def frame(self, template: str, names: Sequence[str], position: str, words: int | None) -> Frame:
        """Find the template's own words: those that all its texts share.

        Args:
            template: with `{}` for the class name.
            names: of the classes.
            position: `end` learns what stands before the name, `middle` what follows it too.
            words: how many to learn in place of what stands before the name; the template's own where not given.
        """
        first, second = self.contents(template, STAND_INS)
        frame = Frame(template, (first, second), [], [], words is not None)
        if words is not None:
            before = words if position == "end" else words // 2
            return frame._replace(before=[self.placeholder] * before, after=[self.placeholder] * (words - before))
        around = [self.around(frame, ids) for ids in self.contents(template, names)]
        before, after = (min(sides) for sides in zip(*around, strict=True))
        after = self.end if position == "end" else after
        return frame._replace(before=first[self.start : before], after=first[len(first) - after : len(first) - self.end])

    def around(self, frame: Frame, ids: list[int]) -> tuple[int, int]:
        """How many ids of a text are the template's, from its start up to the name, and from the name to its end."""
        before = min(_leading(ids, other) for other in frame.shared)
        rest = ids[before:][::-1]
        return before, min(_leading(rest, other[before:][::-1]) for other in frame.shared)

    def prompt(self, frame: Frame, ids: list[int], offset: int) -> tuple[list[int], list[int]]:
        """A text's ids with the learned words' places, and at each the number of its word, counted from `offset`, else -1."""
        before, after = self.around(frame, ids)
        if not frame.replaces:  # a name that melts into the template leaves fewer of its words to replace
            before, after = min(before, self.start + len(frame.before)), min(after, self.end + len(frame.after))
        kept = after if frame.replaces else self.end
        parts = (ids[: self.start], frame.before, ids[before : len(ids) - after], frame.after, ids[len(ids) - kept :])
        number = count(offset)
        source = [next(number) if place % 2 else -1 for place, part in enumerate(parts) for _ in part]
        return [i for part in parts for i in part], source

    def prompts(self, frames: Sequence[Frame], names: Sequence[str]) -> Prompts:
        """Lay out the prompts of classes.

        Raises:
            ConfigError: one is longer than the context.
        """
        longest, offset = 0, 0
        tokens, source = [], []
        for frame in frames:
            laid = [self.prompt(frame, ids, offset) for ids in self.contents(frame.template, names)]
            for name, (ids, _) in zip(names, laid, strict=True):
                if (length := len(ids) + self.least_padding) > self.context:
                    fits = f"has {length} tokens, and the text tower reads {self.context}"
                    raise ConfigError(f"PromptTuning: the prompt of {name!r} {fits}. Take fewer words or a shorter template.")
            longest = max(longest, *(len(ids) for ids, _ in laid))
            tokens.append([self.padded(ids, self.pad) for ids, _ in laid])
            source.append([self.padded(numbers, -1) for _, numbers in laid])
            offset += len(frame.before) + len(frame.after)
        length = -(-longest // TRIM_MULTIPLE) * TRIM_MULTIPLE if self.trim else self.context
        laid_out = (torch.tensor(part).transpose(0, 1)[..., :length].contiguous() for part in (tokens, source))  # [C, T, L]
        return Prompts(*laid_out)

    def spell(self, number: int) -> str:
        """A token as it is written."""
        tokenizer: Any = self.tokenizer  # Hugging Face's is inside of open_clip's
        inner = getattr(tokenizer, "tokenizer", None)
        return str(tokenizer.decode([number]).strip() if inner is None else inner.convert_ids_to_tokens(number))


def _leading(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many items two sequences share from their start."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def embedding_of(text: nn.Module) -> nn.Module:
    """The text tower's token embedding.

    Raises:
        ConfigError: there is none where open_clip's and Hugging Face's towers have theirs.
    """
    inner: Any = getattr(text, "transformer", None)
    found = inner.get_input_embeddings() if hasattr(inner, "get_input_embeddings") else getattr(text, "token_embedding", None)
    if not isinstance(found, nn.Module):
        raise ConfigError(f"PromptTuning: the text tower {type(text).__name__} has no token embedding to put words in. Use method: LoRA.")
    return found


@contextmanager
def replaced(embedding: nn.Module, words: Tensor, source: Tensor) -> Iterator[None]:
    """While it lasts, the embedding gives learned words where `source` says so.

    Args:
        embedding: gives [N, L, W].
        words: [M, W].
        source: [N, L], the number of a word, or -1.
    """

    def put(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        own = F.embedding(source.clamp(min=0), words).to(output.dtype)  # [N, L, W]
        return torch.where((source >= 0)[..., None], own, output)

    handle = embedding.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def layout_of(tower: nn.Module) -> tuple[int, int]:
    """How many tokens of a ViT come before its patches, and their width.

    Raises:
        ConfigError: the tower is no ViT of open_clip or timm, or adds something to attention that counts on the number of tokens.
    """
    trunk: Any = getattr(tower, "trunk", tower)
    if hasattr(trunk, "class_embedding"):
        return 1, trunk.class_embedding.shape[-1]
    own = [name for name, _ in trunk.named_parameters() if "relative_position" in name or "rel_pos" in name]
    if not hasattr(trunk, "blocks") or not hasattr(trunk, "num_prefix_tokens") or own:
        raise ConfigError(f"PromptTuning: image prompts need a ViT, and this image tower is a {type(trunk).__name__}. Use towers: text.")
    return trunk.num_prefix_tokens, trunk.embed_dim


def new_prompts(tower: nn.Module, count: int, deep: bool) -> Tensor:
    """Random image prompts [1 or blocks, N, W] for a ViT; a ConfigError where it is none."""
    _, width = layout_of(tower)
    patch = next(module for module in tower.modules() if isinstance(module, nn.Conv2d))
    bound = sqrt(6 / (patch.weight[0].numel() + width))  # as VPT's published code, after Glorot and Bengio 2010, eq. 16
    return torch.empty(len(blocks_of(tower)) if deep else 1, count, width, device=patch.weight.device).uniform_(-bound, bound)


@contextmanager
def among_patches(tower: nn.Module, prompts: Tensor) -> Iterator[None]:
    """While it lasts, prompts stand behind the prefix tokens in all blocks; what follows the blocks sees what it always sees.

    Args:
        tower: a ViT.
        prompts: [1, N, W] for the first block's input, or [blocks, N, W] for each block's.
    """
    prefix, _ = layout_of(tower)
    blocks, count = [block for _, block in blocks_of(tower)], prompts.shape[1]
    rotated: list[Any] = [part for block in blocks for part in block.modules() if hasattr(part, "num_prefix_tokens")]

    def put(own: Tensor, there: int) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any) -> Any:
            x = args[0]
            tokens = own.to(x.dtype).expand(x.shape[0], -1, -1)  # [B, N, W]; len() would be a constant in an exported graph
            return (torch.cat([x[:, :prefix], tokens, x[:, prefix + there :]], dim=1), *args[1:])

        return hook

    def take_off(module: nn.Module, args: Any, x: Tensor) -> Tensor:
        return torch.cat([x[:, :prefix], x[:, prefix + count :]], dim=1)

    handles: list[Any] = []
    for i, (block, own) in enumerate(zip(blocks, prompts, strict=len(prompts) > 1)):
        handles.append(block.register_forward_pre_hook(put(own, count if i else 0)))
    handles.append(blocks[-1].register_forward_hook(take_off))
    for part in rotated:  # rotary positions are of patches, which now begin further on
        part.num_prefix_tokens += count
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for part in rotated:
            part.num_prefix_tokens -= count
