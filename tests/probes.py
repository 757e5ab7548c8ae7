"""Linear probes on rows around three centres, for the tests of probes."""

from typing import Any

import torch
import torch.nn.functional as F
from conftest import classes_for
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts, LabelledRows
from cliptune.methods.full import Full
from cliptune.methods.linear_probe import LinearProbe


def attached(backbone: Backbone, classes: ClassTexts | None = None, **arguments: Any) -> LinearProbe:
    method = LinearProbe(**arguments)
    method.attach(backbone, classes or classes_for(backbone))
    return method


def others_for(backbone: Backbone) -> ClassTexts:
    return ClassTexts(["ant", "bee"], [["an ant"], ["a bee"]], backbone.preprocess)


def labelled(backbone: Backbone, count: int, seed: int, sure: float = 0.7) -> LabelledRows:
    """Unit rows around three centres that are not the class texts' rows."""
    width = int(Full().class_rows(backbone, classes_for(backbone)).rows.shape[1])
    centres = torch.randn(3, width, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return LabelledRows(F.normalize(sure * centres[labels] + torch.randn(count, width, generator=generator), dim=-1), labels)


def logits(method: LinearProbe, backbone: Backbone, rows: Tensor) -> Tensor:
    return method.logits(backbone, rows, method.class_rows(backbone, classes_for(backbone)))


def top1(found: Tensor, labels: Tensor) -> float:
    return (found.argmax(dim=1) == labels).float().mean().item()
