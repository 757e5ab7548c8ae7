"""Between zero-shot and adapted: what was learned counts a share.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", sec. 3).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from cliptune.adapted import AdaptedCLIP
from cliptune.described import build
from cliptune.errors import ConfigError

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


def best(curve: Sequence[Point]) -> Point:
    """The point of the best validation score; of equals the one nearest to zero-shot, which forgets least."""
    return max(curve, key=lambda point: (point.validation, -point.share))


def checked_share(blend: float | str | None) -> float | str | None:
    """Refuse what is neither `auto` nor in 0..1.

    Raises:
        ConfigError: with the rule.
    """
    if isinstance(blend, float) and not 0 <= blend <= 1:
        raise ConfigError(f"--blend {blend:g} is not in 0..1: 0 is zero-shot, 1 the adapted model. Take 0.5, or auto.")
    return blend


def draw(curve: Sequence[Point], chosen: float, monitored: str, guarded: str, file: Path) -> None:
    """Draw the curve: the score over the share, and with a guard that one too."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    shares = [point.share for point in curve]
    axis.plot(shares, [point.validation for point in curve], color="#1f4e79", marker="o", markersize=4, label=f"validation, {monitored}")
    if all(point.guard is not None for point in curve):
        axis.plot(shares, [point.guard for point in curve], color="#c62828", marker="s", markersize=4, label=f"guard, {guarded}")  # type: ignore[misc]
    axis.axvline(chosen, color="#9aa5b1", linestyle=":", label=f"exported: {chosen:g}")
    axis.set(xlabel="share of what was learned (0: zero-shot, 1: adapted)", ylabel="score")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(file, dpi=120)
    plt.close(figure)
