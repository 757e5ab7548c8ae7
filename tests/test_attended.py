"""Attention that keeps queries, keys and values alone: torch's values and gradients, and little memory."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune import attended
from cliptune.attended import Attention, attend

B, H, L, D = 3, 2, 6, 4


def parts(queries: int = L, dtype: torch.dtype = torch.float64, length: int = L) -> list[Tensor]:
    """Queries, keys and values as a tower has them: turned, and not in one piece."""
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randn(B, count, H, D, generator=generator, dtype=torch.float64) for count in (queries, length, length))
    return [part.to(dtype).transpose(1, 2).requires_grad_() for part in drawn]


CAUSAL = torch.full((L, L), float("-inf"), dtype=torch.float64).triu(1)
MASKS = {"none": None, "causal": CAUSAL, "each its own": CAUSAL + torch.linspace(0, 1, B * H * L * L).double().view(B, H, L, L)}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("queries", [L, 1])
def test_values_and_gradients_are_torchs(mask: str, queries: int) -> None:
    q, k, v = parts(queries)
    given = None if MASKS[mask] is None else MASKS[mask][..., -queries:, :]  # type: ignore[index]
    found, wanted = Attention.apply(q, k, v, given), F.scaled_dot_product_attention(q, k, v, attn_mask=given)
    torch.testing.assert_close(found, wanted)
    weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
    torch.testing.assert_close(*(torch.autograd.grad((said * weights).sum(), (q, k, v)) for said in (found, wanted)))


def kept(call: Any) -> list[tuple[int, ...]]:
    """The shapes of what is kept for the backward pass, in order."""
    shapes: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        assert call().dtype == torch.bfloat16
    return shapes


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_in_bfloat16_training_only_they_are_kept(kind: torch.dtype) -> None:
    q, k, v = (part.detach().clone().requires_grad_() for part in parts(dtype=kind, length=64))
    assert [shape for shape in kept(lambda: attend(q, k, v)) if 64 in shape] == [(B * H, 64, D), (B * H, 64, D)]


def test_elsewhere_it_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = parts(dtype=torch.float32)
    called: list[str] = []
    monkeypatch.setattr(attended.Attention, "apply", lambda *given: called.append("ours") or given[0])
    attend(q, k, v)  # in float32
    with torch.autocast("cpu", torch.bfloat16):
        attend(q, k, v, dropout=0.5)
        attend(q, k, v, torch.zeros(L, L, requires_grad=True))
        attend(q.detach(), k.detach(), v.detach())
        with torch.no_grad():
            attend(q, k, v)
        assert not called
        attend(q, k, v)
    assert called == ["ours"]
