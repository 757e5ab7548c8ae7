"""Full fine-tuning: each parameter's learning rate and decay on four families, and the bound of the scale."""

from functools import partial
from typing import Any

import pytest
import torch
from full_cases import CASES, TOWERS, attached, step
from torch import nn

from cliptune.backbone import Backbone
from cliptune.methods.full import LOGIT_SCALE_MAX
from cliptune.module import AdaptModule
from cliptune.optim import build_optimizer

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
