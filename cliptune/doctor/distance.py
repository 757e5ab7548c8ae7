"""How far the data lies from what the backbone knows, from rows alone: numbers that anyone can check, and a word for them.

No number tells what a model was trained on. These tell how well its images and words agree on this data, and whether the images alone
can be told apart; the thresholds are ours, and stand in `VERDICTS`.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TEN = 10  # texts to choose from, where an image has captions instead of a class
SAME = 0.9999  # the cosine of two images beyond which they are the same picture
KNOWN, PARTLY = 0.7, 0.3  # of the skill above guessing
TOLD_APART, ENOUGH = 0.2, 0.5  # more skill of the nearest image than of the words, and at least so much, before the words are blamed
ALIKE = 0.97  # the cosine of two class texts beyond which the text tower hardly tells them apart
VERDICTS = {
    "near": "near: the backbone knows this well",
    "partly": "on the way: the backbone knows a part of this",
    "words": "its words do not fit: the images can be told apart, but not by these texts",
    "far": "far: neither the words nor the images say much to the backbone",
    "unknown": "not known: there is too little to tell",
}


@dataclass
class Distance:
    """How well images and words agree.

    Args:
        verdict: a key of `VERDICTS`.
        skill: of choosing the right text, 0 for guessing and 1 for never wrong: among the classes, each counting the same; without
            classes among ten captions.
        alignment: the probability that an image is nearer to its own text than to another one: 0.5 for guessing.
        own: mean cosine of an image and its own texts.
        other: of an image and texts of other images or classes.
        neighbours: how often the nearest other image has the same class, each class counting the same; None without classes.
        neighbour_skill: the same above guessing.
        spread: mean cosine of two images; near 1, all of them look the same to the backbone.
        dimensions: in how many directions the images vary, as the participation ratio of the covariance's eigenvalues.
        gap: between the means of images and of texts (Liang et al. 2022, "Mind the Gap", sec. 2). A CLIP has one on any data.
        confidence: mean probability of the class that is said; None without classes.
        entropy: mean entropy of the probabilities, 1 where all classes are as probable.
        favourite: the class that is said most.
        favourite_said: its share of what is said.
        favourite_true: its share of the sample.
        alike: class texts that are nearly the same to the text tower: both names and their cosine, the nearest first.
    """

    verdict: str = "unknown"
    skill: float = 0.0
    alignment: float = 0.5
    own: float = 0.0
    other: float = 0.0
    neighbours: float | None = None
    neighbour_skill: float | None = None
    spread: float = 0.0
    dimensions: float = 0.0
    gap: float = 0.0
    confidence: float | None = None
    entropy: float | None = None
    favourite: str = ""
    favourite_said: float = 0.0
    favourite_true: float = 0.0
    alike: list[tuple[str, str, float]] = field(default_factory=list)


def measure_classes(rows: Tensor, truth: Tensor, class_rows: Tensor, names: list[str], scale: float, skill: float) -> Distance:
    """Compare images with the texts of classes.

    Args:
        rows: [N, D], of unit length.
        truth: [N], the images' classes.
        class_rows: [C, D].
        names: of the classes.
        scale: the backbone's factor on cosines.
        skill: see `Distance`.
    """
    cosines = rows @ class_rows.T  # [N, C]
    found = _shape(rows, class_rows)
    own = cosines.gather(1, truth[:, None])
    mask = F.one_hot(truth, len(names)).bool()
    found |= _agreement(own, cosines, mask)
    chances = (cosines * scale).softmax(dim=1)
    entropy = -(chances * chances.clamp(min=1e-12).log()).sum(dim=1).mean() / torch.log(torch.tensor(float(max(len(names), 2))))
    said = torch.bincount(cosines.argmax(dim=1), minlength=len(names))
    favourite = int(said.argmax())
    share = _nearest(rows, truth)
    chance = 1 / max(len(truth.unique()), 1)
    above = None if share is None or chance == 1 else (share - chance) / (1 - chance)
    return Distance(
        verdict=_verdict(skill, above, len(rows)),
        skill=skill,
        neighbours=share,
        neighbour_skill=above,
        confidence=float(chances.amax(dim=1).mean()),
        entropy=float(entropy),
        favourite=names[favourite],
        favourite_said=int(said[favourite]) / len(rows),
        favourite_true=float((truth == favourite).float().mean()),
        alike=_alike(class_rows, names),
        **found,
    )


def measure_captions(rows: Tensor, texts: Tensor, owner: Tensor) -> Distance:
    """Compare images with captions.

    Args:
        rows: [N, D], of unit length.
        texts: [T, D], likewise.
        owner: [T], the image that each belongs to.
    """
    cosines = rows @ texts.T  # [N, T]
    mask = owner[None] == torch.arange(len(rows))[:, None]
    best = cosines.masked_fill(~mask, -2).amax(dim=1, keepdim=True)
    found = _shape(rows, texts) | _agreement(best, cosines, mask)
    below = ((cosines < best) & ~mask).sum(dim=1) / (~mask).sum(dim=1).clamp(min=1)
    right = float((below ** (TEN - 1)).mean())  # the probability that nine others, drawn at random, are all further
    skill = (right - 1 / TEN) / (1 - 1 / TEN)
    own = float(cosines[mask].mean())
    return Distance(verdict=_verdict(skill, None, len(rows)), skill=skill, **(found | {"own": own}))


def explain(found: Distance) -> list[str]:
    """Say in words what the numbers mean."""
    said = [
        f"An image is nearer to its own text than to another one in {found.alignment:.0%} of cases (guessing: 50%); "
        f"mean cosines {found.own:.3f} and {found.other:.3f}.",
    ]
    if found.neighbours is not None:
        words = _words_fail(found.skill, found.neighbour_skill)
        said.append(
            f"Without any words, the nearest other image of the sample has the same class in {found.neighbours:.0%} of cases"
            + (": the image tower tells these classes apart, and it is the class texts that do not fit." if words else ".")
        )
    said.append(
        f"Two images have a mean cosine of {found.spread:.2f}, and vary in about {found.dimensions:.0f} directions"
        + (": to the backbone they look much alike." if found.spread > 0.8 else ".")
    )
    if found.favourite and found.favourite_said > max(2 * found.favourite_true, 0.3):
        said.append(f"{found.favourite_said:.0%} of all images are called {found.favourite!r}, and {found.favourite_true:.0%} are.")
    if found.confidence is not None:
        said.append(f"It is {found.confidence:.0%} sure on average; entropy {found.entropy:.2f} of 1, where 1 is no opinion.")
    if found.alike:
        a, b, cosine = found.alike[0]
        said.append(f"The texts of {a!r} and {b!r} are nearly one to the text tower (cosine {cosine:.3f}).")
    said.append(
        f"Images and texts lie {found.gap:.2f} apart on average; every CLIP has such a gap, on data that it knows too (Liang et al. 2022)."
    )
    return said


def _words_fail(skill: float, neighbours: float | None) -> bool:
    return neighbours is not None and neighbours > max(skill + TOLD_APART, ENOUGH)


def _verdict(skill: float, neighbours: float | None, images: int) -> str:
    if images < 20:
        return "unknown"
    if skill >= KNOWN:
        return "near"
    if skill >= PARTLY:
        return "partly"
    return "words" if _words_fail(skill, neighbours) else "far"


def _shape(rows: Tensor, texts: Tensor) -> dict[str, Any]:
    """Of the images' rows: how alike, in how many directions, and how far from the texts."""
    count, mean = len(rows), rows.mean(dim=0)
    spread = float((rows.sum(dim=0).square().sum() - count) / (count * (count - 1))) if count > 1 else 1.0
    values = torch.linalg.svdvals(rows - mean).square()
    total = values.sum()
    dimensions = float(total.square() / values.square().sum()) if total > 0 else 0.0
    return {"spread": spread, "dimensions": dimensions, "gap": float((mean - texts.mean(dim=0)).norm())}


def _agreement(own: Tensor, cosines: Tensor, mask: Tensor) -> dict[str, float]:
    """Of each image [N] with its own texts, which `mask` [N, T] marks, and all others; what is equal counts half."""
    others = ~mask
    if not others.any():
        return {"alignment": 0.5, "own": float(own.mean()), "other": 0.0}
    before = ((cosines < own).float() + 0.5 * (cosines == own).float()).masked_fill(mask, 0).sum(dim=1)
    each = before / others.sum(dim=1).clamp(min=1)
    return {"alignment": float(each[others.any(dim=1)].mean()), "own": float(own.mean()), "other": float(cosines[others].mean())}


def _nearest(rows: Tensor, truth: Tensor) -> float | None:
    """How often the nearest other image has the same class, as the mean over classes of two images or more."""
    classes, counts = truth.unique(return_counts=True)
    wanted = classes[counts > 1]
    if len(wanted) < 2:
        return None
    right = torch.empty(len(rows), dtype=torch.bool)
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024] @ rows.T
        part.masked_fill_(part > SAME, -2)
        right[start : start + len(part)] = truth[part.argmax(dim=1)] == truth[start : start + len(part)]
    return float(torch.stack([right[truth == number].float().mean() for number in wanted]).mean())


def _alike(class_rows: Tensor, names: list[str]) -> list[tuple[str, str, float]]:
    if len(names) > 4096:
        return []
    cosines = (class_rows @ class_rows.T).triu(1)
    pairs = (cosines > ALIKE).nonzero().tolist()
    return sorted(((names[a], names[b], float(cosines[a, b])) for a, b in pairs), key=lambda pair: -pair[2])[:20]
