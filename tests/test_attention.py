"""Split attention: outputs as before, for every kind of it, and back again bit for bit."""

from copy import deepcopy
from typing import Any

import open_clip
import pytest
import timm
import torch
from conftest import ALL_FAMILIES, images_for
from open_clip.transformer import Attention, AttentionalPooler, ResidualAttentionBlock
from torch import Tensor, nn

from cliptune import attention
from cliptune.attention import SplitAttention
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.projections import JoinedProjections

TEXTS = ["a photo of a cat", "the number seven"]
CLOSE = {"atol": 3e-6, "rtol": 0}


@pytest.fixture(params=ALL_FAMILIES)
def backbone(request: pytest.FixtureRequest, tiny: dict[str, str]) -> Backbone:
    """A frozen backbone of every family."""
    return Backbone(tiny[request.param]).eval().requires_grad_(False)


@torch.no_grad()
def rows(backbone: Backbone) -> list[Tensor]:
    return [backbone.encode_image(images_for(backbone, 3)), backbone.encode_text(backbone.preprocess.tokenize(TEXTS))]


def test_a_split_tower_gives_the_same_rows(backbone: Backbone) -> None:
    before = rows(backbone)
    attention.split(backbone.model)
    assert any(isinstance(module, SplitAttention) for module in backbone.modules())
    for found, wanted in zip(rows(backbone), before, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE)


def test_folded_back_every_name_bit_and_row_is_as_before(backbone: Backbone) -> None:
    state, before = {k: v.clone() for k, v in backbone.state_dict().items()}, rows(backbone)
    kinds = [type(module) for module in backbone.modules()]
    attention.split(backbone.model)
    attention.fold(backbone.model)
    assert [type(module) for module in backbone.modules()] == kinds
    assert list(backbone.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
    assert all(torch.equal(found, wanted) for found, wanted in zip(rows(backbone), before, strict=True))


def test_a_copy_and_a_tower_that_was_moved_give_the_same_rows(backbone: Backbone) -> None:
    attention.split(backbone.model)
    before = rows(backbone)
    for other in (deepcopy(backbone), backbone.double().float()):
        assert all(torch.equal(found, wanted) for found, wanted in zip(rows(other), before, strict=True))


def test_split_projections_share_the_originals_memory(vit: Backbone) -> None:
    old: Any = vit.model.visual.transformer.resblocks[0].attn
    start = old.in_proj_weight.data_ptr()
    attention.split(vit.model)
    qkv: Any = vit.model.visual.transformer.resblocks[0].attn.qkv
    assert qkv.q.weight.data_ptr() == start
    assert qkv.v.weight.data_ptr() == start + 2 * qkv.q.weight.nbytes


def test_changed_weights_are_used_and_folded(vit: Backbone) -> None:
    attention.split(vit.model)
    attn: Any = vit.model.visual.transformer.resblocks[0].attn
    new = torch.randn_like(attn.qkv.k.weight)
    attn.qkv.k.weight.data = new  # another memory: not one matrix any more
    before = rows(vit)
    attention.fold(vit.model)
    width = len(new)
    assert torch.equal(vit.model.visual.transformer.resblocks[0].attn.in_proj_weight[width : 2 * width], new)
    for found, wanted in zip(rows(vit), before, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE)


def split_alone(module: nn.Module) -> nn.Module:
    holder = nn.ModuleDict({"attn": module}).eval()
    attention.split(holder)
    return holder["attn"]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "padding", "per head"])
@torch.no_grad()
def test_masks_mean_what_they_mean_to_multihead_attention(mask: str, batch_first: bool) -> None:
    theirs = nn.MultiheadAttention(32, 4, batch_first=batch_first).eval()
    x = torch.randn((3, 5, 32) if batch_first else (5, 3, 32))
    causal = torch.full((5, 5), float("-inf")).triu(1)
    padding = torch.tensor([[False, False, False, False, True]]).expand(3, -1)
    given: dict[str, Any] = {
        "none": {},
        "causal": {"attn_mask": causal},
        "boolean": {"attn_mask": causal.isinf()},
        "padding": {"key_padding_mask": padding},
        "per head": {"attn_mask": causal.expand(12, -1, -1)},
    }[mask]
    expected = theirs(x, x, x, need_weights=False, **given)[0]
    torch.testing.assert_close(split_alone(theirs)(x, x, x, need_weights=False, **given)[0], expected, **CLOSE)


@torch.no_grad()
def test_cross_attention_and_keys_of_another_width() -> None:
    block = ResidualAttentionBlock(32, 4, is_cross_attention=True).eval()
    pooler = AttentionalPooler(32, 24, n_head=4, n_queries=5).eval()
    x, other, narrow = torch.randn(2, 6, 32), torch.randn(2, 9, 32), torch.randn(2, 9, 24)
    expected = block(x, k_x=other, v_x=other), pooler(narrow)
    attention.split(block)
    attention.split(pooler)
    assert isinstance(block.attn, SplitAttention)
    assert isinstance(pooler.attn, SplitAttention)
    for found, wanted in zip((block(x, k_x=other, v_x=other), pooler(narrow)), expected, strict=True):
        torch.testing.assert_close(found, wanted, **CLOSE)
    state = pooler.state_dict()
    attention.fold(pooler)
    assert "attn.k_proj_weight" in pooler.state_dict()
    assert "attn.k_proj_weight" not in state
    torch.testing.assert_close(pooler(narrow), expected[1], **CLOSE)


@pytest.mark.parametrize("arguments", [{}, {"qk_norm": True}, {"inner_norm": True}, {"qkv_bias": False}])
@torch.no_grad()
def test_open_clips_own_attention_is_split_too(arguments: dict[str, Any]) -> None:
    theirs = Attention(32, 4, **arguments).eval()
    x, mask = torch.randn(3, 5, 32), torch.full((5, 5), float("-inf")).triu(1)
    expected = theirs(x, attn_mask=mask)
    ours = split_alone(theirs)
    assert isinstance(ours, SplitAttention)
    torch.testing.assert_close(ours(x, attn_mask=mask), expected, **CLOSE)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Attention(32, 4, scaled_cosine=True), "open_clip's Attention with logit_scale"),
        (Attention(32, 4, scale_heads=True), "with head_scale"),
        (nn.MultiheadAttention(32, 4, add_bias_kv=True), "torch's MultiheadAttention with bias_k, bias_v"),
        (nn.MultiheadAttention(32, 4, add_zero_attn=True), "with add_zero_attn"),
    ],
)
def test_an_attention_of_unknown_structure_is_refused_by_name(module: nn.Module, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"{named}.*, which cannot be split\. Use method: Full"):
        split_alone(module)


class Later(Attention):
    """What a later open_clip might have."""

    def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
        return super().forward(x)


def test_an_attention_that_is_called_in_another_way_is_refused() -> None:
    with pytest.raises(ConfigError, match="Later with the argument rope, which cannot be split"):
        split_alone(Later(32, 4))


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva_giant_patch14_224", "swinv2_tiny_window8_256", "vit_tiny_patch16_224"])
@torch.no_grad()
def test_timms_fused_projections_are_live(name: str) -> None:
    shape: dict[str, Any] = {"depths": (1, 1), "img_size": 64, "window_size": 4} if "swin" in name else {"depth": 1, "img_size": 32}
    shape |= {"embed_dim": 48, "num_heads": (2, 4) if "swin" in name else 2}
    model = timm.create_model(name, **shape).eval()
    x = torch.randn(2, 3, shape["img_size"], shape["img_size"])
    expected, state = model(x), {k: v.clone() for k, v in model.state_dict().items()}
    attention.split(model)
    joined = [module for module in model.modules() if isinstance(module, JoinedProjections)]
    assert joined
    torch.testing.assert_close(model(x), expected, atol=3e-6, rtol=1e-5)
    hooked: list[int] = []
    joined[0].q.register_forward_hook(lambda *_: hooked.append(1))
    model(x)
    assert hooked
    attention.fold(model)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(x), expected)


def test_a_fused_linear_that_is_passed_by_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.q_bias = nn.Linear(8, 24, bias=False), nn.Parameter(torch.zeros(8))

    with pytest.raises(ConfigError, match=r"attn\.qkv passes by its Linear's forward \(Odd\).*Set targets to \[out, mlp\]"):
        split_alone(Odd())


def test_gradients_through_split_attention_are_those_of_the_original() -> None:
    theirs = open_clip.transformer.Transformer(32, 2, 4)
    ours = deepcopy(theirs)
    attention.split(ours)
    x = torch.randn(2, 5, 32, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    theirs(x).square().sum().backward()
    ours(y).square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad, atol=1e-4, rtol=1e-5)
