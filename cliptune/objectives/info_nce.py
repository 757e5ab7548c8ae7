"""InfoNCE over all processes, in blocks: neither the matrix of logits nor its gradient is ever there as a whole.

A process holds its own images and all texts. Rows of the matrix are whole here, so an image's normaliser is known at once; a text's is put
together over blocks and processes. The backward pass computes each block again: one product more than the dense loss has, and none of
its passes over memory.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cliptune.distributed import world
from cliptune.objectives.base import StepRows
from cliptune.objectives.lse import ColumnLSE
from cliptune.objectives.positives import Positives
from cliptune.objectives.pull import Pull
from cliptune.similarity import exact, wide


class Kind(NamedTuple):
    """What is asked of a row and a column."""

    smoothing: float  # the share of the target that is spread over all
    any: bool  # that the matches together be probable, instead of each


class Normalisers(NamedTuple):
    """Logsumexp of this process's rows [B] and of all columns [N]: over all, and over the matches where `Kind.any` asks for it."""

    row: Tensor
    column: Tensor
    own_row: Tensor | None
    own_column: Tensor | None


def info_nce(rows: StepRows, positives: Positives, kind: Kind) -> Tensor:
    """The loss; see `Contrastive`."""
    extra = rows.all_negatives
    with exact(rows.images.device):
        return _InfoNCE.apply(rows.images.float(), rows.all_texts, extra, rows.scale.float(), positives, kind)  # type: ignore[no-any-return]


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, texts: Tensor, extra: Tensor | None, scale: Tensor, positives: Positives, kind: Kind) -> Tensor:
        total, device = positives.total, images.device
        column, own_column = ColumnLSE(total, device), ColumnLSE(total, device)
        row, own_row = images.new_empty(len(images)), images.new_empty(len(images))
        value = images.new_zeros((), dtype=wide(device))
        both = kind.any and positives.twins
        for part in positives.parts():
            logits, more = _block(images[part] * scale, texts, extra, positives, part)
            row[part] = logits.logsumexp(dim=1)
            if more is not None:
                row[part] = torch.logaddexp(row[part], more.logsumexp(dim=1))
            column.update(logits)
            value += row[part].sum()
            if both:
                matching = logits.masked_fill(~positives.block(part), -torch.inf)
                own_row[part] = matching.logsumexp(dim=1)
                own_column.update(matching)
                value -= (1 - kind.smoothing) * own_row[part].sum()
            else:
                value -= (1 - kind.smoothing) * _said_of_matches(logits, positives, part)
            if kind.smoothing:
                value -= kind.smoothing * (_mean_row(logits, more).sum() + logits.sum() / total)
        known = column.over_ranks()
        mine = slice(positives.start, positives.start + positives.own)
        value += known[mine].sum()
        found = Normalisers(row, known, own_row if both else None, own_column.over_ranks() if both else None)
        if found.own_column is not None:
            value -= (1 - kind.smoothing) * found.own_column[mine].sum()
        ctx.save_for_backward(images, texts, extra, scale)
        ctx.found, ctx.positives, ctx.kind = found, positives, kind
        return (value * (world() / (2 * total))).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, texts, extra, scale = ctx.saved_tensors
        positives: Positives = ctx.positives
        found: Normalisers = ctx.found
        factor = gradients[0] * (world() / (2 * positives.total))
        pull = Pull(images, texts, scale, ctx.needs_input_grad[1])
        beyond = None if extra is None else Pull(images, extra, scale, ctx.needs_input_grad[2])
        with exact(images.device):
            for part in positives.parts():
                logits, more = _block(images[part] * scale, texts, extra, positives, part)
                pull.add(part, _slope(logits, found, positives, part, ctx.kind, more))
                if more is not None and beyond is not None:
                    beyond.add(part, _slope_of_extra(logits, more, found.row[part], ctx.kind.smoothing))
        of_images, of_scale = pull.of_images, pull.of_scale
        if beyond is not None:
            of_images, of_scale = of_images + beyond.of_images, of_scale + beyond.of_scale
        of_extra = None if beyond is None or beyond.of_others is None else beyond.of_others * factor
        of_texts = None if pull.of_others is None else pull.of_others * factor
        return of_images * (scale * factor), of_texts, of_extra, (of_scale * factor).reshape(scale.shape), None, None


def _block(scaled: Tensor, texts: Tensor, extra: Tensor | None, positives: Positives, part: slice) -> tuple[Tensor, Tensor | None]:
    """The logits of some images [b, N], and of the negatives [b, H], -inf where one is in truth a text of the image's own."""
    logits = scaled @ texts.T
    if extra is None:
        return logits, None
    more, hidden = scaled @ extra.T, positives.hidden(part)
    return logits, more if hidden is None else more.masked_fill_(hidden, -torch.inf)


def _said_of_matches(logits: Tensor, positives: Positives, part: slice) -> Tensor:
    """The sum of the logits of matches, each at its share of its row's and of its column's target."""
    if not positives.twins:
        return 2 * logits.diagonal(positives.start + part.start).sum()
    matching = logits.masked_fill(~positives.block(part), 0)
    return (matching / positives.mine(part)).sum() + (matching / positives.counts).sum()


def _mean_row(logits: Tensor, more: Tensor | None) -> Tensor:
    """[b, 1]: the mean of all that a row holds."""
    summed = logits.sum(dim=1, keepdim=True)
    if more is not None:
        summed = summed + more.masked_fill(~torch.isfinite(more), 0).sum(dim=1, keepdim=True)
    return summed / _width(logits, more)


def _slope(logits: Tensor, found: Normalisers, positives: Positives, part: slice, kind: Kind, more: Tensor | None) -> Tensor:
    """The gradient of the two sums over rows and columns, [b, N]: probability less target, both ways."""
    slope = (logits - found.row[part, None]).exp_()
    slope += (logits - found.column).exp_()
    left = 1 - kind.smoothing
    if not positives.twins:
        slope.diagonal(positives.start + part.start).sub_(2 * left)
    elif found.own_row is None or found.own_column is None:
        slope -= positives.block(part) * (left / positives.mine(part) + left / positives.counts)
    else:
        target = (logits - found.own_row[part, None]).exp_() + (logits - found.own_column).exp_()
        slope -= left * target.masked_fill_(~positives.block(part), 0)
    if kind.smoothing:
        slope -= kind.smoothing * (1 / _width(logits, more) + 1 / positives.total)
    return slope


def _slope_of_extra(logits: Tensor, more: Tensor, row: Tensor, smoothing: float) -> Tensor:
    """The same for the negatives, [b, H], which are in no column's sum."""
    slope = (more - row[:, None]).exp_()
    if smoothing:
        slope -= smoothing * torch.isfinite(more) / _width(logits, more)
    return slope


def _width(logits: Tensor, more: Tensor | None) -> Tensor:
    """[b, 1]: how many texts an image is compared with."""
    width = logits.new_full((len(logits), 1), logits.shape[1])
    return width if more is None else width + torch.isfinite(more).sum(dim=1, keepdim=True)
