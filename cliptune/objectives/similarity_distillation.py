"""Keeping what CLIP knew of similarities: its probabilities among the texts of a batch, or among the classes, are the target."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cliptune.distributed import world
from cliptune.errors import ConfigError
from cliptune.objectives.base import Objective, StepRows
from cliptune.objectives.lse import ColumnLSE
from cliptune.objectives.positives import Positives
from cliptune.objectives.pull import Pull
from cliptune.similarity import exact, similarity, wide


class SimilarityDistillation(Objective):
    """Kullback-Leibler divergence of the model's probabilities from the untouched CLIP's (Hinton et al. 2015, sec. 2).

    Among the texts of the batch of all processes both ways (Yang et al. 2024, "CLIP-KD": contrastive relational distillation); among the
    classes where there are class rows. Beside an objective on the new domain it holds on to the old one (Zheng et al. 2023, ZSCL).

    Args:
        temperature: what both models' logits are divided by; the loss is multiplied by its square, so that its gradient stays of a size.
    """

    needs_teacher = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"SimilarityDistillation: temperature {temperature} is not positive. Take 1 to 4.")
        self.temperature = temperature

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss; see `Objective.forward`."""
        teacher = rows.teacher
        assert teacher is not None
        parts = []
        if rows.texts is not None:
            with exact(rows.images.device):
                ours = rows.images.float(), rows.all_texts, rows.scale.float() / self.temperature
                theirs = teacher.images.float(), teacher.all_texts, teacher.scale.float() / self.temperature
                parts.append(_BothWays.apply(*ours, *theirs, Positives(rows, [])))
        if rows.classes is not None and teacher.classes is not None:
            said, wanted = (
                (similarity(r.images, r.classes, r.scale, r.class_bias) / self.temperature).log_softmax(dim=1)  # type: ignore[arg-type]
                for r in (rows, teacher)
            )
            parts.append(F.kl_div(said, wanted, log_target=True, reduction="sum") * rows.share)
        return sum(parts[1:], parts[0]) * self.temperature**2


class _Known(NamedTuple):
    """Logsumexp of rows [B] and columns [N], the model's and the teacher's."""

    row: Tensor
    column: Tensor
    taught_row: Tensor
    taught_column: Tensor


class _BothWays(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, taught_images: Tensor, taught_texts: Tensor, taught_scale: Tensor,
        places: Positives,
    ) -> Tensor:  # fmt: skip
        total, device = places.total, images.device
        column, taught_column = ColumnLSE(total, device), ColumnLSE(total, device)
        apart = ColumnLSE(total, device)  # its sum is weighted by how far the two models' logits are apart
        row, taught_row = images.new_empty(len(images)), images.new_empty(len(images))
        value = images.new_zeros((), dtype=wide(device))
        for part in places.parts():
            logits, taught = (images[part] * scale) @ texts.T, (taught_images[part] * taught_scale) @ taught_texts.T
            row[part], taught_row[part] = logits.logsumexp(dim=1), taught.logsumexp(dim=1)
            column.update(logits)
            taught_column.update(taught)
            further = taught - logits
            apart.update(taught, further)
            value += (row[part] - taught_row[part]).sum()
            value += ((taught - taught_row[part, None]).exp_() * further).sum()
        known = _Known(row, column.over_ranks(), taught_row, taught_column.over_ranks())
        weighted = apart.sum * (apart.most - known.taught_column).exp()  # this process's share of each column's mean
        mine = slice(places.start, places.start + places.own)
        value += weighted.sum() + (known.column - known.taught_column)[mine].sum()
        ctx.save_for_backward(images, texts, scale, taught_images, taught_texts, taught_scale)
        ctx.known, ctx.places = known, places
        return (value * (world() / (2 * total))).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, scale, taught_images, taught_texts, taught_scale = ctx.saved_tensors
        places: Positives = ctx.places
        known: _Known = ctx.known
        factor = gradients[0] * (world() / (2 * places.total))
        pull = Pull(images, texts, scale, ctx.needs_input_grad[1])
        with exact(images.device):
            for part in places.parts():
                logits, taught = (images[part] * scale) @ texts.T, (taught_images[part] * taught_scale) @ taught_texts.T
                slope = (logits - known.row[part, None]).exp_() + (logits - known.column).exp_()
                slope -= (taught - known.taught_row[part, None]).exp_()
                slope -= (taught - known.taught_column).exp_()
                pull.add(part, slope)
        of_texts = None if pull.of_others is None else pull.of_others * factor
        return pull.of_images * (scale * factor), of_texts, (pull.of_scale * factor).reshape(scale.shape), None, None, None, None
