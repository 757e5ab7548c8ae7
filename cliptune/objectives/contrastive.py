"""Symmetric InfoNCE in which equals are no negatives."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from cliptune.errors import ConfigError
from cliptune.objectives.base import IDENTITIES, Objective, StepRows, check_smoothing, identity_columns
from cliptune.objectives.info_nce import Kind, info_nce
from cliptune.objectives.positives import Positives


class Contrastive(Objective):
    """Symmetric InfoNCE (Radford et al. 2021, fig. 3) over the batch of all processes, in which equals are no negatives.

    With all pairs distinct it is open_clip's `ClipLoss`. Hard negatives of the data are further texts that images are compared with
    (Yuksekgonul et al. 2023, NegCLIP, sec. 4); no image is asked for by them.

    Args:
        same: which identities make an image and a text a match: any of `label`, `caption` (the same words) and `image`. Leave
            `label` out where captions say more than the class, and that more is what shall be learned.
        positives: `each` match shall be as probable as any other (Yang et al. 2022, UniCL, eq. 2 and 3, which is L_out of Khosla et al.
            2020, SupCon, eq. 2); or `any`, the matches together shall be probable (SupCon's L_in, eq. 3, but for a constant).
        label_smoothing: share of the target that is spread over all texts, and over all images.

    Raises:
        ConfigError: a value that is not known or out of range.
    """

    needs = frozenset(["pairs"])

    def __init__(self, same: Sequence[str] = IDENTITIES, positives: Literal["each", "any"] = "each", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.columns = identity_columns("Contrastive", same)
        if positives not in ("each", "any"):
            raise ConfigError(f"Contrastive: positives {positives!r} is not known. Take each or any.")
        check_smoothing("Contrastive", label_smoothing)
        self.kind = Kind(label_smoothing, positives == "any")

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss of a batch of pairs; see `Objective.forward`."""
        return info_nce(rows, Positives(rows, self.columns), self.kind)
