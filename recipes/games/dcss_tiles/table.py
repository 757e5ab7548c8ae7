"""Makes table.csv of Dungeon Crawl Stone Soup's tiles: image, label, sublabel and name by the folders and file names, and descriptions.

python table.py tiles/releases/Nov-2015 [crawl/crawl-ref/source/dat/descript], where the first is of a clone of github.com/crawl/tiles,
the other, whose texts are GPL-2.0 or later, of github.com/crawl/crawl. Sprites of one name are never in two splits.
"""

import csv
import hashlib
import re
import sys
from pathlib import Path

FIELDS = ("image", "label", "sublabel", "name", "description", "split")
HELD = {"test": 0.1, "validation": 0.18}  # up to which share of names


def name_of(file: Path) -> str:
    """A sprite's name: the file's, without numbers of variants."""
    return re.sub(r"[_\d]+", " ", file.stem).strip() or file.stem


def split_of(name: str) -> str:
    """The same for all sprites of a name, at any time."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    return next((split for split, most in HELD.items() if share < most), "train")


def texts_of(folder: Path) -> dict[str, str]:
    """Descriptions by name, in small letters: entries between lines of %%%%, the name in the first line."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.txt")):
        for entry in re.split(r"^%%%%.*$", file.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
            name, _, text = entry.strip().partition("\n")
            plain = " ".join(line for line in text.splitlines() if not line.startswith(("#", "{{", "}}"))).strip()
            if name and len(plain.split()) > 3 and "{{" not in plain:
                found.setdefault(name.strip().lower(), " ".join(plain.split()))
    return found


def main(source: Path, texts: Path | None = None) -> None:
    """Write the table beside the images."""
    told = texts_of(texts) if texts is not None else {}
    rows = []
    for file in sorted(source.rglob("*.png")):
        relative = file.relative_to(source)
        kinds, name = [part.replace("_", " ") for part in relative.parts[:-1]] or ["tile"], name_of(file)
        place = {"image": relative.as_posix(), "label": kinds[0], "sublabel": kinds[-1], "name": name}
        rows.append({**place, "description": told.get(name.lower(), ""), "split": split_of(name)})
    if not rows:
        raise SystemExit(f"{source} holds no .png. Is it a release of github.com/crawl/tiles?")
    with (source / "table.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    described = sum(bool(row["description"]) for row in rows)
    print(f"{source / 'table.csv'}: {len(rows)} sprites, {described} with a description")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        print(f"usage: python {sys.argv[0]} TILES [DESCRIPTIONS], of clones of crawl/tiles and crawl/crawl", file=sys.stderr)
        sys.exit(2)
    main(*map(Path, sys.argv[1:]))
