"""The last block computes what is pooled and nothing else; rows and gradients are open_clip's."""

import copy
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cliptune import attention, blocks, pooled
from cliptune.backbone import Backbone
from cliptune.pooled import PooledBlock, PooledTransformer

CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def both(tiny: dict[str, str]) -> tuple[Backbone, Any]:
    """A backbone, and open_clip's own model with the same weights; in float64, where rounding hides nothing."""
    backbone = Backbone(tiny["vit"]).double()
    return backbone, open_clip.create_model(tiny["vit"], require_pretrained=True).double()


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def texts(backbone: Backbone) -> Tensor:
    return backbone.preprocess.tokenize(["a gull", "two gulls over a grey sea", ""])


def rows_of(encode: Any, *inputs: Tensor) -> Tensor:
    return nn.functional.normalize(encode(*inputs), dim=-1)


def test_rows_and_gradients_are_open_clips(both: tuple[Backbone, Any]) -> None:
    backbone, plain = both
    tokens = texts(backbone)
    padded = nn.functional.pad(tokens, (0, plain.context_length - tokens.shape[1]))
    found = [backbone.encode_image(images()), backbone.encode_text(tokens), backbone.encode_text(padded)]
    wanted = [rows_of(plain.encode_image, images()), *[rows_of(plain.encode_text, padded)] * 2]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.float(), **CLOSE)
    sum((one * torch.arange(one.shape[1])).sum() for one in found).backward()  # type: ignore[union-attr]
    sum((one * torch.arange(one.shape[1])).sum() for one in wanted).backward()  # type: ignore[union-attr]
    theirs = dict(plain.named_parameters())
    for name, p in backbone.model.named_parameters():
        if p.grad is not None or theirs[name].grad is not None:
            torch.testing.assert_close(p.grad, theirs[name].grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("way", ["split", "recomputed", "copied"])
def test_however_the_blocks_are_run(way: str, both: tuple[Backbone, Any]) -> None:
    backbone, plain = both
    if way == "split":
        for name, tower in backbone.towers().items():
            attention.split(tower, ("visual", "logit_scale") if name == "text" else ())
    if way == "recomputed":
        blocks.prepare(backbone, recompute=True, compiled=False)
    if way == "copied":
        kept = backbone
        backbone = copy.deepcopy(backbone)
        with torch.no_grad():
            for p in kept.parameters():
                p.zero_()  # a copy that still ran the original's blocks would see it
    tokens = texts(backbone)
    padded = nn.functional.pad(tokens, (0, plain.context_length - tokens.shape[1]))
    torch.testing.assert_close(backbone.encode_image(images()), rows_of(plain.encode_image, images()).float(), **CLOSE)
    torch.testing.assert_close(backbone.encode_text(tokens), rows_of(plain.encode_text, padded).float(), **CLOSE)
    if way != "copied":
        backbone.encode_image(images()).sum().backward()
        assert all(p.grad is not None for p in backbone.model.visual.parameters())


def test_the_rest_is_not_computed(both: tuple[Backbone, Any]) -> None:
    backbone, plain = both
    counts = []
    for model in (backbone.model, plain):
        with FlopCounterMode(display=False) as counter:
            model.encode_image(images())
        counts.append(counter.get_total_flops())
    width, tokens = 32, 17
    assert (
        counts[1] - counts[0] == 2 * 3 * (tokens - 1) * 10 * width * width
    )  # of each product but keys and values; attention's are not counted


def test_masks_of_packed_texts(both: tuple[Backbone, Any]) -> None:
    block = both[0].model.transformer.resblocks[-1]
    x, heads = torch.randn(2, 5, 32, dtype=torch.float64), block.attn.num_heads
    mask = torch.zeros(2, 5, 5, dtype=torch.float64).masked_fill_(torch.rand(2, 5, 5) < 0.4, float("-inf"))
    mask.diagonal(dim1=1, dim2=2).zero_()
    places = torch.tensor([[4, 1], [0, 3]])
    whole = mask.repeat_interleave(heads, dim=0)
    torch.testing.assert_close(block(x, attn_mask=whole, places=places), pooled.picked(block(x, attn_mask=whole), places))
    torch.testing.assert_close(block(x, attn_mask=mask[0], places=places), pooled.picked(block(x, attn_mask=mask[0]), places))


def test_other_towers_are_left_alone(tiny: dict[str, str]) -> None:
    kinds = {
        family: [type(getattr(tower, "transformer", None)) is PooledTransformer for tower in Backbone(tiny[family]).towers().values()]
        for family in tiny
    }
    assert kinds == {
        "vit": [True, True],
        "rn50": [False, True],
        "siglip": [False, True],
        "convnext": [False, True],
        "coca": [False, True],
        "eva02": [False, True],
    }
    coca = Backbone(tiny["coca"])
    plain = open_clip.create_model(tiny["coca"], require_pretrained=True)
    tokens = coca.preprocess.tokenize(["a gull"])
    torch.testing.assert_close(coca.encode_text(tokens), rows_of(plain.encode_text, tokens))


def test_average_pooling_needs_all_tokens(tiny: dict[str, str]) -> None:
    visual = open_clip.create_model(tiny["vit"]).visual
    visual.pool_type = "avg"
    pooled.install(visual)
    assert type(visual.transformer) is Transformer


def test_a_plain_model_again(both: tuple[Backbone, Any]) -> None:
    backbone, _ = both
    assert type(backbone.model.visual.transformer.resblocks[-1]) is PooledBlock
    backbone.restore_shapes()
    for tower in backbone.towers().values():
        assert type(tower.transformer) is Transformer
        assert type(tower.transformer.resblocks[-1]) is ResidualAttentionBlock
        assert "first" not in vars(tower.transformer)
