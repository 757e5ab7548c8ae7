"""What torch's attention costs against ours, which computes batch first: frozen images, a step of learned words, a step of both towers.

All else is the same on both sides, the last block included; bfloat16 (autocast) and float32, forward alone under inference mode. Steps of
learned words are `PromptTuning`'s with 16 words for 100 classes and rows of images that are known.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from full_step import prepare
from measure import RESULTS, Line, alternate, report

from cliptune import batch_first
from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts
from cliptune.methods.prompt_tuning import PromptTuning

CLASSES = 100


def steps(name: str, batch: int, half: bool, torchs: bool) -> dict[str, Callable[[], object]]:
    """What a backbone does, by name.

    Args:
        name: `nano` or an open_clip architecture, with random weights.
        batch: images, and texts.
        half: in bfloat16.
        torchs: by torch's attention.
    """
    torch.manual_seed(0)
    backbone = Backbone(name, None if name == "nano" else "random").eval()
    for tower in backbone.towers().values() if torchs else ():
        batch_first.remove(tower)
    images = torch.randint(0, 256, (batch, 3, *backbone.preprocess.size), dtype=torch.uint8)
    tokens = backbone.preprocess.tokenize([f"a photograph of one small thing, number {i}" for i in range(batch)])
    names = [f"class number {i}" for i in range(CLASSES)]
    classes = ClassTexts(names, [[f"a photo of a {one}."] for one in names], backbone.preprocess)
    method = PromptTuning(init="random", words=16)
    method.attach(backbone, classes)
    own, labels = torch.arange(batch), torch.arange(batch) % CLASSES
    rows = F.normalize(torch.randn(batch, backbone.config["embed_dim"]), dim=-1)

    def inner() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=half)

    @torch.inference_mode()
    def frozen() -> None:
        with inner():
            backbone.encode_image(images)

    def words() -> None:
        backbone.requires_grad_(False)
        with inner():
            loss = F.cross_entropy(100 * rows @ method.class_rows(backbone, classes).rows.T, labels)
        loss.backward()

    def full() -> None:
        backbone.requires_grad_(True)
        with inner():
            loss = F.cross_entropy(100 * backbone.encode_image(images) @ backbone.encode_text(tokens).T, own)
        loss.backward()
        backbone.zero_grad()

    return {"frozen images": frozen, "a step of learned words": words, "a step of both towers": full}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano", "ViT-B-32"], help="open_clip architectures, or nano")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    prepare(given.threads)
    lines = []
    for name in given.models:
        for half in (True, False):
            ours, theirs = (steps(name, given.batch, half, torchs) for torchs in (False, True))
            for what in ours:
                case = f"{name}, {what}, {'bfloat16' if half else 'float32'}"
                lines.append(Line(case, alternate(ours[what], theirs[what], given.pairs), given.batch, at_most=1.0))
    report("attention_forms", "batch first", "torch's", lines, folder=given.output)


if __name__ == "__main__":
    main()
