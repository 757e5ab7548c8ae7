"""`classifier`: class rows as safetensors, a few kilobytes, to stand beside the rows that a CLIP gives of images."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from cliptune.adapted import AdaptedCLIP
from cliptune.errors import ExportError
from cliptune.export.base import Format, image_tower_is_prompted, image_tower_is_untouched, preprocessing


class Classifier(Format):
    """Class rows, scale and bias: logits = logit_scale * image_rows @ class_rows.T + bias."""

    name = "classifier"
    title = "class rows"
    folds = False

    def check(self, model: AdaptedCLIP) -> None:
        """It needs classes, and image rows of a plain tower."""
        if not model.class_names:
            raise ExportError("the model was adapted without classes, so there are no class rows. Use --format open_clip.")
        if image_tower_is_prompted(model):
            raise ExportError(
                "the image prompts that PromptTuning learned are part of the image tower, and class rows alone lose them. "
                "Use --format onnx or torch_export."
            )

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """One file; what the rows are of stands in its metadata."""
        names, found = model.class_rows()
        bias = torch.zeros(len(names)) if found.bias is None else found.bias.expand(len(names))
        tensors = {
            "class_rows": found.rows.float().cpu().contiguous(),
            "logit_scale": model.backbone.logit_scale.detach().float().cpu().reshape(1).clone(),
            "bias": bias.float().cpu().contiguous().clone(),
        }
        arguments = model.backbone.describe()["arguments"]
        about = {
            "class_names": json.dumps(names, ensure_ascii=False),
            "backbone": json.dumps(arguments),
            "base_fingerprint": str(model.about["base_fingerprint"]),
            "image_tower": "untouched" if image_tower_is_untouched(model) else "adapted",
            "preprocess": json.dumps(preprocessing(model)),
        }
        save_file(tensors, folder / "classifier.safetensors", metadata=about)

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """With numpy."""
        tower = "the untouched CLIP" if image_tower_is_untouched(model) else "the adapted image tower (--format open_clip)"
        return (
            "from safetensors.numpy import load_file\n\n"
            f'c = load_file("{place}/classifier.safetensors")\n'
            f'logits = image_rows @ c["class_rows"].T * c["logit_scale"] + c["bias"]  # unit rows of {tower}'
        )
