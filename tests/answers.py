"""Answers of made-up models, for tests of what is done with them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.evaluation import Evaluation, Texts
from cliptune.metrics.answers import Answers


def heard(
    logits: Tensor | None, label: Tensor, images: Tensor | None = None, texts: Tensor | None = None, owner: Tensor | None = None
) -> Answers:
    """What an evaluation has heard after one pass.

    Args:
        logits: [N, C], or None for data without classes.
        label: [N].
        images: [N, D], not of unit length.
        texts: [M, D], likewise, where there are captions.
        owner: [M], each text's image.
    """
    rows = F.normalize(images, dim=-1) if images is not None else torch.zeros(len(label), 2)
    evaluation = Evaluation(0 if logits is None else logits.shape[1], texts is not None)
    spoken = None
    if texts is not None and owner is not None:
        spoken = Texts(F.normalize(texts, dim=-1), owner, torch.arange(len(texts)))
    evaluation.update(rows, logits, label, torch.arange(len(label)), spoken)
    evaluation.compute()
    return evaluation.answers


def guesses(images: int, classes: int, right: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [N, C] of a model that is right about so often, and labels [N]."""
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (images,), generator=rng)
    said = torch.where(torch.rand(images, generator=rng) < right, label, torch.randint(classes, (images,), generator=rng))
    return torch.randn(images, classes, generator=rng) + 4 * F.one_hot(said, classes), label
