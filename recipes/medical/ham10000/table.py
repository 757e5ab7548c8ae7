"""Makes table.csv of HAM10000 as its authors give it out: image, label, caption's parts, and splits that keep a lesion on one side.

python table.py FOLDER, where FOLDER holds HAM10000_metadata (or .csv), the unpacked images, and, for the official test set,
ISIC2018_Task3_Test_GroundTruth.csv with its images, each in any folder below.
"""

import csv
import hashlib
import sys
from pathlib import Path

WORDS = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
FIELDS = ("image", "label", "age", "sex", "localization", "lesion_id", "split")
VALIDATION = 0.1  # share of lesions


def rows_of(file: Path, images: dict[str, str], test: bool) -> list[dict[str, str]]:
    """The rows of one metadata file whose image is there."""
    found = []
    with file.open(newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            name = row.get("image_id") or row["image"]
            kind = row.get("dx") or next(key for key in row if key.lower() in WORDS and float(row[key] or 0) > 0)
            if name not in images:
                continue
            lesion = row.get("lesion_id") or name
            told = {key: row.get(key, "") for key in ("age", "sex", "localization")}
            split = "test" if test else split_of(lesion)
            found.append({"image": images[name], "label": WORDS[kind.lower()], **told, "lesion_id": lesion, "split": split})
    return found


def split_of(lesion: str) -> str:
    """The same for all images of a lesion, at any time."""
    share = int(hashlib.sha256(lesion.encode()).hexdigest()[:8], 16) / 2**32
    return "validation" if share < VALIDATION else "train"


def main(folder: Path) -> None:
    """Write the table into the folder."""
    images = {file.stem: file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*.jpg"))}
    train = next((file for name in ("HAM10000_metadata.csv", "HAM10000_metadata") for file in folder.rglob(name) if file.is_file()), None)
    if train is None or not images:
        raise SystemExit(f"{folder} holds no HAM10000_metadata, or no .jpg. See the card, README.md.")
    tests = [row for file in folder.rglob("ISIC2018_Task3_Test_GroundTruth.csv") for row in rows_of(file, images, test=True)]
    rows = [*rows_of(train, images, test=False), *tests]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")}
    print(f"{folder / 'table.csv'}: {counts}" + ("" if tests else "; no official test set: it will be held out, images of a lesion apart"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(f"usage: python {sys.argv[0]} FOLDER, which holds HAM10000_metadata and the unpacked images", file=sys.stderr)
        sys.exit(2)
    main(*map(Path, sys.argv[1:]))
