"""Reads an `open_clip` export: by its `local-dir:` name, and its weights as a plain `pretrained` file."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch.nn.functional import normalize

sys.path.append(str(Path(__file__).parent))
from reading import Samples, run


@torch.no_grad()
def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of the images and texts; and of the images under open_clip's own transform."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(samples.texts)
    pixels = torch.from_numpy(samples.pixels)
    own = torch.stack([transform(image) for image in samples.images])
    found = {
        "image_rows": normalize(model.encode_image(pixels), dim=-1),
        "text_rows": normalize(model.encode_text(tokens), dim=-1),
        "own_image_rows": normalize(model.encode_image(own), dim=-1),
        "plain_image_rows": normalize(plain(folder).encode_image(pixels), dim=-1),
    }
    found["similarity"] = model.logit_scale.exp() * found["image_rows"] @ found["text_rows"].T
    if model.logit_bias is not None:
        found["similarity"] += model.logit_bias
    return {key: value.numpy() for key, value in found.items()}, {"open_clip": open_clip.__version__}


def plain(folder: Path) -> Any:
    """The model by its architecture's name, the weights as a `pretrained` file."""
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / f"exported-{folder.name}.json").write_text(json.dumps(config), encoding="utf-8")
        open_clip.add_model_config(scratch)
        return open_clip.create_model(f"exported-{folder.name}", pretrained=str(folder / "open_clip_model.safetensors")).eval()


run(read)
