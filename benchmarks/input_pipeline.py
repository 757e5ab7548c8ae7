"""Images per second from the bytes of a JPEG to the model's input, against open_clip's own transform, on one core.

open_clip normalises each image in the same call; cliptune leaves uint8 and normalises the batch on the device, so each size has a
second line in which cliptune normalises here too. The photos are the two that come with scikit-learn, cropped, resized and with a
little grain, so that a JPEG of quality 90 has the size that one from a camera has.
"""

import argparse
import io
from collections.abc import Callable

import numpy as np
import torch
from measure import Line, alternate, report
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

from cliptune.images import decode
from cliptune.preprocess import Preprocess, normalize

SIZES = {(500, 400): 2.2, (1600, 1200): 2.5}  # pixels: goal
CONFIG = PreprocessCfg(size=(224, 224))
DIFFERENCE = 0.05  # levels of 255
GRAIN = 2.0  # levels


def photos(size: tuple[int, int], count: int) -> list[bytes]:
    """JPEGs of a size (width, height)."""
    rng = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    found: list[bytes] = []
    for i in range(count):
        source = sources[i % len(sources)]
        height = int(rng.integers(320, source.height))
        width = height * size[0] // size[1]
        left, top = (int(rng.integers(whole - part)) for whole, part in zip(source.size, (width, height), strict=True))
        pixels = np.asarray(source.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.LANCZOS), dtype=float)
        pixels = pixels + rng.normal(scale=GRAIN, size=(*pixels.shape[:2], 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def measure(size: tuple[int, int], goal: float, count: int, pairs: int) -> list[Line]:
    """Both lines of a size."""
    files = photos(size, count)
    theirs = image_transform_v2(CONFIG, is_train=False)
    ours = Preprocess(
        {"size": CONFIG.size, "interpolation": CONFIG.interpolation, "resize_mode": CONFIG.resize_mode}, torch.tensor, trim=False
    )
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (CONFIG.mean, CONFIG.std))

    def open_clip_way(data: bytes) -> Tensor:
        tensor: Tensor = theirs(Image.open(io.BytesIO(data)))
        return tensor

    def cliptune_way(data: bytes) -> Tensor:
        return ours.eval(decode(data))

    def normalized_way(data: bytes) -> Tensor:
        return normalize(cliptune_way(data), mean, std)

    # undone, to compare in levels: open_clip rounds to whole levels before it normalises
    levels = [((open_clip_way(data) * std + mean) * 255).round() for data in files]
    off = [(level - cliptune_way(data)).abs().mean().item() for level, data in zip(levels, files, strict=True)]
    notes = {"KB each": sum(map(len, files)) / count / 1000, "mean difference, levels": max(off)}
    if max(off) >= DIFFERENCE:
        raise SystemExit(f"{size}: the pixels differ by {max(off):.4f} levels in the mean, which is more than {DIFFERENCE}.")
    lines = []
    for way, case, at_least in ((cliptune_way, "", goal), (normalized_way, ", normalised", None)):
        turns = alternate(over(open_clip_way, files), over(way, files), pairs)
        lines.append(Line(f"{size[0]}x{size[1]}{case}", turns, count, at_least=at_least, notes=notes))
    return lines


def over(way: Callable[[bytes], Tensor], files: list[bytes]) -> Callable[[], object]:
    """A call that takes all files that way."""
    return lambda: [way(data) for data in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16, help="JPEGs of each size")
    parser.add_argument("--pairs", type=int, default=15, help="repetitions of each side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    report(
        "input_pipeline",
        "open_clip",
        "cliptune",
        [line for size, goal in SIZES.items() for line in measure(size, goal, given.images, given.pairs)],
    )


if __name__ == "__main__":
    main()
