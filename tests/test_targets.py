"""Targets by the field's names: which layers they are on each family, and what is said where nothing matches."""

from collections import Counter
from typing import Any

import pytest
from conftest import ALL_FAMILIES
from torch import nn
from transformers import BertConfig, BertModel, T5Config, T5EncoderModel

from cliptune import attention
from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.targets import choose, find

BLOCK = "transformer.resblocks.*."
PLAIN = {
    ("attn.qkv.q", "q"): 2,
    ("attn.qkv.k", "k"): 2,
    ("attn.qkv.v", "v"): 2,
    ("attn.out", "out"): 2,
    ("mlp.c_fc", "mlp"): 2,
    ("mlp.c_proj", "mlp"): 2,
}
TEXT = {(BLOCK + name, role): count for (name, role), count in PLAIN.items()}
IMAGE: dict[str, dict[tuple[str, str], int]] = {
    "vit": dict.fromkeys(TEXT, 3),
    "rn50": {
        **{(f"layer{i}.*.{name}", "conv"): 1 for i in range(1, 5) for name in ("conv1", "conv2", "conv3", "downsample.*")},
        ("attnpool.q_proj", "q"): 1, ("attnpool.k_proj", "k"): 1, ("attnpool.v_proj", "v"): 1, ("attnpool.c_proj", "out"): 1,
    },
    "siglip": {
        **{(f"trunk.blocks.*.attn.qkv.{name}", name): 9 for name in "qkv"},
        ("trunk.blocks.*.attn.proj", "out"): 9, ("trunk.blocks.*.mlp.fc1", "mlp"): 9, ("trunk.blocks.*.mlp.fc2", "mlp"): 9,
        ("trunk.attn_pool.q", "q"): 1, ("trunk.attn_pool.kv.k", "k"): 1, ("trunk.attn_pool.kv.v", "v"): 1,
        ("trunk.attn_pool.proj", "out"): 1, ("trunk.attn_pool.mlp.fc1", "mlp"): 1, ("trunk.attn_pool.mlp.fc2", "mlp"): 1,
    },
    "convnext": {
        ("trunk.stages.*.blocks.*.mlp.fc1", "mlp"): 9, ("trunk.stages.*.blocks.*.mlp.fc2", "mlp"): 9,
        ("trunk.stages.*.downsample.*", "conv"): 3,
    },
    "coca": {
        **TEXT,
        ("attn_pool.attn.q_proj", "q"): 1, ("attn_pool.attn.k_proj", "k"): 1, ("attn_pool.attn.v_proj", "v"): 1,
        ("attn_pool.attn.out", "out"): 1,
    },
    "eva02": {
        **{(f"trunk.blocks.*.attn.{name}_proj", name): 2 for name in "qkv"},
        ("trunk.blocks.*.attn.proj", "out"): 2, ("trunk.blocks.*.mlp.fc1", "mlp"): 2,
        ("trunk.blocks.*.mlp.fc2", "mlp"): 2,
    },
}  # fmt: skip


def split(name: str) -> Backbone:
    backbone = Backbone(name).eval()
    attention.split(backbone.model)
    return backbone


def counted(tower: nn.Module) -> dict[tuple[str, str], int]:
    return dict(Counter((target.pattern, target.role) for target in find(tower)))


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_layer_with_a_role_is_found_and_nothing_else(tiny: dict[str, str], family: str) -> None:
    towers = split(tiny[family]).towers()
    assert counted(towers["image"]) == IMAGE[family]
    assert counted(towers["text"]) == (dict.fromkeys(TEXT, 3) if family == "vit" else TEXT)


def test_hugging_face_towers_keep_their_own_linears() -> None:
    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=99))
    layer = "encoder.layer.*."
    assert counted(bert) == {
        (layer + "attention.self.query", "q"): 2,
        (layer + "attention.self.key", "k"): 2,
        (layer + "attention.self.value", "v"): 2,
        (layer + "attention.output.dense", "out"): 2,
        (layer + "intermediate.dense", "mlp"): 2,
        (layer + "output.dense", "mlp"): 2,
    }
    t5 = T5EncoderModel(T5Config(d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, vocab_size=99))
    assert Counter(target.role for target in find(t5)) == {"q": 2, "k": 2, "v": 2, "out": 2, "mlp": 4}


def test_a_target_knows_its_block_and_the_head_has_none(tiny: dict[str, str]) -> None:
    tower = split(tiny["siglip"]).towers()["image"]
    blocks = [name for name, _ in T.blocks(tower)]
    for target in find(tower):
        assert target.block is None if "attn_pool" in target.name else target.name.startswith(f"{blocks[target.block or 0]}.")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", {None, 0, 1, 2}), ({"last": 1}, {None, 2}), ({"last": 3}, {None, 0, 1, 2}), ([0], {0}), ([0, 2], {0, 2})],
)
def test_layers_are_all_the_last_or_by_number(tiny: dict[str, str], layers: Any, expected: set[int | None]) -> None:
    tower = split(tiny["vit"]).towers()["image"]
    assert {target.block for target in choose(tower, "image", ["q", "mlp"], layers)} == expected - {None}  # a ViT's head has none


@pytest.mark.parametrize(
    ("family", "roles", "layers", "message"),
    [
        ("convnext", ["q"], "all", r"q match nothing in the image tower \(ConvNeXt\) at layers all\. Set targets to some of \[mlp, conv\]"),
        ("vit", ["conv"], "all", r"match nothing in the image tower \(VisionTransformer\).*Set targets to some of \[q, k, v, out, mlp\]"),
        ("rn50", ["q"], [0], r"at layers \[0\]\. Set targets to some of \[conv\]"),
        ("vit", ["q"], {"last": 4}, r"layers {last: 4}, but the image tower has 3 blocks\. Take at most 3"),
        ("vit", ["q"], [3], r"layers has 3, but the image tower's 3 blocks are 0 to 2"),
    ],
)  # fmt: skip
def test_what_matches_nothing_says_what_would(tiny: dict[str, str], family: str, roles: list[str], layers: Any, message: str) -> None:
    tower = split(tiny[family]).towers()["image"]
    with pytest.raises(ConfigError, match=message):
        choose(tower, "image", roles, layers)
