"""Recall both ways in blocks, against the whole matrix at once: time, and memory beyond the rows. Random rows; ranks must be equal."""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from measure import Line, alternate, extra_alone, report
from torch import Tensor

from cliptune.metrics import ranks_of


def rows(images: int, texts: int, width: int, threads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts near them, and whose each is."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    found = F.normalize(torch.randn(images, width), dim=-1)
    owner = torch.arange(texts) % images
    return found, F.normalize(found[owner] + 2 * torch.randn(texts, width) / width**0.5, dim=-1), owner


def blocks(*size: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """As cliptune does."""
    images, texts, owner = rows(*size)
    numbers = torch.arange(len(images))
    return lambda: (ranks_of(images, texts, numbers, owner), ranks_of(texts, images, owner, numbers))


def whole(*size: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """The whole matrix of scores, and who is before whom."""
    images, texts, owner = rows(*size)
    right = torch.arange(len(images))[:, None] == owner

    def ranks(scores: Tensor, right: Tensor) -> Tensor:
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        return ((scores >= best) & ~right).sum(dim=1)

    def call() -> tuple[Tensor, Tensor]:
        scores = images @ texts.T
        return ranks(scores, right), ranks(scores.T, right.T)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    size = (given.images, given.texts, given.width, given.threads)
    a, b = blocks(*size), whole(*size)
    different = sum(int((ours != theirs).sum()) for ours, theirs in zip(a(), b(), strict=True))
    if different > 1e-3 * (given.images + given.texts):
        raise SystemExit(f"{different} ranks differ: the two sides do not do the same work.")
    pairs = alternate(a, b, given.pairs, warmup=0)
    notes = {"ranks that differ": float(different), "blocks, MB": extra_alone(blocks, *size), "whole, MB": extra_alone(whole, *size)}
    report("retrieval", "blocks", "whole", [Line(f"{given.images:,} x {given.texts:,}", pairs, given.images, notes=notes)])


if __name__ == "__main__":
    main()
