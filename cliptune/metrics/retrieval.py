"""Retrieval between images and their captions, both ways: what was found, and the metrics of that."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cliptune.metrics.answers import TOP, RetrievalAnswers
from cliptune.metrics.ranks import DEEP, RECALL_AT, Found, Pairs, Rows, find
from cliptune.metrics.weighted import by_group, median

WAYS = ("image_to_text", "text_to_image")
UNKNOWN = -1  # the identity of a text that is like no other
CHUNK = 2**24  # numbers, 64 MB: memory of this size goes back to the system when it is let go


class Retrieval(Metric):
    """Recall at 1, 5 and 10, median rank and mean average precision both ways, an image with any number of captions.

    An image is found right when any text that is one of its captions is among the first k of all; a text when any image that has it
    as a caption is. So two images with the same caption are both right, both ways. Where captions are distinct this is Karpathy and
    Fei-Fei 2015's protocol, which CLIP_benchmark follows. What is equal to the best right candidate, but wrong, counts as before it.

    Average precision is the mean, over the right candidates or the first ten of them, of the precision at the place where each is; a
    right one below the first ten adds nothing.

    Each process compares its share of the images, in blocks: the rows are all that is held as a whole.
    """

    full_state_update = False
    answers: RetrievalAnswers | None = None  # what the last `compute` is of
    images: list[Tensor]
    texts: list[Tensor]
    numbers: list[Tensor]
    owners: list[Tensor]
    identities: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("images", "texts", "numbers", "owners", "identities"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, image_rows: Tensor, numbers: Tensor, text_rows: Tensor, owner: Tensor, identity: Tensor | None = None) -> None:
        """Take a batch.

        Args:
            image_rows: [B, D].
            numbers: [B], of the images in the whole split; -1 for one that only fills the batch, and does not count.
            text_rows: [N, D].
            owner: [N], the image in 0..B-1 that each text belongs to.
            identity: [N], the same number for the same words, whose rows are taken to be the same too; -1 for a text that is like
                no other, as all are where this is not given.
        """
        counts, owned = numbers >= 0, numbers[owner] >= 0
        _append(self.images, image_rows[counts].float())
        self.numbers.append(numbers[counts])
        _append(self.texts, text_rows[owned].float())
        self.owners.append(numbers[owner][owned])
        self.identities.append((torch.full_like(owner, UNKNOWN) if identity is None else identity)[owned])

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """Give the metrics that `retrieval_metrics` names, and set `answers`."""
        images, texts = _join(self.images), _join(self.texts)
        numbers, owners, identities = (dim_zero_cat(part) for part in (self.numbers, self.owners, self.identities))
        order = numbers.argsort()
        owner = torch.searchsorted(numbers[order], owners)
        text_order = owner.argsort(stable=True)  # by image; an image's own as they came
        owner, identity = owner[text_order], identities[text_order]
        words = _words(owner, identity)
        found = find(Rows(images, order), Rows(texts, text_order[words.first]), words.copies, words.pairs)
        self.answers = _answers(numbers[order], owner, words, *found)
        return {name: torch.tensor(value, device=images.device) for name, value in retrieval_metrics(self.answers).items()}


def _append(parts: list[Tensor], rows: Tensor) -> None:
    """Put rows [B, D] behind those of the last part, where its memory has room, or begin a part with room for many."""
    last = parts[-1] if parts else rows[:0]
    length, room = len(last) + len(rows), last.untyped_storage().nbytes() // max(rows[:1].nbytes, 1)
    if parts and length <= room:
        parts[-1] = last.as_strided((length, rows.shape[1]), last.stride())
        parts[-1][len(last) :] = rows
    else:
        held = sum(part.numel() for part in parts)
        parts.append(rows.new_empty(max(rows.numel(), min(held, CHUNK)) // max(rows.shape[1], 1), rows.shape[1])[: len(rows)].copy_(rows))


def _join(parts: list[Tensor] | Tensor) -> Tensor:
    """All rows as one; each part's memory is let go when it is copied, and the list holds the whole."""
    if isinstance(parts, Tensor) or len(parts) < 2:
        return dim_zero_cat(parts)
    whole, first = parts[0].new_empty(sum(map(len, parts)), parts[0].shape[1]), 0
    while parts:
        part = parts.pop(0)
        whole[first : first + len(part)] = part
        first += len(part)
        del part
    parts.append(whole)
    return whole


class Words(NamedTuple):
    """The U different texts among M."""

    first: Tensor  # [U], the first text of each
    kind: Tensor  # [M], in 0..U-1
    copies: Tensor  # [U], how many texts are the same
    pairs: Pairs  # the images that have them as captions


def _words(owner: Tensor, identity: Tensor) -> Words:
    here = torch.arange(len(owner), device=owner.device)
    number = torch.unique(identity, return_inverse=True)[1]
    lead = torch.full_like(here, len(here)).scatter_reduce_(0, number, here, "amin")[number]  # the first text of the same words
    first, kind = torch.unique(torch.where(identity == UNKNOWN, here, lead), return_inverse=True)
    keys = torch.unique(owner * len(first) + kind)
    pairs = Pairs(keys // max(len(first), 1), keys % max(len(first), 1), len(first))
    return Words(first, kind, torch.bincount(kind, minlength=len(first)), pairs)


def _answers(number: Tensor, owner: Tensor, words: Words, by_image: Found, by_text: Found) -> RetrievalAnswers:
    """Put what different texts have found, and what was found of them, back to all texts."""
    pairs, kind = words.pairs, words.kind
    which, place = _spread(words, by_image.top)
    right, score = by_image.right.gather(1, which) & (place >= 0), by_image.score.gather(1, which).masked_fill(place < 0, -torch.inf)
    possible = torch.zeros_like(number).index_add_(0, pairs.image, words.copies[pairs.text])
    precision = _precision(by_text.right, torch.bincount(pairs.text, minlength=len(words.first)))
    of_images = (number, by_image.rank, _precision(right, possible), place[:, :TOP], score[:, :TOP])
    of_texts = (owner, by_text.rank[kind], precision[kind], by_text.top[kind, :TOP], by_text.score[kind, :TOP])
    return RetrievalAnswers(*(part.cpu() for part in (*of_images, *of_texts)))


def _spread(words: Words, top: Tensor) -> tuple[Tensor, Tensor]:
    """From the best different texts to the best of all: for each of these, which of `top` it is, and its place in 0..M-1, or -1.

    Args:
        words: the different texts.
        top: [N, `DEEP`] of them, -1 where there are no more.
    """
    if not len(words.copies):
        return torch.zeros_like(top), top
    times = words.copies[top].masked_fill(top < 0, 0)
    ends, position = times.cumsum(dim=1), torch.arange(DEEP, device=top.device).expand(top.shape).contiguous()
    which = torch.searchsorted(ends, position, right=True)
    there, which = which < DEEP, which.clamp(max=DEEP - 1)
    by_kind, starts = words.kind.argsort(stable=True), words.copies.cumsum(0) - words.copies
    nth = (starts[top] - ends + times).gather(1, which) + position
    return which, torch.where(there, by_kind[nth.clamp(0, len(by_kind) - 1)], -1)


def _precision(right: Tensor, possible: Tensor) -> Tensor:
    """[Q], average precision of answers [Q, `DEEP`], best first, where so many [Q] right ones are possible."""
    places = torch.arange(1, DEEP + 1, device=right.device)
    return (right.cumsum(dim=1) / places * right).sum(dim=1) / possible.clamp(1, DEEP)


def retrieval_metrics(answers: RetrievalAnswers) -> dict[str, float]:
    """Give `recall@k_image_to_text`, `recall@k_text_to_image`, `recall`, the mean of these six, `median_rank_*` (1 is best), `map@10_*`."""
    whole = weighted_retrieval_metrics(answers, torch.ones(1, len(answers)))
    return {name: float(value) for name, value in whole.items()}


def weighted_retrieval_metrics(answers: RetrievalAnswers, weights: Tensor) -> dict[str, Tensor]:
    """The same metrics where each image counts some number of times, and with it the texts that are of it; candidates stay all.

    Args:
        answers: of N images.
        weights: [R, N].

    Returns:
        [R] each, float64.
    """
    weights = weights.double().T.contiguous()
    found: dict[str, Tensor] = {}
    further: dict[str, Tensor] = {}
    parts = (
        (answers.image_rank, answers.image_precision, torch.arange(len(answers))),
        (
            answers.text_rank,
            answers.text_precision,
            answers.owner,
        ),
    )
    for way, (rank, precision, of) in zip(WAYS, parts, strict=True):
        ranks, kind = torch.unique(rank, return_inverse=True)
        counts = by_group(kind, len(ranks), weights, of)
        whole = counts.sum(dim=0)
        found |= {f"recall@{k}_{way}": counts[ranks < k].sum(dim=0) / whole for k in RECALL_AT}
        further[f"median_rank_{way}"] = 1 + median(ranks, counts)
        further[f"map@{DEEP}_{way}"] = by_group(torch.zeros_like(kind), 1, weights, of, precision)[0] / whole
    return {**found, "recall": torch.stack(list(found.values())).mean(dim=0), **further}
