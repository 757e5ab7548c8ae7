"""Between zero-shot and adapted: what was learned counts a share.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", sec. 3).
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch

from cliptune.adapted import AdaptedCLIP
from cliptune.described import build
from cliptune.errors import ConfigError, ExportError
from cliptune.methods.base import Method
from cliptune.methods.full import Full

SHARES = tuple(i / 10 for i in range(11))  # of the curve, as Wortsman et al. draw it


class Point(NamedTuple):
    """A blend, measured."""

    share: float
    validation: float  # the score on the run's validation split
    guard: float | None = None  # and on the other data, where one was given


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

    @property
    def states(self) -> list[Callable[[], None]]:
        """Puts the model into each blend of the curve."""
        return [partial(self.set, share) for share in SHARES]

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


def chosen(won: Sequence[float], guards: Iterable[Sequence[float]] = (), keep: float | None = None) -> float:
    """Pick one of `SHARES`.

    Args:
        won: the score of each on validation.
        guards: the scores of each on other data.
        keep: the least share of zero-shot's score on each guard that may be left.

    Returns:
        The share of the best score among those that keep enough; of equals the one nearest to zero-shot, which forgets least.
    """
    lowest = [(scores, (keep or 0.0) * scores[0]) for scores in guards]
    allowed = [i for i in range(len(SHARES)) if keep is None or all(scores[i] >= low for scores, low in lowest)]
    return SHARES[max(allowed, key=lambda i: (won[i], -i))]


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
