"""The doctor's whole reading of a data set of small images, against decoding each of them once, in one process.

The images are noise with the spectrum of photographs and their grain, each another one, as JPEG files with a caption and a label in a CSV:
reading the table, looking for broken files, duplicates and odd captions, and drawing thumbnails all count as the doctor's. Memory is that
of a process of its own, at its peak, for a tenth of the images and for all.
"""

import argparse
import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from alone import peak_alone
from measure import Line, Pairs, report, timed
from PIL import Image

from cliptune.data.images import ImageTextData
from cliptune.doctor.scan import scan
from cliptune.images import decode
from cliptune.preprocess import Preprocess

GOAL = 0.8
GRAIN = 2.0  # levels
WORDS = ("red", "green", "small", "large", "old", "new", "cat", "dog", "house", "tree", "car", "boat", "street", "field", "hill", "lake")


def write_images(folder: Path, count: int, side: int) -> Path:
    """Write JPEGs of that many pixels and a table of them."""
    rng = np.random.default_rng(0)
    fields = _fields(side, rng)
    table = folder / f"{count}.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "caption", "label", "split"])
        for i in range(count):
            file = folder / "images" / f"{i // 1000}" / f"{i}.jpg"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_photo(fields, rng))
            said = " ".join(rng.choice(WORDS, 8))
            writer.writerow([file, said, f"class {i % 10}", "test" if i % 10 == 0 else "train"])
    return table


def _fields(side: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency as in photographs (Field 1987), [64, 3, side, side]."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    fields = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(64, 3, side, side))) / frequency**1.1)
    fields = fields[:, :1] + 0.4 * fields  # the colours go together
    return np.asarray(
        50 * fields / fields.std(axis=(1, 2, 3), keepdims=True) + rng.normal(scale=GRAIN, size=(64, 1, side, side)), np.float32
    )


def _photo(fields: np.ndarray, rng: np.random.Generator) -> bytes:
    """A JPEG of two fields, moved at random: no picture is like another."""
    one, other = (np.roll(fields[rng.integers(64)], rng.integers(fields.shape[-1], size=2), axis=(1, 2)) for _ in range(2))
    buffer = io.BytesIO()
    Image.fromarray((128 + 0.7 * (one + other)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def opened(table: str) -> ImageTextData:
    """Data over the table, set up."""
    torch.set_num_threads(1)
    preprocess = Preprocess({"size": 224}, open_clip.get_tokenizer("ViT-B-32"), trim=True)
    data = ImageTextData(table, batch_size=64, workers=0, preprocess=preprocess)
    data.setup()
    return data


def decode_all(paths: list[str]) -> None:
    """Read and decode each file."""
    for path in paths:
        decode(path)


def scan_table(table: str) -> None:
    """Open a table and scan it."""
    scan(opened(table), 0, progress=False)


def measure(folder: Path, count: int, side: int, pairs: int) -> Line:
    """Take turns."""
    table = write_images(folder, count, side)
    data = opened(str(table))
    paths = [str(file) for file in sorted(folder.glob("images/*/*.jpg"))][:count]
    decode_all(paths[:1000])
    turns = Pairs()
    for _ in range(pairs):
        turns.a.append(timed(lambda: decode_all(paths)))
        turns.b.append(timed(lambda: scan(data, 0, progress=False)))
    tenth = write_images(folder, count // 10, side)
    notes = {f"peak MB, {rows:,}": peak_alone(scan_table, str(file)) for rows, file in ((count // 10, tenth), (count, table))}
    return Line(f"{count:,} of {side}x{side}", turns, count, at_least=GOAL, notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--sides", type=int, nargs="+", default=[224], help="pixels")
    parser.add_argument("--pairs", type=int, default=4, help="repetitions of each side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for side in given.sides:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(measure(Path(folder), given.images, side, given.pairs))
    report("doctor", "decoding", "doctor", lines)


if __name__ == "__main__":
    main()
