"""Whether a model hears how words are put together: of two captions of (nearly) the same words it has to find the true one.

CLIP is known to be weak at it (Winoground: Thrush et al. 2022; ARO: Yuksekgonul et al. 2023; SugarCrepe: Hsieh et al. 2023). A tie counts
as wrong, so that a model which says the same of everything scores 0.

`told`: {"kinds": {NAME: {"source", "kind" ("" for all), "score" ("pair", "text", "image", "group"), "pairs": n, "accuracy", "chance",
"ties": n}}, "unreadable": n}; NAME is "SOURCE", "SOURCE: KIND", or for Winoground "SOURCE text", "SOURCE text: KIND", ...
`items` and `units` have a 0 or 1 for each pair, and its picture, by the same names. `shared`: {"examples": {NAME: [{"picture", "right",
"wrong"}]}}, `told["examples"]` the cosines of these: {NAME: [[right, wrong], ...]}.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.images import ImageTextData
from cliptune.measures.base import Measured
from cliptune.measures.composition_files import Fours, Pairs, open_pairs
from cliptune.measures.made_pairs import SWAP, made_pairs
from cliptune.measures.seeing import picture_rows, split_rows, text_rows
from cliptune.metrics.ranks import TIE
from cliptune.similarity import exact

SHOWN = 4  # examples of each kind
CHANCE = {"pair": 1 / 2, "text": 1 / 4, "image": 1 / 4, "group": 1 / 6}  # of an order of all scores at random


def measure_composition(model: AdaptedCLIP, data: ImageTextData, sources: list[str]) -> Measured:
    """Measure one state of a model.

    Args:
        model: in that state.
        data: set up; of its test split `swap` makes pairs.
        sources: `swap`, or what `open_pairs` opens.

    Raises:
        DataError: see `open_pairs`.
    """
    found = Measured(told={"kinds": {}, "examples": {}, "unreadable": 0}, shared={"examples": {}})
    for source in sources:
        pairs = made_pairs(data) if source == SWAP else open_pairs(source)
        pairs.name = source if any(pairs.name == one["source"] for one in found.told["kinds"].values()) else pairs.name
        with torch.no_grad():
            if isinstance(pairs, Fours):
                _measure_fours(model, data, pairs, found)
            else:
                _measure_pairs(model, data, pairs, found)
    return found


def _measure_pairs(model: AdaptedCLIP, data: ImageTextData, pairs: Pairs, found: Measured) -> None:
    rows, there = _rows(model, data, pairs)
    picture = torch.tensor(pairs.picture)
    texts = text_rows(model, data, [*pairs.right, *pairs.wrong]).chunk(2)
    right, wrong = (_cosines(rows[picture], part) for part in texts)
    kept = there[picture]
    found.told["unreadable"] += int((~kept).sum())
    kinds = np.array(pairs.kind)
    for kind in ("", *(kinds_of(pairs.kind) if len(set(pairs.kind)) > 1 or pairs.name != pairs.kind[0] else ())):
        mask = kept & torch.from_numpy((kinds == kind) | (kind == ""))
        _tell(found, pairs.name, kind, "pair", right[mask] - wrong[mask], picture[mask])
        if kind or len(set(pairs.kind)) == 1:
            shown = _spread(mask.nonzero()[:, 0].tolist())
            name = _name(pairs.name, kind, "pair")
            found.shared["examples"][name] = [_example(pairs, i) for i in shown]
            found.told["examples"][name] = [[round(float(right[i]), 4), round(float(wrong[i]), 4)] for i in shown]


def _measure_fours(model: AdaptedCLIP, data: ImageTextData, fours: Fours, found: Measured) -> None:
    """Text, image and group score as the paper defines them: the model chooses a text for each image, an image for each text, or both."""
    rows, there = picture_rows(model, fours.pictures, data.workers)
    images, texts = rows.unflatten(0, (-1, 2)), text_rows(model, data, fours.captions).unflatten(0, (-1, 2))  # [E, 2, D]
    with exact(images.device):
        scores = images @ texts.transpose(1, 2)  # [E, image, text]
    of_texts = torch.minimum(scores[:, 0, 0] - scores[:, 0, 1], scores[:, 1, 1] - scores[:, 1, 0])
    of_images = torch.minimum(scores[:, 0, 0] - scores[:, 1, 0], scores[:, 1, 1] - scores[:, 0, 1])
    margins = {"text": of_texts, "image": of_images, "group": torch.minimum(of_texts, of_images)}
    kept = there.unflatten(0, (-1, 2)).all(dim=1)
    found.told["unreadable"] += int((~kept).sum())
    kinds, numbers = np.array(fours.kind), torch.arange(len(fours))
    for score, margin in margins.items():
        for kind in ("", *(kind for kind in kinds_of(fours.kind) if kind)):
            mask = kept & torch.from_numpy((kinds == kind) | (kind == ""))
            _tell(found, fours.name, kind, score, margin[mask], numbers[mask])


def _rows(model: AdaptedCLIP, data: ImageTextData, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """The pictures' rows [N, D], and which of them there are [N]."""
    if pairs.pictures is not None:
        return picture_rows(model, pairs.pictures, data.workers)
    seen = split_rows(model, data)
    count = len(data.rows("test", images=False))
    rows, there = torch.zeros(count, seen.rows.shape[1]), torch.zeros(count, dtype=torch.bool)
    rows[seen.number], there[seen.number] = seen.rows, True
    return rows, there


def _cosines(rows: Tensor, others: Tensor) -> Tensor:
    return (rows.double() * others.double()).sum(dim=1)


def _tell(found: Measured, source: str, kind: str, score: str, margin: Tensor, unit: Tensor) -> None:
    """Write down how often the true one is ahead by more than rounding."""
    if not len(margin):
        return
    name, right = _name(source, kind, score), (margin > TIE).float()
    found.items[name], found.units[name] = right, unit
    found.told["kinds"][name] = {
        "source": source,
        "kind": kind,
        "score": score,
        "pairs": len(right),
        "accuracy": float(right.double().mean()),
        "chance": CHANCE[score],
        "ties": int((margin.abs() <= TIE).sum()),
    }


def _name(source: str, kind: str, score: str) -> str:
    return source + (f" {score}" if score != "pair" else "") + (f": {kind}" if kind else "")


def kinds_of(kinds: list[str]) -> list[str]:
    """Each kind once, in order of first appearance."""
    return list(dict.fromkeys(kinds))


def _spread(places: list[int]) -> list[int]:
    """A few, evenly spaced."""
    return [places[i] for i in dict.fromkeys(np.linspace(0, len(places) - 1, SHOWN).astype(int).tolist())] if places else []


def _example(pairs: Pairs, i: int) -> dict[str, Any]:
    place = pairs.picture[i] if pairs.pictures is None else pairs.pictures[pairs.picture[i]]
    return {"picture": place if isinstance(place, (int, str)) else "", "right": pairs.right[i], "wrong": pairs.wrong[i]}
