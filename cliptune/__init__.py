"""cliptune adapts a pretrained CLIP to a domain that it knows badly.

Public names are loaded on first use, so that `import cliptune` and `cliptune --help` cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "AdaptModule": "cliptune.module",
    "AdaptedCLIP": "cliptune.adapted",
    "Backbone": "cliptune.backbone",
    "Contrastive": "cliptune.objectives.contrastive",
    "CrossEntropy": "cliptune.objectives.cross_entropy",
    "FeatureDistillation": "cliptune.objectives.feature_distillation",
    "Full": "cliptune.methods.full",
    "ImageTextData": "cliptune.data.images",
    "L2SP": "cliptune.objectives.l2sp",
    "LinearProbe": "cliptune.methods.linear_probe",
    "LoRA": "cliptune.methods.lora",
    "Method": "cliptune.methods.base",
    "Objective": "cliptune.objectives.base",
    "PromptTuning": "cliptune.methods.prompt_tuning",
    "Schedule": "cliptune.optim",
    "Sigmoid": "cliptune.objectives.sigmoid",
    "SimilarityDistillation": "cliptune.objectives.similarity_distillation",
    "StepRows": "cliptune.objectives.base",
    "Sum": "cliptune.objectives.sum",
    "load": "cliptune.loading",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from cliptune.adapted import AdaptedCLIP
    from cliptune.backbone import Backbone
    from cliptune.data.images import ImageTextData
    from cliptune.loading import load
    from cliptune.methods.base import Method
    from cliptune.methods.full import Full
    from cliptune.methods.linear_probe import LinearProbe
    from cliptune.methods.lora import LoRA
    from cliptune.methods.prompt_tuning import PromptTuning
    from cliptune.module import AdaptModule
    from cliptune.objectives.base import Objective, StepRows
    from cliptune.objectives.contrastive import Contrastive
    from cliptune.objectives.cross_entropy import CrossEntropy
    from cliptune.objectives.feature_distillation import FeatureDistillation
    from cliptune.objectives.l2sp import L2SP
    from cliptune.objectives.sigmoid import Sigmoid
    from cliptune.objectives.similarity_distillation import SimilarityDistillation
    from cliptune.objectives.sum import Sum
    from cliptune.optim import Schedule


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module cliptune has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
