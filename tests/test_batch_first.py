"""Attention that computes batch first says what torch's says, however it is called."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cliptune import batch_first
from cliptune.backbone import Backbone
from cliptune.batch_first import BatchFirst

B, L, W, H = 3, 5, 16, 4


def pair(**options: Any) -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    """torch's, and ours with the same weights; float64, where rounding hides nothing."""
    theirs = nn.MultiheadAttention(W, H, batch_first=True, **options).double()
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.3)
    ours = nn.ModuleList([copy.deepcopy(theirs)])
    batch_first.install(ours)
    return theirs, ours[0]  # type: ignore[return-value]


def inputs(length: int = L) -> Tensor:
    return torch.randn(B, length, W, dtype=torch.float64)


CAUSAL = torch.full((L, L), float("-inf")).triu(1).double()
CALLS: dict[str, dict[str, Any]] = {
    "open_clip's": {"need_weights": False},
    "masked": {"need_weights": False, "attn_mask": CAUSAL},
    "blocked": {"need_weights": False, "attn_mask": CAUSAL != 0},
    "each its own": {"need_weights": False, "attn_mask": CAUSAL + torch.randn(B * H, L, L).double()},
    "with weights": {},
    "padded": {"need_weights": False, "key_padding_mask": torch.tensor([[False] * L, [False] * 3 + [True] * 2, [False] * L])},
    "causal": {"need_weights": False, "attn_mask": CAUSAL, "is_causal": True},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_torchs(call: str, bias: bool) -> None:
    theirs, ours = pair(bias=bias)
    assert type(ours) is BatchFirst
    x, queries = inputs(), inputs(2)
    for q in (x, queries) if not CALLS[call].keys() & {"attn_mask"} else (x,):
        q, y = (t.clone().requires_grad_() for t in (q, x))  # q is another tensor, also where it has the same numbers
        found, wanted = (module(q, y, y, **CALLS[call]) for module in (ours, theirs))
        torch.testing.assert_close(found, wanted)
        gradients = [torch.autograd.grad(said[0].square().sum(), (q, y), retain_graph=True) for said in (found, wanted)]
        torch.testing.assert_close(*gradients)
    found, wanted = (module(x, x, x, **CALLS[call]) for module in (ours, theirs))
    torch.testing.assert_close(found, wanted)
    for said in (found, wanted):
        said[0].square().sum().backward()
    for (name, own), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=name)


def test_dropout_is_drawn_in_training_alone() -> None:
    _, ours = pair(dropout=0.5)
    x = inputs()
    twice = [ours(x, x, x, need_weights=False)[0] for _ in range(2)]
    assert not torch.equal(*twice)
    ours.eval()
    twice = [ours(x, x, x, need_weights=False)[0] for _ in range(2)]
    assert torch.equal(*twice)


@pytest.mark.parametrize(
    "other",
    [
        nn.MultiheadAttention(W, H),
        nn.MultiheadAttention(W, H, kdim=8, vdim=8, batch_first=True),
        nn.MultiheadAttention(W, H, add_bias_kv=True, batch_first=True),
        nn.MultiheadAttention(W, H, add_zero_attn=True, batch_first=True),
    ],
)
def test_attention_of_another_structure_is_left_alone(other: nn.MultiheadAttention) -> None:
    batch_first.install(nn.ModuleList([other]))
    assert type(other) is nn.MultiheadAttention


def test_towers_compute_so_and_are_plain_open_clip_again_where_that_is_wanted(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    images, tokens = torch.randn(2, 3, 32, 32), vit.preprocess.tokenize(["a gull"])
    plain = copy.deepcopy(vit)
    plain.restore_shapes()
    assert not any(type(module) is BatchFirst for module in plain.modules())
    rows = plain.encode_image(images), plain.encode_text(tokens)

    def refused(*arguments: Any, **options: Any) -> None:
        raise AssertionError("torch's way")

    monkeypatch.setattr(torch.nn.functional, "multi_head_attention_forward", refused)
    with pytest.raises(AssertionError, match="torch's way"):
        plain.train().encode_image(images)
    vit.train()
    for found, wanted in zip((vit.encode_image(images), vit.encode_text(tokens)), rows, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_a_step_in_bfloat16_attends_in_bfloat16_and_leaves_the_settings_as_they_were(vit: Backbone) -> None:
    dtypes: set[torch.dtype] = set()
    vit = copy.deepcopy(vit).train().requires_grad_(True)

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.bmm.default:
                dtypes.add(args[0].dtype)
            return func(*args, **(kwargs or {}))

    images = torch.randn(2, 3, 32, 32)
    assert not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    with Seen(), torch.autocast("cpu", torch.bfloat16):
        vit.encode_image(images)
    assert dtypes == {torch.bfloat16}
    assert not torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    assert torch.backends.cuda.flash_sdp_enabled()
