"""Lists of images in files, JSON, CSV or lines; and the names that they have there. Which rows are meant is in `named.py`."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from cliptune.data.split import Row, Split
from cliptune.errors import DataError

SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}  # the names of lists, in CoOp's files too
IDS = ("image_id", "id", "image", "filename", "file_name", "impath", "path", "name", "source")  # columns that name images
CONTENT = "content:"  # before the digest of an image that has no path


def read_list(file: str) -> dict[str, list[str]]:
    """Read which images there are to be.

    Args:
        file: a JSON map from `train` (and `validation` or `val`, and `test`) to names, as a run's `few_shot.json` has it, or to CoOp's
            triples of path, label and class; a JSON list; a CSV with a column of names; or a name per line, of train.

    Raises:
        DataError: it cannot be read, or lists nothing for train.
    """
    path = Path(file).expanduser()
    path = path / "few_shot.json" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else {"train": _of_lines(text, path.suffix.lower())}
    except OSError as error:
        raise DataError(f"shots_file {file}: {error.strerror}. Give a run's few_shot.json, or a file with an image per line.") from None
    except ValueError as error:
        raise DataError(
            f"shots_file {file}: it cannot be read: {error}. Write a name per line, or a JSON map from train to names."
        ) from None
    if not found.get("train"):
        raise DataError(f'shots_file {file}: it lists no image of train. Write a name per line, or {{"train": [...]}}.')
    for names in found.values():
        twice = next((name for i, name in enumerate(names) if name in set(names[:i])), None) if len(set(names)) < len(names) else None
        if twice is not None and CONTENT not in twice:
            raise DataError(f"shots_file {file}: it lists {twice} twice. Take one out.")
    return found


def _of_json(value: object) -> dict[str, list[str]]:
    parts = value if isinstance(value, dict) else {"train": value}
    named = {SPLITS[key]: entries for key, entries in parts.items() if key in SPLITS and isinstance(entries, list)}
    return {split: [str(entry[0] if isinstance(entry, list) and entry else entry) for entry in entries] for split, entries in named.items()}


def _of_lines(text: str, suffix: str) -> list[str]:
    if suffix in (".csv", ".tsv"):
        rows = list(csv.reader(io.StringIO(text), delimiter="\t" if suffix == ".tsv" else ","))
        head = [name.strip().lower() for name in rows[0]] if rows else []
        column = next((head.index(name) for name in IDS if name in head), None)
        return [row[column or 0].strip() for row in rows[column is not None :] if row and row[column or 0].strip()]
    return [line.strip() for line in text.splitlines() if line.strip()]


def name_of(row: Row, split: Split) -> str:
    """What finds an image again: its path in its folder, or a digest of its content."""
    if not isinstance(row.image, str):
        return name_of_content(bytes(row.image))
    path = Path(row.image)
    return next((path.relative_to(root).as_posix() for root in split.roots if path.is_relative_to(root)), row.image)


def name_of_content(content: Any) -> str:
    """A digest of an image's bytes, or of a buffer of them."""
    return CONTENT + hashlib.blake2b(content, digest_size=12).hexdigest()


def names_of(split: Split) -> list[str]:
    """What finds each image of a split again; images without a path as often as they are there."""
    named = [name_of(row, split) for row in split.read(list(range(len(split))))]
    return named if any(name.startswith(CONTENT) for name in named) else list(dict.fromkeys(named))
