"""Keeping what CLIP knew of each image and text: its rows are the target."""

from typing import Literal

from torch import Tensor

from cliptune.errors import ConfigError
from cliptune.objectives.base import Objective, StepRows, zero


class FeatureDistillation(Objective):
    """Mean squared distance of the rows from the untouched CLIP's rows of the same images, texts and classes.

    Feature distillation as in Yang et al. 2024, "CLIP-KD", with the untouched CLIP as the teacher.

    Args:
        towers: whose rows: `both`, `image` or `text`.
    """

    needs_teacher = True

    def __init__(self, towers: Literal["both", "image", "text"] = "both") -> None:
        super().__init__()
        if towers not in ("both", "image", "text"):
            raise ConfigError(f"FeatureDistillation: towers {towers!r} is not known. Take both, image or text.")
        self.image, self.text = towers != "text", towers != "image"

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss; see `Objective.forward`."""
        teacher = rows.teacher
        assert teacher is not None
        loss = zero(rows)
        if self.image:
            loss = loss + _distance(rows.images, teacher.images) * rows.share
        if self.text and rows.texts is not None and teacher.texts is not None:
            loss = loss + _distance(rows.texts, teacher.texts) * rows.share
        if self.text and rows.classes is not None and teacher.classes is not None:
            loss = loss + _distance(rows.classes, teacher.classes) / len(rows.classes)
        return loss


def _distance(rows: Tensor, wanted: Tensor) -> Tensor:
    """The sum over rows of squared distances."""
    return (rows.float() - wanted.float()).square().sum()
