"""Reads a `torch_export` export with torch alone."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))
from reading import Samples, per_second, run


@torch.no_grad()
def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of the image encoder, and the logits of the classifier where there is one."""
    encoder, about = load(folder / "image_encoder.pt2")
    pixels = torch.from_numpy(samples.pixels)
    found = {"image_rows": encoder(pixels)}
    one = encoder(pixels[:1])  # the batch is of any size
    assert torch.allclose(one, found["image_rows"][:1], atol=1e-4)
    facts: dict[str, Any] = {"torch": torch.__version__, "size": about["preprocess"]["size"]}
    if (folder / "classifier.pt2").is_file():
        classifier, about = load(folder / "classifier.pt2")
        found["logits"], facts["class_names"] = classifier(pixels), about["class_names"]
    facts["others_imported"] = sorted({"open_clip", "timm", "peft", "transformers"} & set(sys.modules))
    facts["images_per_second"] = per_second(lambda: encoder(pixels), len(pixels))
    return {key: value.numpy() for key, value in found.items()}, facts


def load(file: Path) -> tuple[Any, dict[str, Any]]:
    """A graph, and what stands in it about itself."""
    told = {"about.json": ""}
    return torch.export.load(file, extra_files=told).module(), json.loads(told["about.json"])


run(read)
