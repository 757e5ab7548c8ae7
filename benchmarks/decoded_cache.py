"""Training views per second from kept decoded images, against decoding each JPEG every epoch, on one core, stacked in batches.

The photos are those of `input_pipeline`; the kept images are written once before, and how long that takes is a column. Both sides draw the
same crops, and the column of differences says in levels of 255 how far the views are apart: what is kept of a large image is smaller.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import torch
from input_pipeline import CONFIG, photos
from measure import Line, alternate, report, timed
from torch import Tensor

from cliptune.data.batches import Rows
from cliptune.data.columns import Columns
from cliptune.data.kept.decoded import DecodedImages, decoded_images
from cliptune.data.kept.store import RowStore
from cliptune.data.split import Split
from cliptune.images import decode
from cliptune.preprocess import Preprocess

SIZES = {(500, 400): 4.0, (1600, 1200): 4.0}  # pixels: goal
SCALE = (0.9, 1.0)
BATCH = 32


def measure(size: tuple[int, int], goal: float, count: int, pairs: int) -> Line:
    """The line of a size."""
    files = photos(size, count)
    preprocess = Preprocess({"size": CONFIG.size}, torch.tensor, trim=False)
    table = datasets.Dataset.from_dict({"image": files, "label": ["a"] * count})
    rows = Rows([Split(table, Columns("image", None, "label"), [Path()], "photos")])
    with tempfile.TemporaryDirectory() as folder:
        made: list[DecodedImages | None] = []
        seconds = timed(lambda: made.append(decoded_images(RowStore(Path(folder), 20), rows, preprocess, 0, SCALE)))
        kept = made[0]
        if kept is None:
            raise SystemExit(f"{folder} has no room for {count} images.")

        def decoding(number: int, rng: np.random.Generator) -> Tensor:
            return preprocess.train(decode(files[number]), rng, SCALE, 0.5)

        def keeping(number: int, rng: np.random.Generator) -> Tensor:
            cut = kept.cut(number, lambda height, width: preprocess.draw_box(height, width, rng, SCALE))
            return preprocess.finish(cut, rng, SCALE, 0.5)

        apart = (epoch(decoding, count).float() - epoch(keeping, count).float()).abs().mean(dim=(1, 2, 3))
        turns = alternate(lambda: epoch(decoding, count), lambda: epoch(keeping, count), pairs)
        notes = {
            "KB a file": sum(map(len, files)) / count / 1000,
            "KB kept": kept.table[[0]].numel() / 1000,
            "difference, levels": apart.mean().item(),
            "images/s, keeping": count / seconds,
        }
    return Line(f"{size[0]}x{size[1]}", turns, count, at_least=goal, notes=notes)


def epoch(view: Callable[[int, np.random.Generator], Tensor], count: int) -> Tensor:
    """The last batch of all images, each seen by draws of its own."""
    for start in range(0, count, BATCH):
        views = [view(i, np.random.default_rng((0, i))) for i in range(start, min(start + BATCH, count))]
        batch = torch.stack([image.permute(1, 2, 0) for image in views])  # as their pixels lie: seven times as fast
    return batch.permute(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64, help="JPEGs of each size")
    parser.add_argument("--pairs", type=int, default=15, help="repetitions of each side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [measure(size, goal, given.images, given.pairs) for size, goal in SIZES.items()]
    report("decoded_cache", "decoding", "kept", lines)


if __name__ == "__main__":
    main()
