"""The untouched CLIP beside the one that learns: the same weights with what was added switched off; a copy only of what itself changes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.data.batches import Batch
from cliptune.methods.base import ClassTexts, Method
from cliptune.methods.full import Full
from cliptune.objectives.base import StepRows
from cliptune.rows import encoded_images, encoded_texts
from cliptune.similarity import exact

if TYPE_CHECKING:
    from cliptune.module import AdaptModule


class Teacher(nn.Module):
    """Gives what the untouched CLIP says, and how far what learns has moved.

    Args:
        backbone: untouched still, its method attached.
        method: attached. Where it changes the backbone's weights, those that learn are copied; frozen ones are shared.
    """

    copy: Backbone | None
    scale: Tensor

    def __init__(self, backbone: Backbone, method: Method) -> None:
        super().__init__()
        shared = {id(p): p for p in backbone.parameters() if not p.requires_grad}
        shared[id(backbone.preprocess)] = backbone.preprocess  # type: ignore[assignment]
        self.copy = deepcopy(backbone, shared).requires_grad_(False).eval() if method.changes_weights else None
        self.register_buffer("scale", backbone.logit_scale.detach().clone(), persistent=False)
        self._class_rows: Tensor | None = None

    def train(self, mode: bool = True) -> Teacher:
        """It never trains."""
        return super().train(False)

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        """Nothing: it can be made again, and gathered from shards it would fill a memory for nothing."""
        return {} if destination is None else destination

    @torch.no_grad()
    def rows(self, module: AdaptModule, batch: Batch, rows: StepRows) -> StepRows:
        """What the untouched CLIP says of a batch.

        Args:
            module: that learns.
            batch: of `TrainView`.
            rows: what the module says; what a wholly frozen tower says is not computed again.
        """
        backbone = self.copy or module.backbone
        frozen = {name: module.frozen[name] > len(T.blocks(tower)) for name, tower in module.backbone.towers().items()}
        with self._untouched(module):
            images = rows.images.detach() if frozen["image"] else encoded_images(module, batch, backbone, backbone.encode_image)
            texts = None
            if rows.texts is not None:
                texts = rows.texts.detach() if frozen["text"] else encoded_texts(module, batch, backbone.encode_text)[batch["text"]]
            classes = None if rows.classes is None else self._classes(backbone, module.classes)
        return StepRows(images, self.scale, texts=texts, classes=classes, class_bias=backbone.logit_bias)

    def drift(self, module: AdaptModule) -> Tensor:
        """The squared distance of what learns from where it started, in float32."""
        with exact(self.scale.device):
            return module.method.drift(module.backbone, self.copy)

    def _untouched(self, module: AdaptModule) -> AbstractContextManager[None]:
        return nullcontext() if self.copy is not None else module.method.untouched(module.backbone)

    def _classes(self, backbone: Backbone, classes: ClassTexts) -> Tensor:
        if self._class_rows is None:
            self._class_rows = Full().class_rows(backbone, classes).rows
        return self._class_rows
