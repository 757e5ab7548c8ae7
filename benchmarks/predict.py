"""Images per second from JPEG files to rows, by `stream.encode` and by a whole `predict` to a CSV file, against the loop that people write.

That loop takes open_clip's own transform, image by image and batch by batch, in one thread. The files are those of `input_pipeline.py`,
500 x 400 pixels, in a temporary folder; the model is the bundled nano, so that its tower takes no longer than the images.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from input_pipeline import photos
from measure import Line, alternate, report
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.inputs import Inputs
from cliptune.loading import load
from cliptune.predicting import predict
from cliptune.stream import encode

SIZE = (500, 400)
DISTINCT = 32  # files of their own; the others are copies
COSINE = 0.999  # at least, between the rows of both ways, whose pixels differ by 0.05 levels


def write(folder: Path, count: int) -> list[Path]:
    """JPEG files."""
    made = photos(SIZE, min(count, DISTINCT))
    files = [folder / f"{i:06d}.jpg" for i in range(count)]
    for i, file in enumerate(files):
        file.write_bytes(made[i % len(made)])
    return files


def loop(model: AdaptedCLIP, files: list[Path], batch_size: int) -> Callable[[], Tensor]:
    """Open, transform, stack, encode."""
    transform = image_transform_v2(PreprocessCfg(**model.backbone.preprocess.config), is_train=False)

    @torch.no_grad()
    def run() -> Tensor:
        rows = []
        for i in range(0, len(files), batch_size):
            images = torch.stack([transform(Image.open(file)) for file in files[i : i + batch_size]])
            rows.append(F.normalize(model.backbone.model.encode_image(images.to(model.device)), dim=-1).cpu())
        return torch.cat(rows)

    return run


def seconds_of_processor(call: Callable[[], object]) -> float:
    """What a call takes of all cores."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=7, help="repetitions of each side")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that decode")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    model = load("nano", given.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        theirs = loop(model, write(folder / "images", given.images), given.batch_size)

        def stream() -> Tensor:
            items = Inputs([str(folder / "images")]).items()
            return torch.cat([batch.rows for batch in encode(model, items, given.batch_size, given.workers)])

        def job() -> object:
            options = {"batch_size": given.batch_size, "workers": given.workers, "overwrite": True}
            return predict(model, [str(folder / "images")], folder / "out.csv", classes=["a", "b"], model_key="nano", **options)

        least = (theirs() * stream()).sum(dim=1).min().item()
        if least < COSINE:
            raise SystemExit(f"the rows differ: a cosine of {least:.5f}, less than {COSINE}.")
        spent = [seconds_of_processor(way) for way in (theirs, stream)]  # which others on the machine hardly change
        notes = {"workers": given.workers, "torch threads": torch.get_num_threads(), "least cosine": least, "CPU time": spent[0] / spent[1]}
        lines = [
            Line(case, alternate(theirs, ours, given.pairs), given.images, notes=notes)
            for case, ours in (("rows", stream), ("predict to CSV", job))
        ]
    report("predict", "loop", "cliptune", lines)


if __name__ == "__main__":
    main()
