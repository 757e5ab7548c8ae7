"""Answers of models of a known skill, made by hand."""

import numpy as np
import torch
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers, RetrievalAnswers


def class_answers(images: int, classes: int, skill: float, seed: int = 0, noise: int = 1) -> ClassAnswers:
    """Answers of a model whose logits are right by `skill`, and mix up a class with the next one; labels depend on the seed alone."""
    rng = np.random.default_rng(seed)
    label = rng.choice(classes, images, p=_shares(classes))
    own = np.random.default_rng((seed, noise)).normal(size=(images, classes))
    shared = rng.normal(size=(images, classes))
    logits = 1.3 * shared + 0.7 * own
    logits[np.arange(images), label] += skill
    logits[np.arange(images), (label + 1) % classes] += 0.6 * skill
    chances = torch.from_numpy(logits).float().mul(1.4).softmax(dim=1)
    best = chances.topk(min(5, classes), dim=1)
    labels = torch.from_numpy(label)
    own_chance = chances.gather(1, labels[:, None])[:, 0]
    return ClassAnswers(torch.arange(images), labels, None, best.indices, best.values, own_chance, chances, classes)


def _shares(classes: int) -> np.ndarray:
    """A few classes are frequent, many are rare."""
    shares = 1 / np.sqrt(np.arange(1, classes + 1))
    return np.asarray(shares / shares.sum())


def retrieval_answers(images: int, each: int, skill: float, seed: int = 0) -> RetrievalAnswers:
    """Answers of a model that finds what is right at place 0 with a chance of `skill`."""
    generator = torch.Generator().manual_seed(seed)
    texts = images * each
    owner = torch.arange(images).repeat_interleave(each)

    def ranks(count: int) -> Tensor:
        far = (torch.rand(count, generator=generator).pow(3) * 40).long() + 1
        return torch.where(torch.rand(count, generator=generator) < skill, 0, far)

    def found(rank: Tensor, own: Tensor, most: int) -> Tensor:
        top = torch.stack([torch.randperm(most, generator=generator)[:5] for _ in range(len(rank))])
        place = rank.clamp(max=4)
        return torch.where((rank < 5)[:, None] & (torch.arange(5) == place[:, None]), own[:, None], top)

    image_rank, text_rank = ranks(images), ranks(texts)
    image_top, text_top = found(image_rank, torch.arange(images) * each, texts), found(text_rank, owner, images)
    score = torch.linspace(0.34, 0.22, 5)
    return RetrievalAnswers(
        torch.arange(images),
        image_rank,
        1.0 / (image_rank + 1),
        image_top,
        score.repeat(images, 1),
        owner,
        text_rank,
        1.0 / (text_rank + 1),
        text_top,
        score.repeat(texts, 1),
    )
