"""A model that knows three classes, pictures with files among them that are none, and a call of `predict`; shared by its tests."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cliptune import predicting
from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.predicting import Predicted

Picture = Callable[[str], Path]
NAMES, TEMPLATES = ["cat", "dog", "red panda"], ["a photo of a {}.", "a drawing of a {}, in ink."]
GOOD = [f"pics/{i}.png" for i in range(11)]


def adapted(backbone: Backbone, names: list[str]) -> AdaptedCLIP:
    texts = [[template.replace("{}", name) for template in TEMPLATES] for name in names]
    method = Full()
    method.attach(backbone, ClassTexts(names, texts, backbone.preprocess))
    with torch.random.fork_rng():
        torch.manual_seed(0)  # with which the pictures are not all of one class
        for p in backbone.parameters():
            p.data += 0.2 * torch.randn_like(p)
    return AdaptedCLIP(backbone.requires_grad_(False).eval(), method, {"class_names": names, "class_texts": texts})


@pytest.fixture(scope="module")
def model(tiny: dict[str, str]) -> AdaptedCLIP:
    """A ViT that knows three classes; read-only."""
    return adapted(Backbone(tiny["vit"]), NAMES)


@pytest.fixture
def pics(picture: Picture) -> list[str]:
    """Eleven pictures, and two files among them that are none."""
    for name in GOOD:
        picture(name)
    Path("pics/3a.png").write_bytes(b"hello")
    Path("pics/9a.jpg").write_bytes(b"")
    return sorted(GOOD)


def predict(model: AdaptedCLIP, output: str, *sources: str, **options: Any) -> Predicted:
    return predicting.predict(model, sources or ("pics",), Path(output), **{"batch_size": 2, "workers": 2, "model_key": "key", **options})


def table_of(file: str) -> list[dict[str, Any]]:
    with Path(file).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
