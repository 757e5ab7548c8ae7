"""Ranks and best answers of images among texts and of texts among images, from one product of the two, in blocks.

Each block of scores serves both ways and is then forgotten, so that memory stays bounded; several processes share the images.
What is equal to a right answer, but wrong, counts as before it, or a model that says the same of everything would find everything.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cliptune.distributed import gather_rows, greatest, rank, sizes_of, total, world
from cliptune.similarity import exact

RECALL_AT = (1, 5, 10)
DEEP = max(RECALL_AT)  # answers that are kept of each query
BLOCK = {"cpu": (2048, 4096), "cuda": (8192, 32768)}  # images and texts compared at a time: 32 MB, and 1 GB
GROUP = 32  # scores of which the greatest stands for all, until the best are looked for
TIE = 1e-6  # cosines nearer than this are equal: float32 has them to 1e-7


class Rows:
    """Rows in another order than they lie in, without a copy of them all.

    Args:
        rows: [R, D].
        order: [N], which of them comes first, second, ...
    """

    def __init__(self, rows: Tensor, order: Tensor) -> None:
        self.rows, self.order = rows, order
        self.straight = len(order) == len(rows) and bool((order.diff() == 1).all())

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, at: slice | Tensor) -> Tensor:
        return self.rows[at] if self.straight else self.rows[self.order[at]]


@dataclass
class Pairs:
    """Which images and texts are right for one another.

    Args:
        image: [P], in order.
        text: [P], in order for each image.
        texts: how many there are.
    """

    image: Tensor
    text: Tensor
    texts: int

    def of(self, images: slice) -> "Pairs":
        """Those of some images."""
        first, last = torch.searchsorted(self.image, torch.tensor([images.start, images.stop], device=self.image.device)).tolist()
        return Pairs(self.image[first:last], self.text[first:last], self.texts)

    def holds(self, image: Tensor, text: Tensor) -> Tensor:
        """Whether these are pairs, element by element."""
        if not len(self.image):
            return torch.zeros_like(image * text, dtype=torch.bool)
        keys, asked = self.image * self.texts + self.text, image * self.texts + text
        return keys[torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)] == asked


@dataclass
class Found:
    """What Q queries found.

    Args:
        rank: [Q], wrong answers before the first right one; all, and at least `DEEP`, for a query that has no right one.
        top: [Q, `DEEP`], the best answers, wrong ones before right ones that are equal; -1 where there are no more.
        score: [Q, `DEEP`], their scores.
        right: [Q, `DEEP`], which are right.
    """

    rank: Tensor
    top: Tensor
    score: Tensor
    right: Tensor


@torch.no_grad()
def find(images: Rows, texts: Rows, copies: Tensor, pairs: Pairs) -> tuple[Found, Found]:
    """Let all images look for texts, and all texts for images.

    Args:
        images: N, the same in all processes.
        texts: U, all different.
        copies: [U], how often each counts.
        pairs: of images and texts.

    Returns:
        What the images found, and what the texts did; in all processes.
    """
    device = images.rows.device
    own = slice(rank() * len(images) // world(), (rank() + 1) * len(images) // world())
    with exact(device):
        of_images, of_texts = (Way(*size, device) for size in ((len(images), len(texts)), (len(texts), len(images))))
        _find_right(images, texts, pairs.of(own), of_images, of_texts)
        of_texts.best = greatest(of_texts.best)
        rows, columns = BLOCK.get(device.type, BLOCK["cpu"])
        for start in range(own.start, own.stop, rows):
            at = slice(start, min(start + rows, own.stop))
            part, right = images[at], pairs.of(at)
            for first in range(0, len(texts), columns):
                to = slice(first, min(first + columns, len(texts)))
                inside = (right.text >= to.start) & (right.text < to.stop)
                _compare(part @ texts[to].T, right.image[inside], right.text[inside], at, to, of_images, of_texts, copies[to])
    of_images.join_queries(own)
    of_texts.join_candidates()
    there = torch.arange(len(images), device=device)[:, None], torch.arange(len(texts), device=device)[:, None]
    return of_images.found(pairs.holds(there[0], of_images.top)), of_texts.found(pairs.holds(of_texts.top, there[1]))


def _find_right(images: Rows, texts: Rows, pairs: Pairs, of_images: "Way", of_texts: "Way") -> None:
    """Score the right pairs, before any other."""
    step = BLOCK.get(pairs.image.device.type, BLOCK["cpu"])[1]
    for image, text in zip(pairs.image.split(step), pairs.text.split(step), strict=True):
        scores = (images[image] * texts[text]).sum(dim=1)
        of_images.best.scatter_reduce_(0, image, scores, "amax")
        of_texts.best.scatter_reduce_(0, text, scores, "amax")


def _compare(scores: Tensor, image: Tensor, text: Tensor, at: slice, to: slice, of_images: "Way", of_texts: "Way", copies: Tensor) -> None:
    """Take a block of scores [images `at`, texts `to`], whose right ones are at `image` and `text`."""
    row, column = image - at.start, text - to.start
    right = scores[row, column]
    scores[row, column] = -torch.inf
    of_images.count(at, scores, copies)
    of_texts.count(to, scores.T, torch.ones_like(copies[:1]).expand(scores.shape[0]))
    scores[row, column] = torch.where(right.isnan(), -torch.inf, right - TIE)
    of_images.keep(at, scores, to.start)
    of_texts.keep(to, scores.T, at.start)


class Way:
    """Queries, and what they have found among the candidates so far.

    Args:
        queries: Q.
        candidates: how many there are.
        device: that the scores are on.
    """

    def __init__(self, queries: int, candidates: int, device: torch.device) -> None:
        self.candidates = candidates
        self.best = torch.full((queries,), -torch.inf, device=device)  # of the right ones
        self.before = torch.zeros(queries, dtype=torch.long, device=device)
        self.score = torch.full((queries, DEEP), -torch.inf, device=device)
        self.top = torch.full((queries, DEEP), -1, device=device)

    def count(self, at: slice, scores: Tensor, copies: Tensor) -> None:
        """Count who comes before the best right one.

        Args:
            at: queries.
            scores: [those, candidates of the block], -inf for right ones.
            copies: [candidates of the block].
        """
        least = self.best[at] - TIE
        below = scores < torch.where(least.isnan(), -torch.inf, least)[:, None]  # what is not a number comes before all
        self.before[at] += copies.sum() - below.sum(dim=1, dtype=torch.int32)
        often = (copies > 1).nonzero()[:, 0]
        if len(often):
            self.before[at] -= (below[:, often].float() @ (copies[often] - 1).float()).long()

    def keep(self, at: slice, scores: Tensor, first: int) -> None:
        """Keep the best.

        Args:
            at: queries.
            scores: [those, candidates of the block].
            first: the block's first candidate.
        """
        score, place = _best_of(scores)
        score, place = torch.cat([self.score[at], score], dim=1), torch.cat([self.top[at], place + first], dim=1)
        self.score[at], kept = score.topk(DEEP, dim=1)
        self.top[at] = place.gather(1, kept)

    def join_queries(self, own: slice) -> None:
        """Put the processes' queries together."""
        sizes = sizes_of(own.stop - own.start, device=self.best.device)[0]
        self.best, self.before, self.score, self.top = (
            gather_rows(part[own], sizes) for part in (self.best, self.before, self.score, self.top)
        )

    def join_candidates(self) -> None:
        """Put together what the processes have found, each among other candidates."""
        if world() == 1:
            return
        self.before = total(self.before)
        score, top = (torch.cat(gather_rows(part).chunk(world()), dim=1) for part in (self.score, self.top))
        self.score, kept = score.topk(DEEP, dim=1)
        self.top = top.gather(1, kept)

    def found(self, right: Tensor) -> Found:
        """What they found, of which these are right."""
        never = ~(self.best > -torch.inf)
        right = right & (self.score > -torch.inf)
        top = self.top.masked_fill(self.score == -torch.inf, -1)
        return Found(torch.where(never, self.before.clamp(min=DEEP), self.before), top, self.score + TIE * right, right)


def _best_of(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The best `DEEP` of each row and where they are; whoever is among them has the greatest of its group among the greatest."""
    groups = scores.shape[1] // GROUP
    if scores.shape[1] % GROUP or groups <= DEEP:
        found = scores.contiguous().topk(min(DEEP, scores.shape[1]), dim=1)
        return found.values, found.indices
    parts = scores.unflatten(1, (GROUP, groups))
    group = parts.amax(dim=1).contiguous().topk(DEEP, dim=1, sorted=False).indices
    score, place = parts.gather(2, group[:, None].expand(-1, GROUP, -1)).flatten(1).topk(DEEP, dim=1)
    return score, place // DEEP * groups + group.gather(1, place % DEEP)
