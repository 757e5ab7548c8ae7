"""COCO's JSON as tables, one row for each image: its captions in a list, and the names of what is on it.

Two forms: images and annotations apart (Lin et al. 2014; `captions_*.json`, `instances_*.json`), and images with their sentences and
split, as Karpathy and Fei-Fei 2015 share theirs (`dataset_coco.json`, `dataset_flickr8k.json`).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features, Sequence, Value

from cliptune.data.formats.reading import SPLITS, Source, split_of
from cliptune.errors import DataError

FIRST_KEYS = re.compile(r'\s*\{\s*"(info|images|annotations|categories|licenses|type|dataset)"\s*:')
MOST = 64  # JSON files of a folder that are looked into; where each image has its own, none is COCO's
CHECKED = 32  # images of a split that are looked for
OTHER_TASKS = ("person_keypoints", "panoptic", "stuff", "image_info")  # COCO's own files that add nothing to captions and instances
FEATURES = {"image": Value("string"), "captions": Sequence(Value("string")), "labels": Sequence(Value("string"))}


def is_coco(file: Path) -> bool:
    """Whether a JSON file is one of COCO's, by its beginning and by what it holds."""
    with file.open(encoding="utf-8-sig", errors="replace") as opened:
        if not FIRST_KEYS.match(opened.read(4096)):
            return False
    try:
        return _images(_parsed(file)) is not None
    except DataError:
        return False


def find_coco(found: Iterable[str]) -> list[Path]:
    """Which of a folder's files are COCO's."""
    files = [file for path in found if path.lower().endswith(".json") and (file := Path(path)).is_file()]
    annotations = [file for file in files if is_coco(file)] if len(files) <= MOST else []
    return [file for file in annotations if not file.name.startswith(OTHER_TASKS)] or annotations


def open_coco(files: list[Path], folder: Path) -> Source:
    """Read annotations; those of one split that lie in several files are put together.

    Args:
        files: of COCO.
        folder: images may lie here too.

    Returns:
        Tables with the columns `image`, and `captions` and `labels` where there are any; of an image's labels the most frequent is first.

    Raises:
        DataError: a file is damaged, or no image of a split is to be found.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {}  # by split and image
    lost = 0
    for file in files:
        parsed = _parsed(file)
        if len(files) > 1 and not any("sentences" in image for image in parsed["images"]) and not parsed.get("annotations"):
            continue  # such as those of a test that is kept secret
        lost += _read(file, parsed, rows, split_of(file.name) if len(files) > 1 else None)
    splits = {split: rows[split] for split in [*SPLITS, *rows] if split in rows}
    roots: dict[str, list[Path]] = {}
    for split, images in splits.items():
        names, roots[split] = _found(list(images), files, folder, split)
        for row, name in zip(images.values(), names, strict=True):
            row["image"] = name
    columns = ["image", *(c for c in ("captions", "labels") if any(row[c] for part in splits.values() for row in part.values()))]
    features = Features({column: FEATURES[column] for column in columns})
    tables = {
        split: Dataset.from_dict({column: [_cell(row[column]) for row in part.values()] for column in columns}, features=features)
        for split, part in splits.items()
    }
    return Source(DatasetDict(tables), roots, f"{lost} annotations are of no listed image, or empty" if lost else "")


def _cell(value: str | list[str] | Counter[str]) -> str | list[str]:
    return [label for label, _ in value.most_common()] if isinstance(value, Counter) else value


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"))
    except ValueError as error:  # of Unicode, too
        raise DataError(f"data path {file} cannot be read: {str(error).splitlines()[0]}. Is it all there, and UTF-8?") from None


def _images(parsed: Any) -> list[dict[str, Any]] | None:
    images = parsed.get("images") if isinstance(parsed, dict) else None
    if not isinstance(images, list) or not images or not all(isinstance(image, dict) for image in images):
        return None
    keys = images[0].keys()
    return images if ("file_name" in keys and "annotations" in parsed) or {"filename", "sentences"} <= keys else None


def _read(file: Path, parsed: dict[str, Any], rows: dict[str, dict[str, dict[str, Any]]], of: str | None) -> int:
    """Put what a file says into rows; how many annotations were of no use."""
    by_id: dict[Any, dict[str, Any]] = {}
    for image in parsed["images"]:
        name = image.get("file_name") or os.path.join(image.get("filepath") or "", image.get("filename") or "")  # noqa: PTH118 - text
        if not isinstance(name, str) or not name:
            raise DataError(f"data path {file}: image {image.get('id', len(by_id))} has no file_name. Write one for each image.")
        split = _karpathy_split(image["split"]) if "split" in image else of or "train"
        row = rows.setdefault(split, {}).setdefault(name, {"image": name, "captions": [], "labels": Counter()})
        by_id[image.get("id", name)] = row
        said = [sentence["raw"] for sentence in image.get("sentences") or () if isinstance(sentence.get("raw"), str)]
        row["captions"] = list(dict.fromkeys([*row["captions"], *said]))
    names = {category["id"]: str(category["name"]) for category in parsed.get("categories") or ()}
    return sum(not _annotate(by_id.get(one.get("image_id")), one, names) for one in parsed.get("annotations") or ())


def _annotate(row: dict[str, Any] | None, annotation: dict[str, Any], names: dict[Any, str]) -> bool:
    caption, label = annotation.get("caption"), names.get(annotation.get("category_id"))
    if row is None or not (isinstance(caption, str) or label):
        return False
    if isinstance(caption, str) and caption not in row["captions"]:
        row["captions"].append(caption)
    if label:
        row["labels"][label] += 1
    return True


def _karpathy_split(name: str) -> str:
    """Our name: restval is the rest of COCO's validation images, which all who use these splits train on."""
    return "train" if name == "restval" else next((ours for ours, usual in SPLITS.items() if name.lower() in usual), name)


def _found(names: list[str], files: list[Path], folder: Path, split: str) -> tuple[list[str], list[Path]]:
    """The images' names, and the folders that they are in, the likeliest first."""
    checked = names[:: max(len(names) // CHECKED, 1)][:CHECKED]
    candidates = _candidates(files, folder, split)
    short = [Path(name).name for name in names]  # Karpathy's names have a folder, which not all keep
    for listed in (names, short):
        looked_for = checked if listed is names else [Path(name).name for name in checked]
        counts = {place: sum((place / name).is_file() for name in looked_for) for place in candidates}
        good = sorted((place for place in candidates if counts[place]), key=lambda place: -counts[place])
        if good:
            return listed, good
    places = ", ".join(str(place) for place in candidates[:4])
    raise DataError(f"data path {files[0]}: {names[0]} is in none of {places}. Put the images into a folder beside the JSON file.")


def _candidates(files: list[Path], folder: Path, split: str) -> list[Path]:
    """The JSON's folder and the one above, and in them a folder named as the split or the file, and `images`."""
    bases = list(dict.fromkeys([*(file.parent for file in files), *(file.parent.parent for file in files), folder]))
    found = list(bases)
    for base in bases:
        for inner in (base, base / "images"):
            entries = sorted(entry for entry in inner.iterdir() if entry.is_dir()) if inner.is_dir() else []
            stems = [file.stem for file in files]
            found += [e for e in entries if split_of(e.name) == split or any(stem.endswith(e.name) for stem in stems)]
            found += [e for e in entries if e.name.lower() in ("images", "imgs", "jpegimages", "flickr8k_dataset", "flicker8k_dataset")]
    return list(dict.fromkeys(found))
