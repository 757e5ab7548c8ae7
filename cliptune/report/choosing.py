"""Which test images a report shows: a pure function of the answers, so that whoever collects pictures and whoever shows them agree."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers, RetrievalAnswers
from cliptune.metrics.classes import right_of

SHOWN = 18  # images of a kind
ALIKE = 3  # of them with the same class, or the same mistake
ASKED = 8  # images, and texts, of which is shown what was found


@dataclass(frozen=True)
class Chosen:
    """Places of images and texts.

    Args:
        mistakes: images that the adapted model is surest of and wrong about, as places in its `ClassAnswers`.
        newly_right: images that were wrong before; those that won the most first.
        newly_wrong: images that were right before.
        images: of which the texts found are shown, as places in its `RetrievalAnswers`.
        texts: of which the images found are shown.
    """

    mistakes: list[int] = field(default_factory=list)
    newly_right: list[int] = field(default_factory=list)
    newly_wrong: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)


def comparable(before: ClassAnswers | RetrievalAnswers | None, after: ClassAnswers | RetrievalAnswers) -> bool:
    """Whether both are answers on the same images."""
    return before is not None and len(before) == len(after) and bool((before.number == after.number).all())


def choose_classes(before: ClassAnswers | None, after: ClassAnswers) -> Chosen:
    """Images to show of answers among classes.

    Args:
        before: of the untouched model, where it was scored.
        after: of the adapted one, or of the only one.
    """
    good, said = right_of(after), after.top[:, 0]
    kinds = list(zip(after.label.tolist(), said.tolist(), strict=True))
    mistakes = _spread(_ordered(~good, after.top_probability[:, 0]), kinds)
    if before is None or not comparable(before, after):
        return Chosen(mistakes)
    was, gain = right_of(before), after.label_probability - before.label_probability
    labels = after.label.tolist()
    return Chosen(mistakes, _spread(_ordered(good & ~was, gain), labels), _spread(_ordered(~good & was, -gain), labels))


def choose_retrieval(before: RetrievalAnswers | None, after: RetrievalAnswers) -> Chosen:
    """Images and texts to ask with; see `choose_classes`."""
    known = before if before is not None and comparable(before, after) else None
    images = _asked(known.image_rank if known is not None else None, after.image_rank)
    texts = known.text_rank if known is not None and len(known.text_rank) == len(after.text_rank) else None
    return Chosen(images=images, texts=_asked(texts, after.text_rank))


def _asked(before: Tensor | None, after: Tensor) -> list[int]:
    """Three that won the most, two that lost the most, and a few evenly from all."""
    chosen: list[int] = []
    if before is not None:
        gain = (before + 1.0).log() - (after + 1.0).log()
        chosen += _ordered((gain > 0) & (after == 0), gain)[:3] + _ordered((gain < 0) & (before == 0), -gain)[:2]
    even = torch.linspace(0, max(len(after) - 1, 0), min(ASKED, len(after))).long().tolist()
    return list(dict.fromkeys([*chosen, *even]))[:ASKED]


def _ordered(wanted: Tensor, value: Tensor) -> list[int]:
    """The places that are wanted, the greatest value first; equals in order."""
    places = wanted.nonzero()[:, 0]
    return [int(place) for place in places[value[places].argsort(descending=True, stable=True)]]


def _spread(places: Sequence[int], kinds: Sequence[Hashable]) -> list[int]:
    """The first of them, with at most `ALIKE` of a kind, as far as there are others."""
    seen: Counter[Hashable] = Counter()
    first: list[int] = []
    more: list[int] = []
    for place in places:
        seen[kinds[place]] += 1
        (first if seen[kinds[place]] <= ALIKE else more).append(place)
        if len(first) == SHOWN:
            break
    kept = {*first, *more[: SHOWN - len(first)]}
    return [place for place in places if place in kept]
