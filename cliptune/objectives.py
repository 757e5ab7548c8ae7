"""What is minimised: losses on unit rows, pure tensors, in float32 under any precision.

`needs` says what the text rows are: `pairs`, a row for each image's own text, or `classes`, a row for each class.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cliptune.described import Described
from cliptune.errors import ConfigError, did_you_mean

IDENTITIES = ("label", "caption", "image")  # the columns of `target` where text rows are pairs; -1 is "not known"


def similarity(image_rows: Tensor, text_rows: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """The formula that every part of cliptune shares.

    Args:
        image_rows: [B, D].
        text_rows: [C, D].
        scale: the factor on the cosines.
        bias: added to each logit.

    Returns:
        [B, C], float32.
    """
    with torch.autocast(image_rows.device.type, enabled=False):
        logits = scale.float() * image_rows.float() @ text_rows.float().T
        return logits if bias is None else logits + bias.float()


class Objective(Described, nn.Module, ABC):
    """Base of the losses."""

    needs: ClassVar[Literal["pairs", "classes"]]

    @abstractmethod
    def forward(self, image_rows: Tensor, text_rows: Tensor, target: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Give the loss.

        Args:
            image_rows: [B, D], of unit length.
            text_rows: [B, D] for pairs, [C, D] for classes, of unit length.
            target: [B, 3] identities (`IDENTITIES`) for pairs, [B] class numbers for classes, -1 not known.
            scale: the factor on the cosines.
            bias: added to the logits, or None.

        Returns:
            A scalar, float32.
        """


class Contrastive(Objective):
    """Symmetric InfoNCE (Radford et al. 2021, fig. 3) in which equals are no negatives.

    The texts that match an image share its target evenly, and so do the images that match a text (Yang et al. 2022, UniCL, eq. 2
    and 3). With all pairs distinct it is open_clip's `ClipLoss`.

    Args:
        same: which identities make an image and a text a match: any of `label`, `caption` (the same words) and `image`. Leave
            `label` out where captions say more than the class, and that more is what shall be learned.
    """

    needs = "pairs"

    def __init__(self, same: Sequence[str] = IDENTITIES) -> None:
        super().__init__()
        for name in same:
            if name not in IDENTITIES:
                raise ConfigError(f"Contrastive: same has the unknown {name!r}. {did_you_mean(name, IDENTITIES)}")
        self.columns = [IDENTITIES.index(name) for name in same]

    def forward(self, image_rows: Tensor, text_rows: Tensor, target: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Give the loss of a batch of pairs; see `Objective.forward`."""
        logits = similarity(image_rows, text_rows, scale, bias)  # [B, B]
        match = matches(target[:, self.columns]).to(logits.dtype)  # [B, B], symmetric
        share = match / match.sum(dim=1, keepdim=True)
        return (F.cross_entropy(logits, share) + F.cross_entropy(logits.T, share)) / 2


class CrossEntropy(Objective):
    """Cross-entropy over class rows: classification with words.

    Args:
        label_smoothing: share of the target that is spread over all classes.
    """

    needs = "classes"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"CrossEntropy: label_smoothing {label_smoothing} is not in 0..1. Take 0.1, or 0 for none.")
        self.label_smoothing = label_smoothing

    def forward(self, image_rows: Tensor, text_rows: Tensor, target: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Give the loss of a batch of labelled images; see `Objective.forward`."""
        logits = similarity(image_rows, text_rows, scale, bias)  # [B, C]
        total = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing, ignore_index=-1, reduction="sum")
        return total / (target != -1).sum().clamp(min=1)  # reduction="mean" is not a number where no label is known


def matches(identities: Tensor) -> Tensor:
    """Say which pairs of a batch are the same in any identity.

    Args:
        identities: [B, K], -1 where not known.

    Returns:
        [B, B], bool, symmetric, true on the diagonal.
    """
    equal = (identities[:, None] == identities[None]) & (identities[:, None] >= 0)  # [B, B, K]
    return equal.any(dim=-1) | torch.eye(len(identities), dtype=torch.bool, device=identities.device)
