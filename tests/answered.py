"""Answers of a model that does not exist: probabilities, labels drawn from them or from others, and all that is kept of these."""

from pathlib import Path

import torch
from torch import Tensor

from cliptune.metrics.answers import TOP, ClassAnswers, RetrievalAnswers

FEATURES = Path(__file__).resolve().parents[2] / "shared/data/clip_features"


def said(probabilities: Tensor, label: Tensor, several: Tensor | None = None) -> ClassAnswers:
    """What evaluation keeps of probabilities [N, C] and labels [N]."""
    best = probabilities.topk(min(TOP, probabilities.shape[1]), dim=1)
    own = probabilities.gather(1, label[:, None])[:, 0]
    return ClassAnswers(torch.arange(len(label)), label, several, best.indices, best.values, own, probabilities, probabilities.shape[1])


def drawn(images: int, classes: int, seed: int = 0, temperature: float = 1.0) -> ClassAnswers:
    """A model whose logits are those that labels are drawn by, divided by the temperature: below 1 it is too sure of itself."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=generator)
    label = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return said((logits / temperature).softmax(dim=1), label)


def searched(image_rank: Tensor, text_rank: Tensor, owner: Tensor) -> RetrievalAnswers:
    """Answers of which the ranks are known; average precision is that of one right answer, and nothing was kept of the best."""

    def precision(rank: Tensor) -> Tensor:
        return (1 / (1 + rank)).where(rank < 10, 0)

    def kept(rank: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((len(rank), TOP), -1), torch.full((len(rank), TOP), -torch.inf)

    images = image_rank, precision(image_rank), *kept(image_rank)
    return RetrievalAnswers(torch.arange(len(image_rank)), *images, owner, text_rank, precision(text_rank), *kept(text_rank))
