"""Turns a pretraining run into the bundled nano: float16 safetensors and the model card, with figures that it measures.

python configs/pretrain/ship_nano.py RUN_OR_CHECKPOINT [--data ../shared/data] [--minutes M]
"""

import argparse
import json
from pathlib import Path

import lightning as L
import torch
from safetensors.torch import save_file

import cliptune
from cliptune import AdaptModule, Backbone, Contrastive, Full, ImageTextData
from cliptune.backbone import NANO
from cliptune.checkpoint import read

SETS = {  # data set, split names, what the captions say
    "tiny_imagenet_32": {"splits": {"test": "validation"}, "caption_column": None},
    "caltech101": {"caption_column": None},
    "flickr8k": {},
}


def measure(data: Path) -> dict[str, dict[str, float]]:
    """Score the bundled nano, as it now lies in the package, zero-shot on each set."""
    found = {}
    for name, options in SETS.items():
        backbone = Backbone("nano")
        rows = ImageTextData(str(data / name / "data.parquet"), batch_size=256, preprocess=backbone.preprocess, **options)
        trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        found[name] = trainer.test(AdaptModule(backbone, Full(), Contrastive()), datamodule=rows, verbose=False)[0]
    return found


def card(found: dict[str, dict[str, float]], pairs: int, minutes: float, size: float) -> str:
    """The model card."""
    tiny, caltech, flickr = (found[name] for name in SETS)
    backbone = Backbone("nano")
    count = sum(p.numel() for p in backbone.parameters())
    return f"""# nano: a real, weak CLIP for offline tutorials and tests

A ViT at 48 pixels (patch 8, width 192, 6 layers) beside a text transformer of context 32 (width 128, 4 layers, the standard
49,408-word BPE vocabulary): {count:,} parameters, {size:.1f} MB in float16. It knows a little of many things and nothing well. Do not
use it for anything but trying cliptune.

Zero-shot, measured on these weights by `configs/pretrain/ship_nano.py`:

| set | metric | value | chance |
|---|---|---|---|
| tiny_imagenet_32 validation, 10,000 images, 200 classes | top-1 | {tiny["test/top1"]:.3f} | 0.005 |
| caltech101 test, 2,465 images, 100 classes | top-1 | {caltech["test/top1"]:.3f} | 0.010 |
| flickr8k test, 1,000 images, 5,000 captions | image to text R@1 / R@10 | {flickr["test/recall@1_image_to_text"]:.3f} / {flickr["test/recall@10_image_to_text"]:.3f} | 0.001 / 0.010 |
| flickr8k test | text to image R@1 / R@10 | {flickr["test/recall@1_text_to_image"]:.3f} / {flickr["test/recall@10_text_to_image"]:.3f} | 0.001 / 0.010 |

One template, `a photo of a {{}}.`; an image counts as found when any of its captions is. Note that caltech101's and tiny_imagenet's
classes, not their test images, were seen in training.

## Training

From scratch with cliptune's Contrastive objective: `make nano`, that is

    cliptune fit --config configs/pretrain/nano.yaml
    python configs/pretrain/ship_nano.py runs/nano

{pairs:,} pairs of the train splits of tiny_imagenet_32 (60,000), flickr8k (6,000, three captions of five an epoch), caltech101 (4,128, twice an epoch) and
emoji_styles (6,792), in {minutes:.0f} minutes on one thread of an AMD EPYC with avx512_bf16. Half of the patches are left out in training (Li et al.
2023, FLIP).

## Licence

The weights are for research only: ImageNet's terms (non-commercial research), Flickr8k (research and education) and Caltech-101 (not
stated) bind what is made from them. The emoji are Apache-2.0, CC BY 4.0 and MIT. cliptune's code is Apache-2.0.

Cleaned of nothing: it has the biases of its data, and 10 million parameters to hold them.
"""


def main() -> None:
    """Write weights, figures and card into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, help="of training, where the run has no summary.json")
    args = parser.parse_args()
    file = args.run / "checkpoints" / "last.ckpt" if args.run.is_dir() else args.run
    checkpoint = read(file)
    model = cliptune.load(file).backbone.model
    weights = NANO / "open_clip_model.safetensors"
    save_file({name: value.detach().half().contiguous() for name, value in model.state_dict().items()}, str(weights))
    summary = args.run / "summary.json"
    minutes = args.minutes if args.minutes is not None else json.loads(summary.read_text())["seconds"]["fit"] / 60
    steps, batch = checkpoint["global_step"], 256
    torch.set_grad_enabled(False)
    (NANO / "README.md").write_text(card(measure(args.data), steps * batch, minutes, weights.stat().st_size / 1e6), encoding="utf-8")
    print((NANO / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
