"""Between zero-shot and adapted: what was learned counts a share.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", sec. 3).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from statistics import fmean
from typing import NamedTuple

import torch

from cliptune.adapted import AdaptedCLIP
from cliptune.described import build
from cliptune.errors import ConfigError, ExportError
from cliptune.methods.base import Method
from cliptune.methods.full import Full

SHARES = tuple(i / 10 for i in range(11))  # of the curve, as Wortsman et al. draw it
PARTS = 4  # of the step between two of them, where what must be kept ends in it


class Point(NamedTuple):
    """A blend, measured."""

    share: float
    validation: float  # the score on the run's validation split
    guards: tuple[float, ...] = ()  # and on other data


class Blend:
    """A model, and the way from it to zero-shot.

    Args:
        model: adapted.

    Raises:
        ExportError: its method has no straight way back.
    """

    def __init__(self, model: AdaptedCLIP) -> None:
        start = build(model.about["backbone"]).to(model.device)
        self.model = model
        self.before = model.method.zero_shot(model.backbone, start, model.classes)
        self.adapted = {name: value.detach().clone() for name, value in self._tensors().items()}

    @torch.no_grad()
    def set(self, share: float) -> None:
        """Let what was learned count `share`: 0 for zero-shot, 1 for adapted."""
        for name, value in self._tensors().items():
            value.copy_(torch.lerp(self.before[name].to(value), self.adapted[name], share))

    def states(self, shares: Sequence[float]) -> list[Callable[[], None]]:
        """Puts the model into each of these blends."""
        return [partial(self.set, share) for share in shares]

    def _tensors(self) -> dict[str, torch.Tensor]:
        parts = {"backbone": self.model.backbone.state_dict(), "method": self.model.method.state_dict()}
        return {name: parts[name.split(".", 1)[0]][name.split(".", 1)[1]] for name in self.before}


def way_of(model: AdaptedCLIP) -> Blend:
    """The way from a model to zero-shot; where what was learned has norms (DoRA), that of a copy with merged weights.

    Raises:
        ExportError: there is none.
    """
    try:
        return Blend(model)
    except ExportError:
        if not folds(model.method):
            raise
        method, backbone = deepcopy((model.method, model.backbone), {id(model.backbone.preprocess): model.backbone.preprocess})
        return Blend(folded(AdaptedCLIP(backbone, method, model.about, model.batch_size)))


def folded(model: AdaptedCLIP) -> AdaptedCLIP:
    """The model with what was learned written into its weights, where the method can; else the model as it is."""
    if not folds(model.method):
        return model
    model.method.fold(model.backbone)
    method = Full()
    method.attach(model.backbone, model.classes)
    model.backbone.requires_grad_(False)
    return AdaptedCLIP(model.backbone, method.eval(), model.about, model.batch_size)


def folds(method: Method) -> bool:
    """Whether what a method learns can be written into plain CLIP weights."""
    return type(method).fold is not Method.fold


def explored(
    measure: Callable[[Sequence[float]], list[Point]], keep: float | None = None, balanced: bool = False
) -> tuple[list[Point], float]:
    """Measure the blends of `SHARES`, and choose one; where `keep` ends between two of them, those between are measured too.

    Args:
        measure: gives the point of each share.
        keep: as in `chosen`.
        balanced: as in `chosen`.

    Returns:
        The points in order of share, and the share that is chosen.
    """
    points = measure(SHARES)
    share = chosen(points, keep, balanced)
    if keep is not None and share < chosen(points, None, balanced):
        low, high = (points[SHARES.index(share) + i] for i in (0, 1))
        if not _keeps(high, points[0], keep):
            step = (high.share - low.share) / PARTS
            points = sorted([*points, *measure([round(low.share + i * step, 3) for i in range(1, PARTS)])])
            share = chosen(points, keep, balanced)
    return points, share


def chosen(points: Sequence[Point], keep: float | None = None, balanced: bool = False) -> float:
    """Pick a share.

    Args:
        points: in order of share, zero-shot first.
        keep: the least share of zero-shot's score on each guard that may be left.
        balanced: whether the guards' mean counts as much as validation.

    Returns:
        The share of the best score among those that keep enough; of equals the one nearest to zero-shot, which forgets least.
    """
    allowed = [point for point in points if keep is None or _keeps(point, points[0], keep)]
    return max(
        allowed, key=lambda one: (one.validation + fmean(one.guards) if balanced and one.guards else one.validation, -one.share)
    ).share


def _keeps(point: Point, zero_shot: Point, keep: float) -> bool:
    return all(score >= keep * before for score, before in zip(point.guards, zero_shot.guards, strict=True))


def checked_keep(keep: float | None, key: str) -> float | None:
    """Refuse what is not in 0..1.

    Raises:
        ConfigError: with the rule.
    """
    if keep is not None and not 0 <= keep <= 1:
        raise ConfigError(f"{key} {keep:g} is not in 0..1. It is a share of the guards' zero-shot scores: take 0.9.")
    return keep


def checked_share(blend: float | str | None) -> float | str | None:
    """Refuse what is neither `auto` nor in 0..1.

    Raises:
        ConfigError: with the rule.
    """
    if isinstance(blend, float) and not 0 <= blend <= 1:
        raise ConfigError(f"--blend {blend:g} is not in 0..1: 0 is zero-shot, 1 the adapted model. Take 0.5, or auto.")
    return blend
