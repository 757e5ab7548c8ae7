"""Writes what this release leaves behind, for later ones to read. A release adds its own folder, once, and changes no older one.

    python tests/golden/write.py

nano, one rank of LoRA in the image tower's last block, moved at random and not trained: what counts is the files' form.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from adapted_runs import adapted_run

import cliptune
from cliptune.data.formats.digits import digits
from cliptune.export.peft import Peft

FOLDER = Path(__file__).parent / cliptune.__version__
TEXTS = ["a photo of a cat.", "seven"]


def main() -> None:
    """Write the checkpoint, peft's folder, and what they say."""
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} is there already, and stays as it was written.")
    run = adapted_run("nano", cliptune.LoRA(rank=1, towers="image", layers={"last": 1}), FOLDER / "run", amount=0.1)
    model = cliptune.load(run)
    (FOLDER / "adapter").mkdir()
    Peft().write(model, FOLDER / "adapter", "fp32")
    images = [digits()["test"][i]["image"]["bytes"] for i in range(3)]
    said = {
        "image_rows": model.encode_images(images),
        "text_rows": model.encode_texts(TEXTS),
        "probabilities": model.classify(images).probabilities,
    }
    save_file({name: value.contiguous() for name, value in said.items()}, FOLDER / "said.safetensors")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
