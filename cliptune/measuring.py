"""Who is measured when: the extra measures of a model's two states, beside the trainer's own passes."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from cliptune.adapted import AdaptedCLIP
from cliptune.audit import evaluating
from cliptune.checkpoint import recipe
from cliptune.data.images import ImageTextData
from cliptune.evaluate import Evaluate
from cliptune.measures.base import Measured
from cliptune.measures.bias import measure_bias
from cliptune.measures.checking import check_measures
from cliptune.measures.composition import measure_composition
from cliptune.measures.crops import measure_crops
from cliptune.measures.templates import template_hint, template_scores
from cliptune.module import AdaptModule
from cliptune.processes import tell
from cliptune.scores import State


class Measures(Callback):
    """Refuses, before training, what cannot be measured on this data.

    Args:
        wanted: what is to be measured.
    """

    def __init__(self, wanted: Evaluate) -> None:
        self.wanted = wanted

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called when the data is set up."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, ImageTextData):
            check_measures(self.wanted, data)


def measure(trainer: L.Trainer, module: AdaptModule, data: ImageTextData, wanted: Evaluate, state: State, split: str) -> None:
    """Let a state have what else is to be measured of the module as it stands, on the first process; the others wait.

    Args:
        trainer: whose precision holds here too.
        module: attached.
        data: set up.
        wanted: what is to be measured, on the test split.
        state: whose split was just scored.
        split: `validate` or `test`.
    """
    if module.sharded:
        if split == "test" and (wanted.crops or wanted.composition or wanted.bias):
            tell("crops, composition and bias are not measured under FSDP2: cliptune test --ckpt_path RUN on one device does")
        return
    if trainer.is_global_zero:
        model = AdaptedCLIP(module.backbone, module.speaker, recipe(module))
        with evaluating(module), torch.no_grad(), trainer.precision_plugin.forward_context():
            if split == "test":
                state.measured = _on_test(model, data, wanted)
            elif state.validation.rows is not None and state.validation.classes is not None:
                classes = state.validation.classes
                state.templates = template_scores(model, data, state.validation.rows, classes.label, classes.several)
                if hint := template_hint(state.templates):
                    tell(hint)
    trainer.strategy.barrier()


def _on_test(model: AdaptedCLIP, data: ImageTextData, wanted: Evaluate) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    if wanted.composition:
        found["composition"] = measure_composition(model, data, wanted.composition)
    if wanted.bias is not None:
        found["bias"] = measure_bias(model, data, wanted.bias)
    if wanted.crops is not None:
        found["crops"] = measure_crops(model, data, wanted.crops)
    return found
