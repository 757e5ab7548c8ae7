"""Cuts the cells out of BCCD's photographs by their boxes, with 15 % around them, and makes table.csv with its own splits.

python table.py BCCD_Dataset bccd, where BCCD_Dataset is a clone of github.com/Shenggan/BCCD_Dataset and bccd the folder to make.
"""

import csv
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from PIL import Image

AROUND = 0.15  # of a box's sides
LEAST = 8  # pixels of a side
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def boxes_of(file: Path) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Each object's name and box of a VOC annotation."""
    found = []
    for one in ET.parse(file).getroot().iter("object"):
        box = one.find("bndbox")
        sides = [int(float(box.findtext(key, "0"))) for key in ("xmin", "ymin", "xmax", "ymax")] if box is not None else [0] * 4
        found.append((one.findtext("name", ""), (sides[0], sides[1], sides[2], sides[3])))
    return found


def main(source: Path, folder: Path) -> None:
    """Write the crops and the table."""
    base, rows = source / "BCCD", []
    for name, split in SPLITS.items():
        listed = base / "ImageSets" / "Main" / f"{name}.txt"
        for stem in listed.read_text(encoding="utf-8").split() if listed.is_file() else ():
            with Image.open(base / "JPEGImages" / f"{stem}.jpg") as opened:
                photo = opened.convert("RGB")
            for i, (kind, (left, top, right, bottom)) in enumerate(boxes_of(base / "Annotations" / f"{stem}.xml")):
                if min(right - left, bottom - top) < LEAST:
                    continue
                wide, high = AROUND * (right - left), AROUND * (bottom - top)
                place = Path(split) / f"{stem}_{i}.jpg"
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                first, last = (max(left - wide, 0), max(top - high, 0)), (min(right + wide, photo.width), min(bottom + high, photo.height))
                photo.crop((round(first[0]), round(first[1]), round(last[0]), round(last[1]))).save(folder / place, quality=92)
                rows.append({"image": place.as_posix(), "label": kind, "split": split})
    if not rows:
        raise SystemExit(f"{base} holds no ImageSets/Main/*.txt with images. Is it a clone of BCCD_Dataset?")
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, ("image", "label", "split"))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{folder / 'table.csv'}: {len(rows)} cells")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(f"usage: python {sys.argv[0]} BCCD_Dataset FOLDER, a clone and the folder to make", file=sys.stderr)
        sys.exit(2)
    main(*map(Path, sys.argv[1:]))
