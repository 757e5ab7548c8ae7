"""Losses written out over the whole matrix, in float64 and by autograd: what the real ones, in blocks, are compared with."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.objectives.base import CAPTION, IDENTITIES, StepRows

SCALE = 20.0


def unit(count: int, seed: int, width: int = 16) -> Tensor:
    """Random unit rows that want a gradient."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=-1).requires_grad_()


def distinct(count: int) -> Tensor:
    """Identities [count, 3] that are all different."""
    return torch.arange(3 * count).view(count, 3)


def twins(count: int) -> Tensor:
    """Identities with equals of every kind, and with some not known."""
    found = distinct(count)
    found[:, 0] = torch.arange(count) % 4  # classes
    found[1::3, 0] = -1
    found[4, 1], found[5, 2] = found[0, 1], found[2, 2]
    found[3] = -1
    return found


def pairs(count: int = 9, extra: int = 0, identity: Tensor | None = None, **more: Any) -> StepRows:
    """Random pairs; of the negatives one is the caption of the third image."""
    identity = distinct(count) if identity is None else identity
    found: dict[str, Any] = {"texts": unit(count, 1), "identity": identity}
    if extra:
        names = 1000 + torch.arange(extra)
        names[1] = identity[2, CAPTION]
        found |= {"negatives": unit(extra, 2), "negative_identity": names}
    return StepRows(unit(count, 0), torch.tensor([SCALE], requires_grad=True), **found, **more)


def leaves(rows: StepRows) -> list[Tensor]:
    """What a loss of pairs has a gradient for."""
    return [part for part in (rows.images, rows.texts, rows.negatives, rows.scale, rows.bias) if part is not None]


def doubled(rows: StepRows) -> StepRows:
    """The same in float64, with gradients of its own."""
    parts = {name: getattr(rows, name) for name in ("images", "texts", "negatives", "scale", "bias")}
    copies = {name: None if p is None else p.detach().double().requires_grad_() for name, p in parts.items()}
    return StepRows(identity=rows.identity, negative_identity=rows.negative_identity, **copies)  # type: ignore[arg-type]


def matches(identity: Tensor, same: tuple[str, ...] = IDENTITIES) -> Tensor:
    """[N, N], bool."""
    columns = identity[:, [IDENTITIES.index(name) for name in same]]
    equal = (columns[:, None] == columns[None]) & (columns[:, None] >= 0)
    return equal.any(dim=-1) | torch.eye(len(identity), dtype=torch.bool)


def logits_of(rows: StepRows, match: Tensor) -> tuple[Tensor, Tensor]:
    """[N, N], and [N, H] with -inf where a negative is the caption of a match."""
    assert rows.texts is not None
    assert rows.identity is not None
    bias = 0 if rows.bias is None else rows.bias
    logits = rows.scale * rows.images @ rows.texts.T + bias
    if rows.negatives is None or rows.negative_identity is None:
        return logits, logits[:, :0]
    said = (match[:, :, None] & (rows.identity[None, :, CAPTION, None] == rows.negative_identity)).any(dim=1)
    return logits, (rows.scale * rows.images @ rows.negatives.T + bias).masked_fill(said, -torch.inf)


def contrastive(rows: StepRows, same: tuple[str, ...] = IDENTITIES, positives: str = "each", smoothing: float = 0.0) -> Tensor:
    """InfoNCE both ways."""
    assert rows.identity is not None
    match = matches(rows.identity, same)
    logits, more = logits_of(rows, match)
    total = torch.zeros((), dtype=logits.dtype)
    for way, beyond in ((logits, more), (logits.T, more[:, :0])):
        for i, row in enumerate(way):
            seen = beyond[i] if len(beyond.T) else row[:0]
            log_p = torch.cat([row, seen[torch.isfinite(seen)]]).log_softmax(dim=0)
            own = log_p[: len(row)][match[i]]
            said = own.mean() if positives == "each" else own.logsumexp(dim=0)
            total = total - ((1 - smoothing) * said + smoothing * log_p.mean()) / (2 * len(way))
    return total


def sigmoid(rows: StepRows, same: tuple[str, ...] = IDENTITIES) -> Tensor:
    """The pairwise loss."""
    assert rows.identity is not None
    match = matches(rows.identity, same)
    logits, more = logits_of(rows, match)
    signs = torch.where(match, 1.0, -1.0)
    return -(F.logsigmoid(signs * logits).sum() + F.logsigmoid(-more).sum()) / len(match)


def assert_equal(ours: StepRows, loss: Tensor, theirs: StepRows, expected: Tensor, tolerance: float = 1e-6) -> None:
    """Compare losses, and each gradient relative to its greatest number."""
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected.double(), rtol=tolerance, atol=tolerance)
    loss.backward()  # type: ignore[no-untyped-call]
    expected.backward()  # type: ignore[no-untyped-call]
    for mine, other in zip(leaves(ours), leaves(theirs), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        largest = float(other.grad.abs().max())
        torch.testing.assert_close(mine.grad.double(), other.grad.double(), rtol=0, atol=tolerance * max(largest, 0.1))
