"""Prompts among an image's patches: they learn and nothing else, what stays frozen, and on which towers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import classes_for, images_for
from prompted import attached, step, zero_shot

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods.base import ClassTexts
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.objectives.contrastive import Contrastive


@pytest.mark.parametrize("depth", ["shallow", "deep"])
@pytest.mark.parametrize("family", ["vit", "siglip", "coca", "eva02"])
def test_image_prompts_learn_and_nothing_else(backbone: Backbone, depth: Any) -> None:
    classes, images = classes_for(backbone), images_for(backbone, 2)
    with torch.no_grad():
        untouched = backbone.encode_image(images)
    method = attached(backbone, classes, towers="image", depth=depth, image_words=3)
    assert [name for name, _ in method.named_parameters()] == ["image_prompts"]
    step(backbone, method, classes)
    prompts = method.image_prompts
    assert prompts is not None
    assert prompts.grad is not None
    assert (prompts.grad.abs().sum(dim=-1) > 0).all()
    assert prompts.shape[:2] == ({"shallow": 1, "deep": {"vit": 3, "siglip": 9}.get(_family(backbone), 2)}[depth], 3)
    assert not any(p.requires_grad for p in backbone.parameters())
    with torch.no_grad():
        assert (method.image_rows(backbone, images) - untouched).abs().max() > 1e-4
        torch.testing.assert_close(backbone.encode_image(images), untouched, atol=2e-6, rtol=0)
        assert torch.equal(method.class_rows(backbone, classes).rows, zero_shot(backbone, classes))


def _family(backbone: Backbone) -> str:
    return Path(backbone.name).name


def test_image_prompts_learn_from_pairs_and_without_classes(vit: Backbone) -> None:
    method = PromptTuning(towers="image")
    method.check(Contrastive())
    method.attach(vit, ClassTexts([], [], vit.preprocess))
    assert method.groups(vit)


@pytest.mark.parametrize(
    ("towers", "expected"), [("text", {"image": 4, "text": 0}), ("image", {"image": 0, "text": 4}), ("both", {"image": 0, "text": 0})]
)
def test_what_comes_before_the_prompts_is_frozen(vit: Backbone, towers: Any, expected: dict[str, int]) -> None:
    assert attached(vit, towers=towers).frozen(vit) == expected


def test_nothing_decays(vit: Backbone) -> None:
    (group,) = attached(vit, towers="both", lr_factor=7.0).groups(vit)
    assert group["lr_factor"] == 7.0
    assert group["decay"] is False
    assert len(group["params"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("family", "name"), [("rn50", "ModifiedResNet"), ("convnext", "ConvNeXt")])
def test_image_prompts_on_what_is_no_vit_are_refused(backbone: Backbone, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"image prompts need a ViT, and this image tower is a {name}\. Use towers: text"):
        attached(backbone, towers="image")
