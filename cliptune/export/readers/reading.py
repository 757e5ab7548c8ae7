"""What the readers share: one job after another, samples in, tensors and facts out. Knows nothing of cliptune.

A reader is a script of its own, run by `python -I`: it reads an export with the other library alone, as its user would.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file


class Samples(NamedTuple):
    """What to read an export with."""

    pixels: np.ndarray  # [N, 3, h, w], float32, normalised
    rows: np.ndarray  # [N, D], what the model itself gives for them
    images: list[Image.Image]
    texts: list[str]


def run(read: Callable[[Path, Samples], tuple[dict[str, np.ndarray], dict[str, Any]]]) -> None:
    """Read each export of the command line: its folder, that of the samples, and that for what is found."""
    words = [Path(word) for word in sys.argv[1:]]
    for folder, samples, out in zip(words[::3], words[1::3], words[2::3], strict=True):
        seen = load_file(samples / "pixels.safetensors")
        images = [Image.open(file).convert("RGB") for file in sorted(samples.glob("*.png"))]
        texts = json.loads((samples / "texts.json").read_text(encoding="utf-8"))
        found, facts = read(folder, Samples(seen["pixels"], seen["rows"], images, texts))
        save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in found.items()}, out / "found.safetensors")
        facts["cliptune_imported"] = "cliptune" in sys.modules
        (out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def per_second(encode: Callable[[], object], images: int) -> float:
    """Images per second, the best of three after one to warm up."""
    encode()
    took = []
    for _ in range(3):
        began = time.perf_counter()
        encode()
        took.append(time.perf_counter() - began)
    return images / min(took)
