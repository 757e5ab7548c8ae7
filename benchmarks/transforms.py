"""Training views per second of each preset against `clip`, on one core, from decoded images to the model's input of 224.

Photos are those of `input_pipeline`; pixel art is of 32 pixels. Decoding is left out: it takes as long for each.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from input_pipeline import CONFIG, photos
from measure import Line, alternate, report
from torch import Tensor

from cliptune.augment import PRESETS
from cliptune.images import decode
from cliptune.preprocess import Preprocess

SIZE = (500, 400)  # pixels
SPRITE = 32


def measure(preset: str, images: list[Tensor], pairs: int) -> Line:
    """The line of a preset."""
    preprocess = Preprocess({"size": CONFIG.size}, torch.tensor, trim=False)

    def epoch(name: str) -> Callable[[], object]:
        return lambda: [preprocess.train(image, np.random.default_rng((0, i)), preset=name) for i, image in enumerate(images)]

    turns = alternate(epoch("clip"), epoch(preset), pairs)
    height, width = images[0].shape[1:]
    return Line(f"{preset}, {width}x{height}", turns, len(images))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=15, help="repetitions of each side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    large = [decode(data) for data in photos(SIZE, given.images)]
    small = [image[:, :SPRITE, :SPRITE].contiguous() for image in large]
    lines = [measure(name, small if PRESETS[name].crop == "grid" else large, given.pairs) for name in PRESETS]
    report("transforms", "clip", "preset", lines)


if __name__ == "__main__":
    main()
