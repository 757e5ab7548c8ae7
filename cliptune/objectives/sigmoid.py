"""SigLIP's loss: each image and each text of the batch are asked whether they belong together, one pair at a time."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cliptune.backbone import SCALES, Backbone
from cliptune.distributed import total, world
from cliptune.objectives.base import IDENTITIES, Objective, StepRows, identity_columns
from cliptune.objectives.positives import Positives
from cliptune.objectives.pull import Pull
from cliptune.optim import Group
from cliptune.similarity import exact, wide

NEWTON_STEPS = 50


class Sigmoid(Objective):
    """The pairwise sigmoid loss (Zhai et al. 2023, SigLIP, algorithm 1) over the batch of all processes, with learned scale and bias.

    With all pairs distinct it is open_clip's `SigLipLoss`. A pair of equals counts as a match. Hard negatives of the data are further
    pairs that do not belong together. Each process compares its images with all texts in blocks.

    A backbone without a bias gets one in here, which starts where the first batch's loss over pairs is least: at 0 all pairs of a
    pretrained CLIP would be called matches, and the first steps would tear the towers apart. Zero-shot scores do not depend on it.

    Args:
        same: see `Contrastive`.
        learn: let scale and bias learn, whatever the method does; the bias of a backbone that has none always learns.
    """

    needs = frozenset(["pairs"])
    bias: nn.Parameter | None  # [1], what is learned beside the origin
    origin: Tensor  # [1], where it started; not written into the parameter, of which FSDP holds only a part
    placed: Tensor

    def __init__(self, same: Sequence[str] = IDENTITIES, learn: bool = True) -> None:
        super().__init__()
        self.columns = identity_columns("Sigmoid", same)
        self.learn, self._first = learn, True
        self.register_parameter("bias", None)

    def attach(self, backbone: Backbone, counts: list[int] | None = None) -> None:
        """Let scale and bias learn; make a bias where the backbone has none."""
        self._by_method = backbone.model.logit_scale.requires_grad
        if backbone.model.logit_bias is None:
            self.bias = nn.Parameter(torch.zeros(1, device=backbone.mean.device))
            self.register_buffer("origin", torch.zeros(1, device=backbone.mean.device))
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
        return [f"model.{name}" for name in SCALES if self.learn and getattr(backbone.model, name) is not None]

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss of a batch of pairs; see `Objective.forward`."""
        positives = Positives(rows, self.columns)
        images, texts, extra, scale = rows.images.float(), rows.all_texts, rows.all_negatives, rows.scale.float()
        with exact(images.device):
            if self.bias is not None and self._first:
                self._first = False
                if not self.placed:  # by an earlier run that this one goes on with
                    self.origin.copy_(best_bias(images, texts, scale, positives))
                    self.placed.fill_(True)
            bias = rows.bias if self.bias is None else self.origin + self.bias
            bias = scale.new_zeros(1) if bias is None else bias.float()
            return _Pairwise.apply(images, texts, extra, scale, bias, positives)  # type: ignore[no-any-return]


@torch.no_grad()
def best_bias(images: Tensor, texts: Tensor, scale: Tensor, positives: Positives) -> Tensor:
    """[1]: where the loss of the pairs is least, by Newton's method: the mean probability is then the share of matches."""
    wanted, kind = positives.counts.sum(), wide(images.device)
    own = (images * texts[positives.start : positives.start + positives.own]).sum(dim=1)
    value = -scale.to(kind) * total(own.to(kind).sum()) / positives.total  # what matches say is then undecided
    for _ in range(NEWTON_STEPS):
        sums = torch.zeros(2, dtype=kind, device=images.device)
        for part in positives.parts():
            chance = ((images[part] * scale) @ texts.T + value.float()).sigmoid_()
            sums += torch.stack([chance.sum(dtype=kind), (chance * (1 - chance)).sum(dtype=kind)])
        sums = total(sums)
        step = (wanted - sums[0]) / sums[1].clamp(min=1e-6)
        value = value + step.clamp(-5, 5)
        if step.abs() < 1e-6:
            break
    most = scale + 10  # beyond, every pair is one kind: so it is where all of a batch match
    return value.float().clamp(-most, most)


class _Pairwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, extra: Tensor | None, scale: Tensor, bias: Tensor, positives: Positives) -> Tensor:
        pull = Pull(images, texts, scale, ctx.needs_input_grad[1])
        beyond = None if extra is None else Pull(images, extra, scale, ctx.needs_input_grad[2])
        of_bias, value = images.new_zeros(()), images.new_zeros((), dtype=wide(images.device))
        for part in positives.parts():
            scaled = images[part] * scale
            logits = torch.addmm(bias, scaled, texts.T)
            said, slope = _of_matches(logits, positives, part)
            value += said
            of_bias += slope.sum()
            pull.add(part, slope)
            if extra is not None and beyond is not None:
                more, hidden = torch.addmm(bias, scaled, extra.T), positives.hidden(part)
                more = more if hidden is None else more.masked_fill_(hidden, -torch.inf)
                value += F.softplus(more).sum(dtype=value.dtype)
                slope = more.sigmoid_()
                of_bias += slope.sum()
                beyond.add(part, slope)
        of_images, of_scale = pull.of_images, pull.of_scale
        if beyond is not None:
            of_images, of_scale = of_images + beyond.of_images, of_scale + beyond.of_scale
        found = (of_images * scale, pull.of_others, None if beyond is None else beyond.of_others)
        ctx.save_for_backward(*found, of_scale.reshape(scale.shape), of_bias.reshape(bias.shape))
        ctx.factor = world() / positives.total
        return (value * ctx.factor).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        factor = gradients[0] * ctx.factor
        return (*(None if part is None else part * factor for part in ctx.saved_tensors), None)


def _of_matches(logits: Tensor, positives: Positives, part: slice) -> tuple[Tensor, Tensor]:
    """The loss of some images with all texts, and its gradient by the logits, [b, N], in the logits' memory."""
    value = F.softplus(logits).sum(dtype=wide(logits.device))
    if positives.twins:
        match = positives.block(part)
        value -= logits.masked_fill(~match, 0).sum(dtype=value.dtype)
        return value, logits.sigmoid_().sub_(match.float())
    own = positives.start + part.start
    value -= logits.diagonal(own).sum(dtype=value.dtype)
    logits.sigmoid_().diagonal(own).sub_(1)
    return value, logits
