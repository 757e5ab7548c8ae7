"""The exported ONNX image encoder in onnxruntime, against the same model in torch: open_clip's own in evaluation, and cliptune's.

The file is what `cliptune export --format onnx` writes; the session has onnxruntime's defaults and as many threads as torch. Rows of all
sides must agree. All of it runs on the CPU, where there is a GPU too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from adapter_sides import floating_rate, greatest_rate
from full_step import prepare
from measure import RESULTS, Line, absent_of, alternate, report
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.export.open_clip import OpenClip
from cliptune.loading import load, untouched

SAME = 2e-5  # of rows of unit length
SIZES = (1, 32)
SIDES = ("open_clip", "cliptune")


def exported(model: str, folder: Path) -> AdaptedCLIP:
    """The model in torch; its ONNX files lie in `folder`/onnx."""
    source = model
    if model != "nano":
        (folder / "plain").mkdir()
        OpenClip().write(untouched(model, "random"), folder / "plain", "fp32")
        source = f"local-dir:{folder / 'plain'}"
    words = [sys.executable, "-m", "cliptune", "export", source, "--format", "onnx", "--output", str(folder / "onnx")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return load(source)


def session(file: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """From pixels to rows."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    opened = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda pixels: opened.run(None, {"pixel_values": pixels})[0]


def plain(backbone: Backbone, model: str) -> Callable[[Tensor], Tensor]:
    """open_clip's own model, in evaluation and without a gradient."""
    source = backbone.name if model != "nano" else f"local-dir:{Path(__file__).parents[1] / 'cliptune' / 'nano'}"
    own: Any = open_clip.create_model(source).eval()

    def call(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return F.normalize(own.encode_image(pixels), dim=-1)

    return call


def lines_of(model: str, given: argparse.Namespace) -> list[Line]:
    """Of one architecture, at each size, against both."""
    with tempfile.TemporaryDirectory() as name:
        adapted = exported(model, Path(name))
        graph = session(Path(name) / "onnx" / "image_encoder.onnx", given.threads)
        torch_sides = dict(zip(SIDES, (plain(adapted.backbone, model), adapted.encode_pixels), strict=True))
    found, greatest = [], greatest_rate(False, "cpu")
    for size in given.sizes:
        pixels = torch.randn(size, 3, *adapted.backbone.preprocess.size, generator=torch.Generator().manual_seed(size))
        rows = torch.from_numpy(graph(pixels.numpy()))
        counted = partial(adapted.backbone.encode_image, pixels.clone().requires_grad_())  # torch's fast path counts no operations
        for side, call in torch_sides.items():
            apart = float((call(pixels) - rows).abs().max())
            if apart > SAME:
                raise SystemExit(f"{model}: the rows of onnxruntime and of {side} are {apart:.2g} apart: they do not do the same work.")
            pairs = alternate(partial(graph, pixels.numpy()), partial(call, pixels), given.pairs * max(32 // size, 1))
            shares = [floating_rate(counted, median(seconds)) / greatest for seconds in (pairs.a, pairs.b)]
            notes = {"rows apart": apart, "onnxruntime, share of the products' rate": shares[0], "torch, share": shares[1]}
            goal = round(1 / 1.2, 3) if side == "open_clip" else None
            found.append(Line(f"{model}, {size} at a time, {side} in torch", pairs, size, at_most=goal, notes=notes))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["ViT-B-32", "nano"], help="open_clip architectures, with random weights")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="images at a time")
    parser.add_argument("--pairs", type=int, default=10, help="of 32 images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    prepare(given.threads)
    absent = absent_of("onnxruntime", ("onnx", "onnxscript", "onnxruntime"), "'cliptune[onnx]'")
    lines = [] if absent else [line for model in given.models for line in lines_of(model, given)]
    report("onnx_speed", "onnxruntime", "torch", lines, absent, given.output)


if __name__ == "__main__":
    main()
