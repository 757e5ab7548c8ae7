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
    extra = {"about.json": ""}
    encoder = torch.export.load(folder / "image_encoder.pt2", extra_files=extra).module()
    pixels = torch.from_numpy(samples.pixels)
    found = {"image_rows": encoder(pixels)}
    one = encoder(pixels[:1])  # the batch is of any size
    assert torch.allclose(one, found["image_rows"][:1], atol=1e-4)
    if (folder / "classifier.pt2").is_file():
        found["logits"] = torch.export.load(folder / "classifier.pt2").module()(pixels)
    others = sorted({"open_clip", "timm", "peft", "transformers"} & set(sys.modules))
    about = json.loads(extra["about.json"])
    facts = {"torch": torch.__version__, "others_imported": others, "size": about["preprocess"]["size"]}
    facts["images_per_second"] = per_second(lambda: encoder(pixels), len(pixels))
    return {key: value.numpy() for key, value in found.items()}, facts


run(read)
