"""What full fine-tuning says learns, by family and arguments; shared by its tests."""

from functools import partial
from typing import Any

import torch
from conftest import images_for
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.methods.full import Full
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
