"""LoRA: applied for certain, at zero-shot before training, merged without a difference; and peft's folders."""

import json
import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from conftest import ALL_FAMILIES, classes_for, images_for
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cliptune import adapters, attention
from cliptune import towers as T
from cliptune.audit import audit
from cliptune.backbone import Backbone
from cliptune.errors import CheckpointError, ConfigError
from cliptune.methods.lora import LoRA

TEXTS = ["a photo of a cat", "the number seven", "a red panda"]
TARGETS = {"convnext": ["mlp", "conv"], "rn50": ["q", "k", "v", "out", "mlp", "conv"]}
VARIANTS = ("plain", "rslora", "dora", "pissa")


@torch.no_grad()
def rows(backbone: Backbone) -> Tensor:
    return torch.cat([backbone.encode_image(images_for(backbone, 3)), backbone.encode_text(backbone.preprocess.tokenize(TEXTS))])


def attached(backbone: Backbone, **arguments: Any) -> LoRA:
    torch.manual_seed(0)
    method = LoRA(**arguments)
    method.attach(backbone, classes_for(backbone))
    return method


@torch.no_grad()
def shake(backbone: Backbone) -> None:
    """As training would: every adapter tensor moves."""
    torch.manual_seed(1)
    for p in adapters.learning(backbone.model).values():
        p.add_(0.1 * torch.randn_like(p))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_it_starts_at_zero_shot_and_merges_into_the_plain_state_dict(tiny: dict[str, str], family: str, variant: Any) -> None:
    backbone = Backbone(tiny[family]).eval()
    names, before = list(backbone.state_dict()), rows(backbone)
    targets = TARGETS.get(family, ["q", "k", "v", "out", "mlp"])
    method = attached(backbone, variant=variant, targets=[t for t in targets if variant != "pissa" or t != "conv"])
    torch.testing.assert_close(rows(backbone), before, atol=2e-6, rtol=0)
    shake(backbone)
    adapted = rows(backbone)
    assert (adapted - before).abs().max() > 1e-2
    method.fold(backbone)
    assert list(backbone.state_dict()) == names
    torch.testing.assert_close(rows(backbone), adapted, atol=1e-5, rtol=0)
    plain = open_clip.create_model(tiny[family]).eval()
    plain.load_state_dict(backbone.model.state_dict())  # and so it is right for open_clip too
    with torch.no_grad():
        found = nn.functional.normalize(plain.encode_text(open_clip.get_tokenizer(tiny[family])(TEXTS)), dim=-1)
    torch.testing.assert_close(found, adapted[3:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_adapter_tensor_changes_the_rows(tiny: dict[str, str], family: str) -> None:
    backbone = Backbone(tiny[family]).eval()
    attached(backbone, rank=2, variant="dora", targets=TARGETS.get(family, ["q", "k", "v", "out", "mlp"]))
    shake(backbone)
    before = rows(backbone)
    for name, p in adapters.learning(backbone.model).items():
        kept = p.detach().clone()
        p.data.add_(0.3 * torch.randn_like(p))
        assert not torch.equal(rows(backbone), before), f"{name} does nothing"
        p.data.copy_(kept)


@pytest.mark.parametrize("towers", ["image", "text"])
def test_only_the_chosen_tower_is_adapted(vit: Backbone, towers: Any) -> None:
    before = rows(vit)
    method = attached(vit, towers=towers)
    shake(vit)
    moved = (rows(vit) - before).abs().amax(dim=1) > 1e-5
    assert moved.tolist() == [towers == "image"] * 3 + [towers == "text"] * 3
    frozen = method.frozen(vit)
    assert frozen == ({"image": 0, "text": 4} if towers == "image" else {"image": 4, "text": 0})


def test_layers_say_how_much_is_frozen(vit: Backbone) -> None:
    assert attached(vit, layers={"last": 1}).frozen(vit) == {"image": 2, "text": 2}


def test_dropout_drops_in_training_only(vit: Backbone) -> None:
    method = attached(vit, dropout=0.5)
    shake(vit)
    assert torch.equal(rows(vit), rows(vit))
    method.train_mode(vit)
    assert not torch.equal(rows(vit), rows(vit))
    vit.eval()
    with torch.no_grad():
        for layer in adapters.layers(vit.model).values():
            layer.lora_B["default"].weight.zero_()
    method.train_mode(vit)
    assert torch.equal(rows(vit), rows(vit))  # the base's inputs are not dropped


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("plain", 6 / 4), ("rslora", 6 / 2)],
)
def test_alpha_scales_as_published(vit: Backbone, variant: Any, expected: float) -> None:
    attached(vit, rank=4, alpha=6.0, variant=variant)
    assert {layer.scaling["default"] for layer in adapters.layers(vit.model).values()} == {expected}


def test_pissa_starts_from_the_principal_part_and_keeps_the_base(vit: Backbone) -> None:
    weight = vit.model.transformer.resblocks[0].attn.in_proj_weight.detach().clone()
    attached(vit, rank=4, variant="pissa")
    layer: Any = vit.model.transformer.resblocks[0].attn.qkv.q
    q = weight[: len(weight) // 3]
    assert torch.equal(layer.get_base_layer().weight, q)
    u, s, v = torch.linalg.svd(q)
    principal = u[:, :4] @ torch.diag(s[:4]) @ v[:4]  # Meng et al. 2024, eq. 2 and 3
    torch.testing.assert_close(layer.lora_B["default"].weight @ layer.lora_A["default"].weight, principal, atol=1e-5, rtol=0)


def test_the_audit_prints_what_is_where(vit: Backbone) -> None:
    method = attached(vit, rank=2, targets=["q", "mlp"])
    modes = [module.training for module in vit.modules()]
    state = {key: value.clone() for key, value in vit.state_dict().items()}
    lines = method.audit(vit).splitlines()
    assert lines[1].split() == ["image", "transformer.resblocks.*.attn.qkv.q", "3", "2", str(3 * 2 * (32 + 32))]
    assert lines[2].split() == ["image", "transformer.resblocks.*.mlp.c_fc", "3", "2", str(3 * 2 * (32 + 128))]
    assert len([line for line in lines if line.startswith("text")]) == 3
    assert all(torch.equal(value, state[key]) for key, value in vit.state_dict().items())
    assert [module.training for module in vit.modules()] == modes


def test_the_audit_finds_a_dead_tensor(tiny: dict[str, str]) -> None:
    backbone = Backbone(tiny["rn50"]).eval()  # whose pooling passes by its Linears, unless split
    inject_adapter_in_model(LoraConfig(target_modules=r"visual\.attnpool\.q_proj"), backbone.model)
    with pytest.raises(ConfigError, match=r"2 of 2 adapter tensors of the image tower do nothing, such as visual\.attnpool\.q_proj"):
        audit(backbone, "image", adapters.learning(backbone.model))


def test_the_audit_finds_pefts_double_application(vit: Backbone) -> None:
    inject_adapter_in_model(LoraConfig(target_modules=["attn"]), vit.model)
    learning = {name: p for name, p in adapters.learning(vit.model).items() if "visual" in name and "base_layer" in name}
    assert learning
    with pytest.raises(ConfigError, match=r"do not follow the adapters' gradient|do nothing"):
        audit(vit, "image", learning)


# peft's folder


# How far layers went


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["vit", "rn50"])
def test_norms_are_those_of_what_merging_changes(tiny: dict[str, str], family: str, variant: Any) -> None:
    backbone, untouched = Backbone(tiny[family]).eval(), Backbone(tiny[family]).eval()
    targets = [target for target in TARGETS.get(family, ["q", "k", "v", "out", "mlp"]) if variant != "pissa" or target != "conv"]
    method = attached(backbone, variant=variant, targets=targets, alpha=3.0)
    assert [each["norm"] for each in method.facts(backbone)["lora_norms"]] == pytest.approx(
        [0] * sum(map(len, method.found.values())), abs=1e-5
    )
    shake(backbone)
    facts = json.loads(json.dumps(method.facts(backbone)))
    names = [(tower, target.name) for tower, part in method.found.items() for target in part]
    assert [(each["tower"], each["layer"]) for each in facts["lora_norms"]] == names
    for tower in method.names:
        attention.split(untouched.towers()[tower], skip=T.OUTSIDE_TEXT if tower == "text" else ())
    adapters.merge(backbone.model)
    for each in facts["lora_norms"]:
        now, before = (one.towers()[each["tower"]].get_submodule(each["layer"]).weight for one in (backbone, untouched))
        assert each["norm"] == pytest.approx(float((now - before).norm()), rel=1e-4)
        assert each["relative"] == pytest.approx(float((now - before).norm() / before.norm()), rel=1e-4)


def test_the_log_names_the_layers_that_changed_most() -> None:
    layers = [("image", "a", 0.01), ("text", "b", 0.2), ("image", "c", 0.04)]
    facts = {"lora_norms": [{"tower": tower, "layer": layer, "norm": 1.0, "relative": far} for tower, layer, far in layers]}
    assert LoRA().as_lines(facts) == [
        "3 layers changed, by 4.00% of their weights' norm in the middle; most of all text b 20.00%, image c 4.00%, image a 1.00%"
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_plain_peft_loads_the_folder(tiny: dict[str, str], tmp_path: Path, variant: Any) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    method = attached(backbone, variant=variant, rank=3, alpha=5)
    shake(backbone)
    expected = rows(backbone)
    method.save_adapter(backbone, tmp_path)
    plain = open_clip.create_model(tiny["vit"]).eval()
    attention.split(plain)
    loaded = PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    texts = nn.functional.normalize(loaded.get_base_model().encode_text(open_clip.get_tokenizer(tiny["vit"])(TEXTS)), dim=-1)
    torch.testing.assert_close(texts, expected[3:], atol=2e-6, rtol=0)


def test_the_folder_is_read_back_and_wrong_keys_are_an_error(tiny: dict[str, str], tmp_path: Path) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    method = attached(backbone)
    shake(backbone)
    method.save_adapter(backbone, tmp_path)
    other = Backbone(tiny["vit"]).eval()
    attached(other)
    _, state = adapters.read(tmp_path)
    adapters.put(other.model, state)
    assert torch.equal(rows(other), rows(backbone))
    key = next(iter(state))
    cases: dict[str, dict[str, Tensor]] = {
        f"lacks {key}": {name: value for name, value in state.items() if name != key},
        "has the unknown visual.odd": {**state, "visual.odd": state[key]},
        f"has in another shape {key}": {**state, key: state[key][:-1]},
    }
    for message, wrong in cases.items():
        with pytest.raises(CheckpointError, match=rf"the adapter {message}.*give the backbone that it was made on"):
            adapters.put(other.model, wrong)


def test_what_is_no_adapter_folder_is_one_line(tiny: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no adapter_config\.json: it is no adapter folder of peft"):
        adapters.read(tmp_path)
    backbone = Backbone(tiny["vit"]).eval()
    attached(backbone).save_adapter(backbone, tmp_path)
    save_file(load_file(tmp_path / "adapter_model.safetensors"), tmp_path / "kept.safetensors")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be read as an adapter") as caught:
        adapters.read(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"holds IA3, not LORA"):
        adapters.read(tmp_path)


def test_the_pattern_matches_its_names_and_no_others() -> None:
    names = ["visual.blocks.0.attn.q", "visual.blocks.11.attn.q", "blocks.1.mlp.fc1", "pool.q"]
    others = ["blocks.0.attn.q", "visual.blocks.1.attn.q", "visual.blocks.0.attn.qkv", "blocks.1.mlp.fc2", "visual.pool.q"]
    # as peft matches a string
    assert all(re.fullmatch(adapters.pattern(names), name) for name in names)
    assert not any(re.fullmatch(adapters.pattern(names), name) for name in others)


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "rank": ({"rank": 0}, r"rank 0 is not positive\. Take 2 to 64"),
    "alpha": ({"alpha": -1}, r"alpha -1\.0 is not positive"),
    "dropout": ({"dropout": 1.0}, r"dropout 1\.0 is not in 0\.\.1\. Take 0\.25"),
    "towers": ({"towers": "visual"}, r"towers 'visual' is not known\. Take both, image or text"),
    "variant": ({"variant": "dorra"}, r"variant 'dorra' is not known\. Did you mean dora\?"),
    "no targets": ({"targets": []}, r"targets is empty\. Take \[q, k, v\]"),
    "a target": ({"targets": ["qkv"]}, r"the target 'qkv' is not known\. Take of \[q, k, v, out, mlp, conv\]"),
    "pissa on convolutions": ({"targets": ["conv"], "variant": "pissa"}, r"pissa has no form for convolutions"),
    "layers": ({"layers": {"first": 2}}, r"layers {'first': 2} is not known\. Write all, {last: 2}"),
    "last": ({"layers": {"last": 0}}, r"layers {'last': 0} is not known"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_arguments_that_cannot_be_are_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message) as caught:
        LoRA(**arguments)
    assert "\n" not in str(caught.value)


def test_a_target_that_matches_nothing_anywhere_is_refused(vit: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"the target conv matches nothing in this backbone\. Take of \[q, k, v, out, mlp\]"):
        attached(vit, targets=["q", "conv"])
