"""Learned words beside the vocabulary: which words of it are nearest, as people read them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY_CHUNK = 8192


class Neighbour(NamedTuple):
    """A word of the vocabulary near a learned one."""

    word: str
    distance: float  # Euclidean
    cosine: float


class LearnedWord(NamedTuple):
    """A learned word beside the vocabulary."""

    template: str
    class_name: str | None  # whose it is; None where all classes share it
    place: int  # among the template's learned words, from 0
    nearest: list[Neighbour]  # the nearest first

    def told(self) -> dict[str, Any]:
        """As plain data: `nearest` is words and distances, `cosines` are of the same words."""
        pairs = [[near.word, near.distance] for near in self.nearest]
        return {**self._asdict(), "nearest": pairs, "cosines": [near.cosine for near in self.nearest]}


def as_lines(told: Iterable[dict[str, Any]]) -> list[str]:
    """Learned words as lines for the log, such as `a photo of a {}. word 1: photo 0.12 (cosine 0.98), image 0.35 (cosine 0.71)`.

    Args:
        told: each as `LearnedWord.told` gives it.
    """
    return [
        f"{word['template']} word {word['place'] + 1}{' of ' + word['class_name'] if word['class_name'] else ''}: "
        + ", ".join(f"{near} {far:.3g} (cosine {cosine:.2f})" for (near, far), cosine in zip(word["nearest"], word["cosines"], strict=True))
        for word in told
    ]


@torch.no_grad()
def neighbours(embedding: nn.Module, vectors: Tensor, k: int, spell: Callable[[int], str]) -> list[list[Neighbour]]:
    """The words of a vocabulary that are nearest to vectors.

    Args:
        embedding: the tower's, of tokens.
        vectors: [M, W].
        k: how many for each.
        spell: from a token's number to how it is written.

    Returns:
        [M][k], the nearest first.
    """
    distances, ids = nearest(embedding, vectors, k)
    cosines = F.cosine_similarity(vectors[:, None].float(), embedding(ids).float(), dim=-1)  # [M, k]
    rows = zip(ids.tolist(), distances.tolist(), cosines.tolist(), strict=True)
    return [[Neighbour(spell(number), far, cosine) for number, far, cosine in zip(*row, strict=True)] for row in rows]


@torch.no_grad()
def nearest(embedding: nn.Module, vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances [M, k], rising, and ids [M, k] of the tokens nearest to vectors [M, W]: Euclidean, as Zhou et al. 2022 interpret words."""
    weight: Tensor = embedding.weight  # type: ignore[assignment]
    every = torch.arange(len(weight), device=weight.device)
    mode = "donot_use_mm_for_euclid_dist"  # products would give no distance of zero
    parts = [torch.cdist(vectors.float(), embedding(ids).float(), compute_mode=mode) for ids in every.split(VOCABULARY_CHUNK)]
    found = torch.cat(parts, dim=1).topk(min(k, len(weight)), largest=False)
    return found.values, found.indices
