"""The last block for the pooled token alone, against the whole of it: images and texts encoded, and a step's forward and backward."""

import argparse
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from alone import extra_alone
from measure import RESULTS, Line, alternate, report

from cliptune import pooled
from cliptune.backbone import Backbone


def steps(name: str, batch: int, whole: bool) -> dict[str, Callable[[], object]]:
    """What a backbone with random weights does, by name.

    Args:
        name: `nano` or an open_clip architecture.
        batch: images, and texts of the context's length.
        whole: compute the whole last block.
    """
    torch.manual_seed(0)
    backbone = Backbone(name, None if name == "nano" else "random")
    for tower in backbone.towers().values() if whole else ():
        pooled.remove(tower)
    images = torch.randint(0, 256, (batch, 3, *backbone.preprocess.size), dtype=torch.uint8)
    length = open_clip.get_model_config(name)["text_cfg"]["context_length"] if name != "nano" else backbone.model.context_length
    tokens = torch.randint(1, 1000, (batch, length))
    tokens[:, -1] = 49407

    def step() -> None:
        backbone.zero_grad()
        (backbone.encode_image(images) @ backbone.encode_text(tokens).T).sum().backward()

    encode = torch.inference_mode()
    return {"images": encode(lambda: backbone.encode_image(images)), "texts": encode(lambda: backbone.encode_text(tokens)), "step": step}


def one_step(name: str, batch: int, whole: bool) -> Callable[[], object]:
    """The step alone, for its memory."""
    return steps(name, batch, whole)["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano", "ViT-B-32"], help="open_clip architectures, or nano")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    lines = []
    for name in given.models:
        ours, whole = (steps(name, given.batch, each) for each in (False, True))
        for what in ours:
            pairs = alternate(ours[what], whole[what], given.pairs)
            line = Line(f"{name}, {what}, batch {given.batch}", pairs, given.batch, at_most=1.0)
            if what == "step":
                extra = [extra_alone(one_step, name, given.batch, each) for each in (False, True)]
                line.notes["memory of a step, ratio"] = extra[0] / extra[1]
            lines.append(line)
    report("pooled_block", "pooled token", "whole block", lines, folder=given.output)


if __name__ == "__main__":
    main()
