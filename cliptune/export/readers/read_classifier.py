"""Reads a `classifier` export with safetensors and numpy alone, beside image rows that any CLIP gives."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors import safe_open
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).parent))
from reading import Samples, run


def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The logits of the image rows that stand beside the samples."""
    file = folder / "classifier.safetensors"
    parts = load_file(file)
    with safe_open(file, "numpy") as opened:
        names = json.loads(opened.metadata()["class_names"])
    assert len(names) == len(parts["class_rows"])
    logits = samples.rows @ parts["class_rows"].T * parts["logit_scale"] + parts["bias"]
    return {"logits": logits}, {"safetensors": safetensors.__version__, "class_names": names}


run(read)
