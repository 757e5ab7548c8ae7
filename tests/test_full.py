"""Full fine-tuning: what learns, what stays bit-identical, and each parameter's learning rate and decay, on four families."""

from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

import open_clip
import pytest
import torch
from conftest import images_for
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods import base
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import LOGIT_SCALE_MAX, Full
from cliptune.module import AdaptModule
from cliptune.objectives.base import StepRows
from cliptune.objectives.contrastive import Contrastive
from cliptune.optim import build_optimizer

TEXTS = ["a photo of a cat", "a dog", "the number seven, written by hand", "rain"]


def numbered(start: str, numbers: range) -> list[str]:
    return [f"{start}{i}." for i in numbers]


# family -> tower -> starts of the blocks' names, starts of the head's names; all below backbone.model
TEXT = (numbered("transformer.resblocks.", range(2)), ("text_projection", "ln_final"))
TOWERS: dict[str, dict[str, tuple[list[str], tuple[str, ...]]]] = {
    "vit": {
        "image": (numbered("visual.transformer.resblocks.", range(3)), ("visual.proj", "visual.ln_post")),
        "text": (numbered("transformer.resblocks.", range(3)), TEXT[1]),
    },
    "rn50": {"image": (numbered("visual.layer", range(1, 5)), ("visual.attnpool",)), "text": TEXT},
    "siglip": {
        "image": (numbered("visual.trunk.blocks.", range(9)), ("visual.trunk.norm", "visual.trunk.attn_pool")),
        "text": (numbered("text.transformer.resblocks.", range(2)), ("text.text_projection", "text.ln_final")),
    },
    "convnext": {"image": (numbered("visual.trunk.stages.", range(4)), ("visual.trunk.head", "visual.head")), "text": TEXT},
}
CASES: dict[str, dict[str, Any]] = {
    "both": {},
    "image": {"towers": "image", "logit_scale": "frozen"},
    "text": {"towers": "text", "logit_scale": "frozen"},
    "last block of both": {"train_last": 1},
    "last block of image": {"towers": "image", "train_last": 1, "logit_scale": "frozen"},
    "last block of text": {"towers": "text", "train_last": 1},
    "heads": {"train_last": 0, "logit_scale": "frozen"},
}


@lru_cache
def loaded(name: str) -> Backbone:
    return Backbone(name).eval()


@pytest.fixture
def backbone(tiny: dict[str, str], family: str) -> Backbone:
    """A copy of one that was loaded once, for a tenth of the time; the tokenizer, which takes most of it, is shared."""
    whole = loaded(tiny[family])
    return deepcopy(whole, {id(whole.preprocess): whole.preprocess})


def declared(backbone: Backbone, family: str, case: dict[str, Any]) -> set[str]:
    """The parameters' names that the arguments say learn, by the table."""
    found = {"logit_scale"} if case.get("logit_scale") != "frozen" else set()
    names = {name for name, _ in backbone.model.named_parameters()} - {"logit_scale", "logit_bias"}
    for side in ("image", "text") if case.get("towers", "both") == "both" else (case["towers"],):
        blocks, head = TOWERS[family][side]
        mine = {name for name in names if name.startswith("visual.") == (side == "image")}
        starts = {None: ("",), 0: head, 1: (blocks[-1], *head)}[case.get("train_last")]
        found |= {name for name in mine if name.startswith(starts)}
    return found & {name for name, _ in backbone.model.named_parameters()}


def attached(backbone: Backbone, **arguments: Any) -> AdaptModule:
    module = AdaptModule(backbone, Full(**arguments), Contrastive())
    module.attach()
    return module


def rows(module: AdaptModule) -> tuple[Tensor, Tensor]:
    tokens = module.preprocess.tokenize(TEXTS)
    return module.method.image_rows(module.backbone, images_for(module.backbone, 4)), module.method.text_rows(module.backbone, tokens)


def step(module: AdaptModule) -> None:
    """One step of training, leaving the gradients."""
    module.train()
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1), module.method.groups(module.backbone))
    images, texts = rows(module)
    scale, bias = module.backbone.logit_scale, module.backbone.logit_bias
    module.objective(StepRows(images, scale, bias, texts, torch.full((4, 3), -1))).backward()
    optimizer.step()
    module.method.after_step(module.backbone)


def snapshot(backbone: Backbone) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.model.state_dict().items()}


@torch.no_grad()
def test_attached_it_scores_as_the_untouched_clip(backbone: Backbone) -> None:
    before = (backbone.encode_image(images_for(backbone, 4)), backbone.encode_text(backbone.preprocess.tokenize(TEXTS)))
    for after, expected in zip(rows(attached(backbone).eval()), before, strict=True):
        assert torch.equal(after, expected)


@pytest.mark.parametrize("name", CASES)
def test_what_is_declared_learns_and_all_else_stays_as_it_was(backbone: Backbone, family: str, name: str) -> None:
    expected = declared(backbone, family, CASES[name])
    module = attached(backbone, **CASES[name])
    before = snapshot(backbone)
    step(module)
    after = backbone.model.state_dict()
    for key, p in backbone.model.named_parameters():
        assert p.requires_grad == (p.grad is not None) == (key in expected), key
        if p.grad is not None and not key.endswith("k_proj.bias"):  # softmax takes what shifts all logits out again
            assert p.grad.abs().sum() > 0, key
            assert not torch.equal(after[key], before[key]), key
    learned = {key.removeprefix("model.") for key in module.method.learned(backbone)}
    for key, value in before.items():
        if key not in learned:
            assert torch.equal(after[key], value), key
    statistics = {key for key in before if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert learned == expected | {key for key in statistics if f"{key.rpartition('.')[0]}.weight" in expected}
    assert all(not torch.equal(after[key], before[key]) for key in statistics & learned)


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_tower_that_is_frozen_gives_the_same_rows(backbone: Backbone, side: str) -> None:
    module = attached(backbone, towers=side).eval()
    with torch.no_grad():
        before = dict(zip(("image", "text"), rows(module), strict=True))
    step(module)
    with torch.no_grad():
        frozen_in_training = dict(zip(("image", "text"), rows(module), strict=True))
        after = dict(zip(("image", "text"), rows(module.eval()), strict=True))
    other = {"image": "text", "text": "image"}[side]
    assert torch.equal(after[other], before[other])
    assert torch.equal(frozen_in_training[other], before[other])
    assert (after[side] - before[side]).abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_what_is_frozen_stays_in_evaluation_mode(backbone: Backbone, name: str) -> None:
    module = attached(backbone, **CASES[name])
    for _ in range(2):  # Lightning switches back and forth around validation
        module.eval()
        assert not any(part.training for part in backbone.modules())
        module.train()
        for key, part in backbone.model.named_modules():
            own = [p for n, p in part.named_parameters(recurse=False) if n not in ("logit_scale", "logit_bias")]
            if own:
                assert part.training == any(p.requires_grad for p in own), key
    assert module.training
    assert module.objective.training


def test_batch_statistics_move_in_the_last_layer_only(tiny: dict[str, str]) -> None:
    backbone = Backbone(tiny["rn50"])
    before = snapshot(backbone)
    step(attached(backbone, train_last=1))
    moved = {
        key.split(".")[1] for key, value in backbone.model.state_dict().items() if "running" in key and not torch.equal(value, before[key])
    }
    assert moved == {"layer4"}


# Groups


def factors(module: AdaptModule) -> dict[str, float]:
    names = {id(p): name for name, p in module.backbone.model.named_parameters()}
    return {names[id(p)]: group["lr_factor"] for group in module.method.groups(module.backbone) for p in group["params"]}  # type: ignore


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_that_learns_is_in_one_group(backbone: Backbone, name: str) -> None:
    module = attached(backbone, layer_decay=0.7, image_lr_factor=0.5, **CASES[name])
    groups = module.method.groups(backbone)
    listed = [id(p) for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in backbone.parameters() if p.requires_grad}
    assert len({(group["lr_factor"], group["decay"]) for group in groups}) == len(groups)


def test_learning_rate_factors_are_as_by_hand(backbone: Backbone, family: str) -> None:
    found = factors(attached(backbone, image_lr_factor=3.0, text_lr_factor=0.1, layer_decay=0.5))
    for side, own in (("image", 3.0), ("text", 0.1)):
        blocks, head = TOWERS[family][side]
        for name, factor in found.items():
            if "logit" in name or name.startswith("visual.") != (side == "image"):
                continue
            from_output = 0 if name.startswith(head) else len(blocks) + 1
            for i, start in enumerate(reversed(blocks), start=1):
                from_output = i if name.startswith(start) else from_output
            assert factor == pytest.approx(own * 0.5**from_output), name
    assert {factor for name, factor in found.items() if name.startswith("logit")} == {1.0}


def test_without_layer_decay_there_is_one_factor_for_each_tower(vit: Backbone) -> None:
    found = factors(attached(vit, image_lr_factor=0.2))
    assert {factor for name, factor in found.items() if name.startswith("visual.")} == {0.2}
    assert {factor for name, factor in found.items() if not name.startswith("visual.")} == {1.0}


def test_norms_biases_embeddings_and_scale_do_not_decay(backbone: Backbone) -> None:
    module = attached(backbone)
    decaying = {id(p) for group in module.method.groups(backbone) if group["decay"] for p in group["params"]}  # type: ignore[attr-defined]
    for name, part in backbone.model.named_modules():
        for key, p in part.named_parameters(recurse=False):
            linear = isinstance(part, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)) and "bias" not in key
            assert (id(p) in decaying) == (linear or key in ("proj", "text_projection")), f"{name}.{key}"
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=1.0, weight_decay=0.1), module.method.groups(backbone))
    assert all(group["weight_decay"] == (0.1 if id(group["params"][0]) in decaying else 0) for group in optimizer.param_groups)


# The scale


def test_the_scale_learns_up_to_the_papers_hundred(vit: Backbone) -> None:
    assert LOGIT_SCALE_MAX == 100
    module = attached(vit)
    before = vit.logit_scale.item()
    step(module)
    assert 0.001 < abs(vit.logit_scale.item() - before) < before
    vit.model.logit_scale.data.fill_(5.0)  # e^5 is 148
    module.method.after_step(vit)
    assert vit.logit_scale.item() == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"logit_scale_max": 50.0}, 50.0), ({"logit_scale_max": None}, 148.4132), ({"logit_scale": "frozen"}, 148.4132)],
)
def test_the_bound_of_the_scale_is_the_users(vit: Backbone, arguments: dict[str, Any], expected: float) -> None:
    module = attached(vit, **arguments)
    vit.model.logit_scale.data.fill_(5.0)
    module.method.after_step(vit)
    assert vit.logit_scale.item() == pytest.approx(expected, abs=1e-3)


# Class rows


@torch.no_grad()
def test_class_rows_equal_open_clips_zero_shot_classifier(tiny: dict[str, str], backbone: Backbone, family: str) -> None:
    names, templates = ["cat", "dog", "red panda"], ["a photo of a {}.", "a drawing of a {}, in ink."]
    theirs = open_clip.create_model(tiny[family]).eval()
    tokenizer = open_clip.get_tokenizer(tiny[family])
    expected = open_clip.build_zero_shot_classifier(
        theirs, tokenizer, names, [lambda name, t=t: t.replace("{}", name) for t in templates]
    )  # [D, C]
    classes = ClassTexts(names, [[t.replace("{}", name) for t in templates] for name in names], backbone.preprocess)
    found = Full().class_rows(backbone, classes).rows
    torch.testing.assert_close(found, expected.T, atol=2e-6, rtol=0)


@torch.no_grad()
def test_class_rows_in_chunks_are_the_same(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = ClassTexts(list("abcde"), [[f"number {i}", f"letter {i}"] for i in range(5)], vit.preprocess)
    whole = Full().class_rows(vit, classes).rows
    monkeypatch.setattr(base, "CLASS_CHUNK", 3)
    torch.testing.assert_close(Full().class_rows(vit, classes).rows, whole, atol=1e-6, rtol=0)


# Errors


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "towers": ({"towers": "vision"}, r"towers 'vision' is not known\. Take both, image or text"),
    "logit_scale": ({"logit_scale": "clamped"}, r"logit_scale 'clamped' is not known\. Take learned or frozen"),
    "logit_scale_max": ({"logit_scale_max": 0.0}, r"logit_scale_max 0\.0 is not positive\. Take 100, or null"),
    "a factor": ({"text_lr_factor": -1.0}, r"factor of -1\.0 is negative\. Take 1, or 0"),
    "layer_decay": ({"layer_decay": 0.0}, r"layer_decay 0\.0 is not in 0\.\.1\. Take 0\.75"),
    "layer_decay above one": ({"layer_decay": 1.1}, r"layer_decay 1\.1 is not"),
    "train_last": ({"train_last": -1}, r"train_last -1 is negative\. Take a number of blocks"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_arguments_that_cannot_be_are_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message) as caught:
        Full(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", ["image", "text"])
def test_more_blocks_than_the_tower_has_are_refused(backbone: Backbone, family: str, side: str) -> None:
    count = len(TOWERS[family][side][0])
    attached(backbone, towers=side, train_last=count)
    with pytest.raises(ConfigError, match=rf"train_last {count + 1}, but the {side} tower has {count} blocks\. Take at most {count}"):
        attached(backbone, towers=side, train_last=count + 1)


@torch.no_grad()
def test_a_pretrained_scale_above_the_bound_is_not_cut(vit: Backbone) -> None:
    vit.model.logit_scale.copy_(torch.tensor(117.0).log())
    method = Full()
    method.attach(vit, ClassTexts([], [], vit.preprocess))
    method.after_step(vit)
    assert vit.logit_scale.item() == pytest.approx(117.0)
    vit.model.logit_scale.copy_(torch.tensor(120.0).log())
    method.after_step(vit)
    assert vit.logit_scale.item() == pytest.approx(117.0)
