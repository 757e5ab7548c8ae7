"""A frozen image tower under bfloat16 autocast, as the cache runs it, against open_clip's own evaluation under the same autocast.

The goal, 2 times as fast, is for CPUs with avx512_bf16; elsewhere bfloat16 is emulated, and the line says which machine it was.
"""

import argparse

import open_clip
import torch
from full_step import prepare
from measure import Line, alternate, report

from cliptune import attention


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    prepare(given.threads)
    model = open_clip.create_model(given.model).eval().requires_grad_(False)
    images = torch.randn(given.batch, 3, 224, 224)
    lines = []
    for name, dtype, least in (("bfloat16", torch.bfloat16, 2.0), ("float32", None, None)):

        def theirs(dtype: torch.dtype | None = dtype) -> None:
            with torch.inference_mode(), torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
                model.encode_image(images)

        def ours() -> None:
            with attention.fused(model):
                theirs()

        pairs = alternate(theirs, ours, given.pairs, 1)
        lines.append(Line(f"{given.model}, {name}: open_clip's time / ours", pairs, given.batch, at_least=least))
    report("frozen_forward", "open_clip", "cliptune", lines)


if __name__ == "__main__":
    main()
