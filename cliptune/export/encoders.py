"""Towers as plain modules of one tensor, for formats that hold a graph.

The model is no submodule of theirs, so that a graph takes along only the weights that it uses.
"""

from torch import Tensor, nn

from cliptune.adapted import AdaptedCLIP
from cliptune.methods.base import ClassRows


class ImageEncoder(nn.Module):
    """[B, 3, h, w], normalised, to unit rows [B, D]."""

    def __init__(self, model: AdaptedCLIP) -> None:
        super().__init__()
        self.parts = (model.backbone, model.method)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The rows."""
        backbone, method = self.parts
        return method.image_rows(backbone, pixel_values)


class TextEncoder(nn.Module):
    """[N, L], of the full context, to unit rows [N, D]."""

    def __init__(self, model: AdaptedCLIP) -> None:
        super().__init__()
        self.parts = (model.backbone, model.method)

    def forward(self, input_ids: Tensor) -> Tensor:
        """The rows."""
        backbone, method = self.parts
        return method.text_rows(backbone, input_ids)


class Classifier(nn.Module):
    """[B, 3, h, w], normalised, to logits [B, C]; the class rows are baked in."""

    class_rows: Tensor
    bias: Tensor | None

    def __init__(self, model: AdaptedCLIP) -> None:
        super().__init__()
        self.parts = (model.backbone, model.method)
        found = model.class_rows()[1]
        self.register_buffer("class_rows", found.rows.detach())
        self.register_buffer("bias", None if found.bias is None else found.bias.detach())

    def forward(self, pixel_values: Tensor) -> Tensor:
        """The logits."""
        backbone, method = self.parts
        rows = method.image_rows(backbone, pixel_values)
        return method.logits(backbone, rows, ClassRows(self.class_rows, self.bias))
