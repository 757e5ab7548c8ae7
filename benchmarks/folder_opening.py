"""From a folder of images to tables: `datasets`' own reader, cold and of a list that it kept, and torchvision's.

Folders of classes, then a metadata file in each split. The images are empty files, since no side opens
them. What cliptune gives are the tables by split and the check that no path leads out.
"""

import argparse
import csv
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datasets import disable_progress_bars, load_dataset
from measure import Line, alternate, report
from torchvision.datasets import ImageFolder

from cliptune.data.formats.sources import open_source
from cliptune.data.usable import check_inside

CLASSES = 100
SPLITS = {"train": 0.9, "test": 0.1}


def write(folder: Path, count: int) -> None:
    """So many files named as images, in folders of the splits and of the classes."""
    for split, share in SPLITS.items():
        for c in range(CLASSES):
            own = folder / split / f"class {c:03d}"
            own.mkdir(parents=True)
            for i in range(round(share * count / CLASSES)):
                (own / f"{i:06d}.jpg").write_bytes(b"")


def describe(folder: Path) -> None:
    """A metadata file for each split."""
    for split in SPLITS:
        images = sorted((folder / split).glob("*/*.jpg"))
        with (folder / split / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "text"])
            writer.writerows([image.relative_to(folder / split), f"image {i}"] for i, image in enumerate(images))


def ours(folder: Path) -> int:
    """The images that cliptune finds."""
    source = open_source(str(folder))
    for split, table in source.tables.items():
        check_inside(table, "image", source.roots["train"], split)
    return sum(len(table) for table in source.tables.values())


def of_datasets(folder: Path, kept: Path, cold: bool) -> int:
    """Those of `load_dataset`; cold where it has not seen the folder before."""
    if cold:
        shutil.rmtree(kept, ignore_errors=True)
    return sum(len(table) for table in load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(kept)).values())


def of_torchvision(folder: Path) -> int:
    """Those of torchvision, of which each split is opened by itself."""
    return sum(len(ImageFolder(str(folder / split))) for split in SPLITS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=2)
    given = parser.parse_args()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        folder, kept = Path(name) / "images", Path(name) / "datasets"
        write(folder, given.images)
        peers: dict[str, Callable[[], int]] = {
            "datasets, first time": partial(of_datasets, folder, kept, cold=True),
            "datasets, again": partial(of_datasets, folder, kept, cold=False),
            "torchvision": partial(of_torchvision, folder),
        }
        lines = []
        for kind in ("classes", "metadata"):
            if kind == "metadata":
                describe(folder)
                del peers["torchvision"]  # knows none
            for peer, call in peers.items():
                if call() != ours(folder):
                    raise SystemExit(f"{peer} finds other images than cliptune")
                turns = alternate(call, partial(ours, folder), given.pairs, warmup=0)
                lines.append(Line(f"{given.images:,} images, {kind}: {peer} / cliptune", turns, given.images))
    report("folder_opening", "peer", "cliptune", lines)


if __name__ == "__main__":
    main()
