"""Metrics of retrieval both ways from one product in blocks, against ranks alone from two: time, and the peak of a whole process.

Random rows; the ranks of both must be equal. A gives ranks, the best ten, and average precision; B, cliptune's own way until it had these,
ranks only.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from alone import extra_alone, peak_alone
from measure import Line, alternate, report
from torch import Tensor

from cliptune.metrics.answers import RetrievalAnswers
from cliptune.metrics.ranks import TIE
from cliptune.metrics.retrieval import Retrieval

BATCH = 256  # images that come at a time
BLOCK = (1024, 8192)  # queries and candidates of B


def rows(images: int, texts: int, width: int, threads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts near them, and whose each is."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    found = F.normalize(torch.randn(images, width), dim=-1)
    owner = torch.arange(images).repeat_interleave(-(-texts // images))[:texts]
    near = torch.randn(texts, width).mul_(2 / width**0.5)
    for part, whose in zip(near.split(BATCH), owner.split(BATCH), strict=True):
        part.copy_(F.normalize(part + found[whose], dim=-1))
    return found, near, owner


def fill(images: Tensor, texts: Tensor, owner: Tensor) -> Retrieval:
    """The metric after all batches."""
    metric = Retrieval()
    for first in range(0, len(images), BATCH):
        last = min(first + BATCH, len(images))
        a, b = torch.searchsorted(owner, torch.tensor([first, last])).tolist()
        own = owner[a:b]
        metric.update(images[first:last].clone(), torch.arange(first, last), texts[a:b].clone(), own - first, torch.arange(a, b))
    return metric


def one_product(*size: int) -> Callable[[], RetrievalAnswers]:
    """As cliptune does."""
    metric = fill(*rows(*size))

    def call() -> RetrievalAnswers:
        metric._computed = None  # torchmetrics keeps what it gave
        metric.compute()
        assert metric.answers is not None
        return metric.answers

    return call


def whole_process(*size: int) -> None:
    """Rows come in batches that nobody else keeps, and are measured."""
    torch.set_num_threads(size[-1])
    images, texts, width, _ = size
    metric, each = Retrieval(), texts // images
    for first in range(0, images, BATCH):
        count = min(BATCH, images - first)
        owner = torch.arange(count).repeat_interleave(each)
        part = F.normalize(torch.randn(count, width), dim=-1)
        near = F.normalize(part[owner] + 2 * torch.randn(len(owner), width) / width**0.5, dim=-1)
        metric.update(part, torch.arange(first, first + count), near, owner, torch.arange(len(owner)) + first * each)
    metric.compute()


def two_products(*size: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Ranks of images, then those of texts."""
    images, texts, owner = rows(*size)
    numbers = torch.arange(len(images))
    return lambda: (ranks_of(images, texts, numbers, owner), ranks_of(texts, images, owner, numbers))


def ranks_of(queries: Tensor, candidates: Tensor, query_of: Tensor, candidate_of: Tensor) -> Tensor:
    """[Q], how many candidates of other images come before the first one of a query's own; candidates lie by image."""
    first = torch.searchsorted(candidate_of, query_of)
    ranks = []
    for part, owner, start in zip(queries.split(BLOCK[0]), query_of.split(BLOCK[0]), first.split(BLOCK[0]), strict=True):
        last = torch.searchsorted(candidate_of, owner, right=True)
        best = torch.full((len(part),), -torch.inf)
        for step in range(int((last - start).max())):
            place = (start + step).clamp(max=len(candidates) - 1)
            best = torch.where(start + step < last, best.maximum((part * candidates[place]).sum(dim=1)), best)
        before = torch.zeros(len(part), dtype=torch.long)
        for others, whose in zip(candidates.split(BLOCK[1]), candidate_of.split(BLOCK[1]), strict=True):
            counts = ~(part @ others.T < best[:, None] - TIE)
            counts &= owner[:, None] != whose
            before += counts.sum(dim=1)
        ranks.append(before)
    return torch.cat(ranks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak_factor", type=int, default=5, help="the peak is that of so many times the images and texts; 0 for none")
    given = parser.parse_args()
    size, factor = (given.images, given.texts, given.width, given.threads), given.peak_factor
    notes: dict[str, float] = {}
    if factor:
        start = time.perf_counter()
        peak = peak_alone(whole_process, size[0] * factor, size[1] * factor, *size[2:])
        notes = {"peak of the process, MB": peak, "seconds": time.perf_counter() - start}
        print(notes, flush=True)
    a, b = one_product(*size), two_products(*size)
    found, ranks = a(), b()
    different = sum(int((x != y).sum()) for x, y in zip((found.image_rank, found.text_rank), ranks, strict=True))
    if different > 1e-3 * (given.images + given.texts):
        raise SystemExit(f"{different} ranks differ: the two sides do not do the same work.")
    pairs = alternate(a, b, given.pairs, warmup=0)
    extra = {"ranks that differ": float(different), "beyond the rows, MB": extra_alone(one_product, *size)}
    extra |= {f"{name}, {factor} times as many": value for name, value in notes.items()}
    report("retrieval", "one product", "two", [Line(f"{given.images:,} x {given.texts:,}", pairs, given.images, notes=extra)])


if __name__ == "__main__":
    main()
