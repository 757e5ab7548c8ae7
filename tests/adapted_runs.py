"""Runs that were not trained: what a run folder holds, with what learned moved at random; for the tests of what becomes of runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cliptune import AdaptModule, Backbone, Contrastive, CrossEntropy, Full, LinearProbe, LoRA, Method, PromptTuning
from cliptune.methods.base import ClassTexts

NAMES = ["cat", "dog", "red panda"]
METHODS: dict[str, Callable[[], Method]] = {
    "full": Full,
    "lora": partial(LoRA, rank=2),
    "dora": partial(LoRA, rank=2, variant="dora"),
    "pissa": partial(LoRA, rank=2, variant="pissa"),
    "probe": partial(LinearProbe, bias=True),
    "plain_probe": partial(LinearProbe, start="zero"),
    "prompts": PromptTuning,
    "image_prompts": partial(PromptTuning, towers="both"),
}
TEMPLATES = ["a photo of a {}.", "a drawing of a {}, in ink."]


def adapted_run(backbone: str, method: Method, folder: Path, names: list[str] = NAMES, seed: int = 1, amount: float = 0.02) -> Path:
    """A run folder with a checkpoint of `method` on the CLIP that `backbone` names, every learning tensor moved."""
    module = AdaptModule(Backbone(backbone), method, CrossEntropy() if names else Contrastive())
    texts = [[template.replace("{}", name) for template in TEMPLATES] for name in names]
    module.attach(ClassTexts(names, texts, module.backbone.preprocess, TEMPLATES))
    module.train(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p += amount * torch.randn(p.shape, generator=generator)
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(content)
    (folder / "checkpoints").mkdir(parents=True)
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    return folder
