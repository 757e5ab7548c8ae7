"""Turns a pretraining run into the bundled nano: float16 safetensors, and the figures of its card, measured on those weights.

python configs/pretrain/ship_nano.py RUN_OR_CHECKPOINT [--data ../shared/data]

Only what stands between the card's two marks is written; how the weights were trained is told by hand below them.
"""

import argparse
import re
from pathlib import Path

import lightning as L
from safetensors.torch import save_file

import cliptune
from cliptune import AdaptModule, Backbone, Contrastive, Full, ImageTextData
from cliptune.pretrained import NANO

CARD = NANO / "README.md"
MARKS = ("<!-- figures: written by configs/pretrain/ship_nano.py -->\n", "<!-- end of figures -->\n")
SETS = {  # data set: how it is read
    "tiny_imagenet_32": {"splits": {"test": "validation"}, "caption_column": None},
    "caltech101": {"caption_column": None},
    "flickr8k": {},
}


def measure(name: str, data: Path) -> dict[str, float]:
    """Score the bundled nano, as it now lies in the package, zero-shot on a set."""
    backbone = Backbone("nano")
    rows = ImageTextData(str(data / name / "data.parquet"), batch_size=256, preprocess=backbone.preprocess, **SETS[name])
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    return dict(trainer.test(AdaptModule(backbone, Full(), Contrastive()), datamodule=rows, verbose=False)[0])


def table(data: Path) -> str:
    """Size and zero-shot figures."""
    tiny, caltech, flickr = (measure(name, data) for name in SETS)
    ways = [tuple(flickr[f"test/recall@{k}_{way}"] for k in (1, 10)) for way in ("image_to_text", "text_to_image")]
    count = sum(p.numel() for p in Backbone("nano").parameters())
    size = (NANO / "open_clip_model.safetensors").stat().st_size / 1e6
    return f"""{count:,} parameters, {size:.1f} MB.

| set | metric | zero-shot | chance |
|---|---|---|---|
| tiny_imagenet_32 validation: 10,000 images, 200 classes | top-1 | {tiny["test/top1"]:.3f} | 0.005 |
| caltech101 test: 2,465 images, 100 classes | top-1 | {caltech["test/top1"]:.3f} | 0.010 |
| flickr8k test: 1,000 images, 5,000 captions | image to text R@1, R@10 | {ways[0][0]:.3f}, {ways[0][1]:.3f} | 0.001, 0.010 |
| the same | text to image R@1, R@10 | {ways[1][0]:.3f}, {ways[1][1]:.3f} | 0.001, 0.010 |
"""


def main() -> None:
    """Write weights and figures into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    file = given.run / "checkpoints" / "last.ckpt" if given.run.is_dir() else given.run
    model = cliptune.load(file).backbone.model
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, str(NANO / "open_clip_model.safetensors"))
    card = CARD.read_text(encoding="utf-8")
    figures = MARKS[0] + table(given.data) + MARKS[1]
    CARD.write_text(re.sub(f"{MARKS[0]}.*{MARKS[1]}", lambda _: figures, card, flags=re.DOTALL), encoding="utf-8")
    print(figures)


if __name__ == "__main__":
    main()
