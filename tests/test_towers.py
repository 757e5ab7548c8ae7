"""Where blocks, stem and head of a tower are, and what decays, against tables written by hand."""

from collections.abc import Iterable

import open_clip
import pytest
import torch
from torch import Tensor, nn

from cliptune import towers as T
from cliptune.backbone import Backbone

RESBLOCKS = "transformer.resblocks."
# family -> tower -> blocks, starts of the stem's names, starts of the head's names
TABLE: dict[str, dict[str, tuple[list[str], tuple[str, ...], tuple[str, ...]]]] = {
    "vit": {
        "image": (
            [f"{RESBLOCKS}{i}" for i in range(3)],
            ("class_embedding", "positional_embedding", "conv1", "ln_pre"),
            ("proj", "ln_post"),
        ),
        "text": (
            [f"{RESBLOCKS}{i}" for i in range(3)],
            ("positional_embedding", "token_embedding"),
            ("text_projection", "ln_final"),
        ),
    },
    "rn50": {
        "image": ([f"layer{i}" for i in range(1, 5)], ("conv", "bn"), ("attnpool",)),
        "text": ([f"{RESBLOCKS}{i}" for i in range(2)], ("positional_embedding", "token_embedding"), ("text_projection", "ln_final")),
    },
    "siglip": {
        "image": (
            [f"trunk.blocks.{i}" for i in range(9)],
            ("trunk.reg_token", "trunk.pos_embed", "trunk.patch_embed"),
            ("trunk.norm", "trunk.attn_pool"),
        ),
        "text": ([f"{RESBLOCKS}{i}" for i in range(2)], ("positional_embedding", "token_embedding"), ("text_projection", "ln_final")),
    },
    "convnext": {
        "image": ([f"trunk.stages.{i}" for i in range(4)], ("trunk.stem",), ("trunk.head", "head")),
        "text": ([f"{RESBLOCKS}{i}" for i in range(2)], ("positional_embedding", "token_embedding"), ("text_projection", "ln_final")),
    },
}


@pytest.mark.parametrize("side", ["image", "text"])
def test_every_parameter_lies_in_stem_block_or_head(backbone: Backbone, family: str, side: str) -> None:
    order, stem, head = TABLE[family][side]
    tower = backbone.towers()[side]
    assert [name for name, _ in T.blocks(tower)] == order
    assert all(tower.get_submodule(name) is block for name, block in T.blocks(tower))
    found, count = T.depths(tower)
    assert count == len(order)
    for name, depth in found.items():
        if depth in (0, count + 1):
            assert name.startswith(stem if depth == 0 else head), name
        else:
            assert name.startswith(order[depth - 1] + "."), name
    for start in (*stem, *head):
        assert any(name.startswith(start) for name in found), start


def test_the_two_towers_have_all_parameters_but_scale_and_bias(backbone: Backbone) -> None:
    parts = {side: {id(p) for p in T.parameters(tower).values()} for side, tower in backbone.towers().items()}
    outside = {id(p) for p in (backbone.model.logit_scale, backbone.model.logit_bias) if p is not None}
    assert not parts["image"] & parts["text"]
    assert parts["image"] | parts["text"] | outside == {id(p) for p in backbone.parameters()}


def matrices(tower: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """The weights of linear, convolution and attention layers."""
    for name, module in tower.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            yield f"{name}.weight", module.weight
        if isinstance(module, nn.MultiheadAttention):
            yield f"{name}.in_proj_weight", module.in_proj_weight


@torch.no_grad()
def test_the_last_product_makes_an_image_towers_rows(backbone: Backbone, family: str) -> None:
    tower, images = backbone.towers()["image"], torch.rand(3, 3, *backbone.preprocess.size)
    product = T.last_product(tower)
    assert (product is None) == (family == "siglip")  # whose trunk gives rows
    if product is not None:
        before = backbone.model.encode_image(images)
        assert before.shape[1:] == product.shape[1:]
        apart = backbone.model.encode_image(images) - backbone.model.encode_image(images[:1])
        product.mul_(2)  # it is the very weight
        double = backbone.model.encode_image(images) - backbone.model.encode_image(images[:1])
        most = apart.abs().max()
        torch.testing.assert_close(double / most, 2 * apart / most, atol=0.05, rtol=0.0)  # an untrained ResNet's differences are tiny


@pytest.mark.parametrize("side", ["image", "text"])
def test_matrices_decay_and_nothing_else(backbone: Backbone, side: str) -> None:
    tower = backbone.towers()[side]
    expected = {name for name, _ in matrices(tower)} | {
        name for name in ("proj", "text_projection") if name in dict(tower.named_parameters())
    }
    assert T.decays(tower) == {name for name in expected if not name.startswith("visual.")}


def test_scales_of_channels_and_tables_of_biases_do_not_decay() -> None:
    tower = nn.Module()
    for name, shape in {"gamma": (8, 1, 1), "relative_position_bias_table": (9, 2), "cls_token": (1, 1, 8), "pos_embed": (1, 4, 8)}.items():
        tower.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    tower.embeddings = nn.Embedding(9, 8)
    tower.depthwise = nn.Conv2d(8, 8, 3, groups=8)
    assert T.decays(tower) == {"depthwise.weight"}


def test_timms_resnet_has_four_layers_too() -> None:
    tower = open_clip.timm_model.TimmModel("test_resnet", embed_dim=24, pool="avg", proj="linear", image_size=64, pretrained=False)
    found, count = T.depths(tower)
    assert [name for name, _ in T.blocks(tower)] == [f"trunk.layer{i}" for i in range(1, 5)]
    assert {name for name, depth in found.items() if depth == count + 1} == {"head.proj.weight"}
    assert {name.split(".")[1] for name, depth in found.items() if depth == 0} == {"conv1", "bn1"}


def test_mobileclips_last_convolution_is_head() -> None:
    with torch.device("meta"):  # no memory for its weights
        model = open_clip.create_model("MobileCLIP-S1", device="meta", load_weights=False)
    found, count = T.depths(model.visual)
    assert [name for name, _ in T.blocks(model.visual)] == [f"trunk.stages.{i}" for i in range(4)]
    assert {name.split(".")[1] for name, depth in found.items() if depth == count + 1} == {"final_conv", "head"}
    assert {name.split(".")[1] for name, depth in found.items() if depth == 0} == {"stem"}


def test_a_tower_without_repeated_blocks_has_stem_and_head_only() -> None:
    found, count = T.depths(nn.ModuleDict({"stem": nn.Linear(2, 2), "head": nn.Linear(2, 2)}))
    assert (found, count) == ({"stem.weight": 0, "stem.bias": 0, "head.weight": 1, "head.bias": 1}, 0)


def test_a_fingerprint_is_known_again_until_a_weight_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = nn.Sequential(nn.Linear(200, 3), nn.Linear(3, 2))
    read: list[str] = []
    digest = T._digest
    monkeypatch.setattr(T, "_digest", lambda *given: read.append("read") or digest(*given))
    first = T.fingerprint(tower, 1)
    assert T.fingerprint(tower, 1) == first
    assert len(read) == 1
    with torch.no_grad():
        tower[0].weight[0, 1] += 1  # none of those that are looked at
    second = T.fingerprint(tower, 1)
    tower[1].weight.data.mul_(2)  # of which the version knows nothing
    third = T.fingerprint(tower, 1)
    tower[0].weight = nn.Parameter(tower[0].weight.detach().clone())
    assert T.fingerprint(tower, 1) == third
    assert len({first, second, third}) == 3
    assert len(read) == 4
