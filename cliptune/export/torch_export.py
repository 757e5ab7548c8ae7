"""`torch_export`: the image encoder, and with classes the classifier, as `.pt2` graphs that torch alone runs."""

import json
from pathlib import Path

import torch
from torch import nn

from cliptune.adapted import AdaptedCLIP
from cliptune.export.base import Format, preprocessing
from cliptune.export.encoders import Classifier, ImageEncoder

EXAMPLES = 2  # a batch of one would be taken for a constant


class TorchExport(Format):
    """Graphs of `torch.export`."""

    name = "torch_export"
    title = "torch.export"

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """A file for each graph; what goes in and comes out stands in it as `about.json`."""
        about: dict[str, object] = {"input": "pixel_values [B, 3, h, w] float32, normalised", "preprocess": preprocessing(model)}
        self._save(ImageEncoder(model), folder / "image_encoder.pt2", model, {**about, "output": "unit rows [B, D]"})
        if model.class_names:
            said = {**about, "output": "logits [B, C]", "class_names": model.class_names}
            self._save(Classifier(model), folder / "classifier.pt2", model, said)

    def _save(self, module: nn.Module, file: Path, model: AdaptedCLIP, about: dict[str, object]) -> None:
        example = torch.zeros(EXAMPLES, 3, *model.backbone.preprocess.size)
        with torch.no_grad():
            graph = torch.export.export(
                module.eval(), (example,), dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}}, strict=False
            )
        torch.export.save(graph, file, extra_files={"about.json": json.dumps(about, ensure_ascii=False)})

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """With torch alone."""
        return (
            "import torch\n\n"
            f'encoder = torch.export.load("{place}/image_encoder.pt2").module()\n'
            "rows = encoder(pixel_values)  # [B, 3, h, w] float32, normalised"
        )
