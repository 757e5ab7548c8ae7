"""How a model's scores for given words differ between groups of images, and whether it errs more often on some.

Three views: the probability of each word (a softmax over the words, as zero-shot classification has it; Agarwal et al. 2021 look at CLIP
so); the share of each group among the images that a word finds first, by MaxSkew@k (Geyik et al. 2019; for CLIP: Berg et al. 2022), against
the groups' shares in the data; and, of labelled images, top-1 of each group.

`told`: {"column", "template", "words", "images": n, "without": n (images without a group),
"groups": {GROUP: {"images": n, "compared": bool, "probability": {WORD: mean}, "chosen": {WORD: share of images}, "top1": x}},
"differences": {WORD: GAP}, "top1": GAP, "retrieval": {"k", "words": {WORD: {"shares": {GROUP: x}, "max_skew", "group", "expected", "p"}}}};
GAP is {"most", "least", "difference", "low", "high", "p"}, see `groups.Gap`. Both "top1" are there where the data has labels. `expected` is
the mean MaxSkew of images in random order, and its `p` the share of random orders that reach the model's. `items`, where two groups are
compared: by "WORD: GROUP - GROUP" and "top1: GROUP - GROUP" numbers whose mean is the difference, so that two states can be compared.
`shared`: {"groups": {GROUP: n}}.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.images import ImageTextData
from cliptune.evaluate import Bias
from cliptune.measures.base import Measured
from cliptune.measures.groups import LEAST, RESAMPLES, Gap, largest_gaps, read_groups
from cliptune.measures.seeing import SplitRows, split_rows
from cliptune.methods.base import ClassTexts
from cliptune.metrics.ranks import TIE
from cliptune.similarity import exact

FIRST = 100  # images that a word finds first; a tenth of them all, where that is less


@torch.no_grad()
def measure_bias(model: AdaptedCLIP, data: ImageTextData, bias: Bias) -> Measured:
    """Measure one state of a model.

    Args:
        model: in that state.
        data: set up.
        bias: the column of groups, and the words; the class names where there are none.

    Raises:
        DataError: see `read_groups`.
    """
    groups, seen = read_groups(data, bias.column), split_rows(model, data)
    words = list(bias.words) or list(data.class_names)
    class_rows = model.method.class_rows(model.backbone, _texts(words, bias, data))
    chances = model.method.logits(model.backbone, seen.rows.to(model.device), class_rows).float().cpu().softmax(dim=1)  # [N, W]
    with exact(seen.rows.device):
        cosines = seen.rows.float() @ F.normalize(class_rows.rows.float().cpu(), dim=1).T
    right = _right(model, data, seen)
    counts = groups.counts(seen.number)
    compared = (counts >= LEAST).nonzero()[:, 0].tolist()
    names = [groups.names[i] for i in compared]
    place = torch.full((len(groups.names) + 1,), -1)  # the last one is of -1
    place[compared] = torch.arange(len(compared))
    own = groups.of[seen.number]
    kept = place[own] >= 0
    of = place[own][kept]
    told: dict[str, Any] = {"column": bias.column, "template": bias.template, "words": words, "images": len(seen.rows)}
    told["without"] = int((own < 0).sum())
    labelled = seen.label >= 0
    told["groups"] = {}
    for i, name in enumerate(groups.names):
        told["groups"][name] = {"compared": i in compared, **_group(chances[own == i], words)}
        if right is not None and bool((known := labelled & (own == i)).any()):
            told["groups"][name]["top1"] = float(right[known].double().mean())
    told["differences"] = {word: gap._asdict() for word, gap in zip(words, largest_gaps(chances[kept], of, names, RESAMPLES), strict=True)}
    items = _contrasts(chances[kept], of, words, names)
    if right is not None:
        known = kept & labelled
        among = place[own][known]
        if gap := _gap_of(right[known], among, names):
            told["top1"] = gap._asdict()
        items |= _contrasts(right[known][:, None], among, ["top1"], names)
    found = [first_of(cosines[kept, w], of, names) for w in range(len(words))]
    told["retrieval"] = {"k": first(len(of)), "words": dict(zip(words, found, strict=True))}
    return Measured(told, items, shared={"groups": dict(zip(groups.names, counts.tolist(), strict=True))})


def first_of(scores: Tensor, of: Tensor, names: list[str], seed: int = 0) -> dict[str, Any]:
    """Which groups the images are of that a word finds first.

    Skew@k of a group is the logarithm of its share in the first k over its share in all, and MaxSkew@k the greatest. In random order it
    is above 0 too, the more so the fewer images there are: that is `expected`.

    Args:
        scores: [N], of the images with the word. Equal ones share the places that there are for them.
        of: [N], their groups.
        names: [G] of the groups; each has an image.
        seed: of the random orders.
    """
    k = first(len(of))
    last = scores.topk(k).values[-1]
    above, tied = scores > last + TIE, (scores - last).abs() <= TIE
    weight = above.double() + tied.double() * ((k - int(above.sum())) / int(tied.sum()))
    sizes = torch.bincount(of, minlength=len(names))
    held = torch.zeros(len(names), dtype=torch.double).index_add(0, of, weight)
    found, greatest = max_skew(held[None].numpy(), sizes.numpy())
    random = np.random.default_rng(seed).multivariate_hypergeometric(sizes.numpy(), k, size=RESAMPLES)
    by_chance = max_skew(random, sizes.numpy())[0]
    return {
        "shares": dict(zip(names, (held / k).tolist(), strict=True)),
        "max_skew": float(found[0]),
        "group": names[int(greatest[0])],
        "expected": float(by_chance.mean()),
        "p": float((1 + (by_chance >= found[0] - 1e-12).sum()) / (RESAMPLES + 1)),
    }


def max_skew(held: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MaxSkew [R] and the group that has it [R], of how many of each group are among the first [R, G], and among all [G]."""
    with np.errstate(divide="ignore"):
        skew = np.log(held / held.sum(axis=1, keepdims=True)) - np.log(sizes / sizes.sum())
    return skew.max(axis=1), skew.argmax(axis=1)


def first(images: int) -> int:
    """How many of so many images count as found first."""
    return max(min(FIRST, images // 10), 1)


def _texts(words: list[str], bias: Bias, data: ImageTextData) -> ClassTexts:
    """The words in the template; the classes as they are scored, where neither is given."""
    if not bias.words and bias.template == "{}":
        return ClassTexts(data.class_names, data.class_texts, data.sights.preprocess, data.templates)
    return ClassTexts(words, [[bias.template.replace("{}", word)] for word in words], data.sights.preprocess, [bias.template])


def _right(model: AdaptedCLIP, data: ImageTextData, seen: SplitRows) -> Tensor | None:
    """[N], 1 where the best class is the image's, or one of its; None where there are no classes."""
    if not data.class_names or not bool((seen.label >= 0).any()):
        return None
    classes = ClassTexts(data.class_names, data.class_texts, data.sights.preprocess, data.templates)
    class_rows = model.method.class_rows(model.backbone, classes)
    best = model.method.logits(model.backbone, seen.rows.to(model.device), class_rows).cpu().argmax(dim=1)
    if seen.labels is not None:
        return seen.labels.gather(1, best[:, None])[:, 0].float()
    return (best == seen.label).float()


def _group(chances: Tensor, words: list[str]) -> dict[str, Any]:
    """What is told of the words' probabilities [n, W] in one group."""
    count = len(chances)
    if not count:
        return {"images": 0}
    chosen = torch.bincount(chances.argmax(dim=1), minlength=len(words)).double() / count
    return {
        "images": count,
        "probability": dict(zip(words, chances.double().mean(dim=0).tolist(), strict=True)),
        "chosen": dict(zip(words, chosen.tolist(), strict=True)),
    }


def _gap_of(right: Tensor, of: Tensor, names: list[str]) -> Gap | None:
    """Of top-1; None where labels leave no two groups of enough images."""
    here = (torch.bincount(of, minlength=len(names)) >= LEAST).nonzero()[:, 0].tolist()
    if len(here) < 2:
        return None
    kept = torch.isin(of, torch.tensor(here))
    place = torch.zeros(len(names), dtype=torch.long)
    place[here] = torch.arange(len(here))
    return largest_gaps(right[kept, None], place[of[kept]], [names[i] for i in here], RESAMPLES)[0]


def _contrasts(values: Tensor, of: Tensor, what: list[str], names: list[str]) -> dict[str, Tensor]:
    """Of two groups, numbers [N] for each column of values [N, W] whose mean is the difference of the groups' means."""
    counts = torch.bincount(of, minlength=len(names)).double()
    if len(names) != 2 or not counts.all():
        return {}
    sign = torch.tensor([1.0, -1.0], dtype=torch.double)[of] * len(of) / counts[of]
    centred = values.double() - values.double().mean(dim=0)  # or resamples with more of one group would have a greater difference
    return {f"{word}: {names[0]} - {names[1]}": (sign * centred[:, w]).float() for w, word in enumerate(what)}
