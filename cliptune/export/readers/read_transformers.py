"""Reads a `transformers` export by `from_pretrained`, offline: model, image processor and tokenizer."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before it is imported: what is not in the folder must not come from elsewhere

import numpy as np
import torch
import transformers
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

sys.path.append(str(Path(__file__).parent))
from reading import Samples, run


@torch.no_grad()
def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows by the model's own projections, and the similarity that its forward gives."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    words = processor.tokenizer(samples.texts, padding="max_length", truncation=True, return_tensors="pt")
    words.pop("token_type_ids", None)
    pixels = torch.from_numpy(samples.pixels)
    own = processor.image_processor(images=samples.images, return_tensors="pt")["pixel_values"]
    if model.config.model_type == "siglip":
        words.pop("attention_mask", None)  # it attends to its padding
    said = model(pixel_values=pixels, **words)
    found = {
        "image_rows": normalize(said.image_embeds, dim=-1),
        "text_rows": normalize(said.text_embeds, dim=-1),
        "own_image_rows": normalize(model(pixel_values=own, **words).image_embeds, dim=-1),
        "similarity": said.logits_per_image,
    }
    facts = {"transformers": transformers.__version__, "class": type(model).__name__}
    return {key: value.numpy() for key, value in found.items()}, facts


run(read)
