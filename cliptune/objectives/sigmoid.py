"""SigLIP's loss: each image and each text of the batch are asked whether they belong together, one pair at a time."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cliptune.backbone import Backbone
from cliptune.distributed import total, world
from cliptune.objectives.base import IDENTITIES, Objective, StepRows, identity_columns
from cliptune.objectives.positives import Positives
from cliptune.optim import Group
from cliptune.similarity import exact

NEWTON_STEPS = 100


class Sigmoid(Objective):
    """The pairwise sigmoid loss (Zhai et al. 2023, SigLIP, algorithm 1) over the batch of all processes, with learned scale and bias.

    With all pairs distinct it is open_clip's `SigLipLoss`. A pair of equals counts as a match. Hard negatives of the data are further
    pairs that do not belong together. Each process compares its images with all texts in blocks.

    A backbone without a bias gets one in here, which starts where the first batch's loss is least: at 0 all pairs of a pretrained
    CLIP would be called matches, and the first steps would tear the towers apart. Zero-shot scores do not depend on it.

    Args:
        same: see `Contrastive`.
        learn: let scale and bias learn, whatever the method does; the bias of a backbone that has none always learns.
    """

    needs = frozenset(["pairs"])
    bias: nn.Parameter | None
    placed: Tensor

    def __init__(self, same: Sequence[str] = IDENTITIES, learn: bool = True) -> None:
        super().__init__()
        self.columns = identity_columns("Sigmoid", same)
        self.learn = learn
        self.register_parameter("bias", None)

    def attach(self, backbone: Backbone, counts: list[int] | None = None) -> None:
        """Let scale and bias learn; make a bias where the backbone has none."""
        self._by_method = backbone.model.logit_scale.requires_grad
        if backbone.model.logit_bias is None:
            self.bias = nn.Parameter(torch.zeros(1, device=backbone.mean.device))
            self.register_buffer("placed", torch.zeros(1, dtype=torch.bool, device=backbone.mean.device))
        if self.learn:
            for p in (backbone.model.logit_scale, backbone.model.logit_bias):
                if p is not None:
                    p.requires_grad_(True)

    def groups(self, backbone: Backbone) -> list[Group]:
        """Scale and bias at the base learning rate; neither decays."""
        model = backbone.model
        found = [p for p in (None if self._by_method or not self.learn else model.logit_scale, self.bias) if p is not None]
        if self.learn and model.logit_bias is not None:
            found.append(model.logit_bias)
        return [Group(params=found, lr_factor=1.0, decay=False)] if found else []

    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The backbone's scale and bias."""
        return [name for name in ("model.logit_scale", "model.logit_bias") if self.learn and name in backbone.state_dict()]

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss of a batch of pairs; see `Objective.forward`."""
        positives = Positives(rows, self.columns)
        images, texts, extra, scale = rows.images.float(), rows.all_texts, rows.all_negatives, rows.scale.float()
        with exact(images.device):
            if self.bias is not None and not self.placed:
                place(self.bias, images, texts, scale, positives)
                self.placed.fill_(True)
            bias = rows.bias if self.bias is None else self.bias
            zero = scale.new_zeros(())
            return _Pairwise.apply(images, texts, extra, scale, zero if bias is None else bias.float(), positives)  # type: ignore[no-any-return]


@torch.no_grad()
def place(bias: Tensor, images: Tensor, texts: Tensor, scale: Tensor, positives: Positives) -> None:
    """Set the bias to where the loss is least, by Newton's method with halved steps: the mean probability is then the share of matches."""
    wanted = positives.counts.sum()
    value = -scale.double().reshape(())  # no cosine is above 1: all pairs are called no match
    for _ in range(NEWTON_STEPS):
        sums = torch.zeros(2, dtype=torch.float64, device=images.device)
        for part in positives.parts():
            chance = ((images[part] * scale) @ texts.T + value).sigmoid_()
            sums += torch.stack([chance.sum(dtype=torch.float64), (chance * (1 - chance)).sum(dtype=torch.float64)])
        sums = total(sums)
        step = (wanted - sums[0]) / sums[1].clamp(min=1e-12)
        value = value + step.clamp(-5, 5)
        if step.abs() < 1e-6:
            break
    bias.fill_(float(value))


class _Pairwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, extra: Tensor | None, scale: Tensor, bias: Tensor, positives: Positives) -> Tensor:
        of_images, of_texts = torch.zeros_like(images), torch.zeros_like(texts)
        of_extra = None if extra is None else torch.zeros_like(extra)
        of_scale, of_bias = images.new_zeros(()), images.new_zeros(())
        value = images.new_zeros((), dtype=torch.float64)
        for part in positives.parts():
            scaled = images[part] * scale
            logits = torch.addmm(bias, scaled, texts.T)
            value += F.softplus(logits).sum(dtype=torch.float64)
            if positives.twins:
                match = positives.block(part)
                value -= logits.masked_fill(~match, 0).sum(dtype=torch.float64)
                slope = logits.sigmoid_().sub_(match.float())
            else:
                own = positives.start + part.start
                value -= logits.diagonal(own).sum(dtype=torch.float64)
                slope = logits.sigmoid_()
                slope.diagonal(own).sub_(1)
            pulled = slope @ texts
            of_texts.addmm_(slope.T, scaled)
            of_bias += slope.sum()
            if extra is not None and of_extra is not None:
                more, hidden = torch.addmm(bias, scaled, extra.T), positives.hidden(part)
                more = more if hidden is None else more.masked_fill_(hidden, -torch.inf)
                value += F.softplus(more).sum(dtype=torch.float64)
                beyond = more.sigmoid_()
                pulled.addmm_(beyond, extra)
                of_extra.addmm_(beyond.T, scaled)
                of_bias += beyond.sum()
            of_images[part] = pulled
            of_scale += (pulled * images[part]).sum()
        factor = world() / positives.total
        ctx.save_for_backward(of_images.mul_(scale), of_texts, of_extra, of_scale.reshape(scale.shape), of_bias.reshape(bias.shape))
        ctx.factor = factor
        return (value * factor).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factor = gradients[0] * ctx.factor
        return (*(None if part is None else part * factor for part in ctx.saved_tensors), None)
