"""Reads a `peft` export with plain peft, on the open_clip model that cliptune prepares: its attention split into Linears."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from peft import PeftModel
from torch.nn.functional import normalize

from cliptune import attention
from cliptune.backbone import Backbone
from cliptune.loading import load

sys.path.append(str(Path(__file__).parent))
from reading import Samples, run


@torch.no_grad()
def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows by peft, and by `cliptune.load`."""
    recipe = json.loads((folder / "cliptune.json").read_text(encoding="utf-8"))
    backbone = Backbone(**recipe["backbone"]["arguments"]).eval()
    attention.split(backbone.model)
    adapted: Any = PeftModel.from_pretrained(backbone.model, str(folder)).eval().base_model.model
    pixels, tokens = torch.from_numpy(samples.pixels), backbone.preprocess.tokenizer(samples.texts)
    loaded = load(folder)
    found = {
        "image_rows": normalize(adapted.encode_image(pixels), dim=-1),
        "text_rows": normalize(adapted.encode_text(tokens), dim=-1),
        "loaded_image_rows": loaded.encode_pixels(pixels),
    }
    return {key: value.numpy() for key, value in found.items()}, {"peft": peft.__version__}


run(read)
