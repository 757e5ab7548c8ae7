"""Full fine-tuning: what learns, what stays bit-identical, class rows, and what is refused, on four families."""

import json
from copy import deepcopy
from functools import lru_cache
from math import sqrt
from typing import Any

import open_clip
import pytest
import torch
from conftest import images_for
from full_cases import CASES, TEXTS, TOWERS, attached, declared, rows, snapshot, step

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods import base
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full


@lru_cache
def loaded(name: str) -> Backbone:
    return Backbone(name).eval()


@pytest.fixture
def backbone(tiny: dict[str, str], family: str) -> Backbone:
    """A copy of one that was loaded once, for a tenth of the time; the tokenizer, which takes most of it, is shared."""
    whole = loaded(tiny[family])
    return deepcopy(whole, {id(whole.preprocess): whole.preprocess})


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


@torch.no_grad()
@pytest.mark.parametrize("train_last", [None, 1])
def test_facts_tell_how_far_each_block_went(backbone: Backbone, family: str, train_last: int | None) -> None:
    method = attached(backbone, train_last=train_last, towers="image").method
    names = list(method.learned(backbone))
    start = {name: backbone.state_dict()[name].clone() for name in names}
    count = len(T.blocks(backbone.towers()["image"]))
    last = {
        key: p for key, p in backbone.towers()["image"].named_parameters() if key.startswith(T.blocks(backbone.towers()["image"])[-1][0])
    }
    before = torch.cat([p.flatten() for p in last.values()]).norm()
    for i, p in enumerate(last.values()):
        p += i + 1
    facts = json.loads(json.dumps(method.facts(backbone, start)))["block_changes"]
    first, behind = (-1, count + 1) if train_last is None else (count - 1, count + 1)
    assert {each["block"] for each in facts} <= set(range(first, behind))
    assert {each["tower"] for each in facts} == {"image"}
    expected = sqrt(sum((i + 1) ** 2 * p.numel() for i, p in enumerate(last.values())))
    for each in facts:
        assert each["norm"] == pytest.approx(expected if each["block"] == count - 1 else 0, rel=1e-4)
    (changed,) = [each for each in facts if each["block"] == count - 1]
    assert changed["relative"] == pytest.approx(expected / float(before), rel=1e-4)
    assert method.as_lines({"block_changes": facts})[0].startswith(f"blocks whose weights changed most, by their norm: image {count - 1} ")
    assert method.facts(backbone) == {}
