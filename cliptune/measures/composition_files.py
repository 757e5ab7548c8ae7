"""Pairs of captions from files: SugarCrepe's and Winoground's formats. Nothing is encoded here, and no image decoded.

SugarCrepe (Hsieh et al. 2023): a JSON file for each kind, {"0": {"filename", "caption", "negative_caption"}, ...}. Winoground (Thrush et
al. 2022): rows of image_0, image_1, caption_0, caption_1, and tags.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset

from cliptune.data.chosen import column_of
from cliptune.data.formats.reading import entries
from cliptune.data.formats.sources import open_source
from cliptune.errors import DataError, did_you_mean

KEY = "evaluation.composition"
FOLDERS = ("", "images", "val2017", "train2017", "val2014", "coco/val2017", "coco/images/val2017")  # where pictures lie, beside the file
SUFFIXES = ("", ".png", ".jpg", ".jpeg")  # Winoground's own list names its pictures without
PAIR = ("filename", "caption", "negative_caption")
FOUR = ("image_0", "image_1", "caption_0", "caption_1")


@dataclass
class Pairs:
    """Pictures, each with a caption that is true of it and one that is not.

    Args:
        name: of the source.
        pictures: each once, as bytes or a path; None where they are the test split's.
        picture: [P], place in `pictures`, or row of the test split.
        right: [P] captions.
        wrong: [P] captions.
        kind: [P], what was changed.
    """

    name: str
    pictures: Sequence[bytes | str] | None
    picture: list[int]
    right: list[str]
    wrong: list[str]
    kind: list[str]

    def __len__(self) -> int:
        return len(self.right)


@dataclass
class Fours:
    """Two pictures and two captions of the same words, each caption true of one picture.

    Args:
        name: of the source.
        pictures: [2 E], an example's two together, as bytes or paths.
        captions: [2 E], likewise.
        kind: [E], what was changed; "" where nobody says.
    """

    name: str
    pictures: Sequence[bytes | str]
    captions: list[str]
    kind: list[str]

    def __len__(self) -> int:
        return len(self.kind)


def open_pairs(source: str) -> Pairs | Fours:
    """Open a source of pairs.

    Args:
        source: a file or a folder of files in one of the formats; `PATH@FOLDER` where the pictures lie in another folder.

    Raises:
        DataError: it is not there, is in neither format, or a picture is missing.
    """
    path, folder = Path(source).expanduser(), None
    if not path.exists() and "@" in source:
        before, _, after = source.rpartition("@")
        path, folder = Path(before).expanduser(), Path(after).expanduser()
        _check_there(folder, source)
    _check_there(path, source)
    files = [path] if path.is_file() else sorted(path.glob("*.json")) or sorted(path.glob("data/*.json"))
    found = {file.stem: entries_of(file) for file in files if file.suffix == ".json"}
    known = {kind: listed for kind, listed in found.items() if listed is not None}
    if known:
        return _pairs(known, path, folder)
    lists = sorted([*path.glob("*.jsonl"), *path.glob("data/*.jsonl")]) if path.is_dir() else []
    return _fours(lists[0] if lists else path, path, folder)


def _check_there(path: Path, source: str) -> None:
    """Raise DataError that names the first part of a path that does not exist."""
    missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), None)
    if missing is not None:
        near = did_you_mean(missing.name, ["swap", *entries(missing.parent)])
        raise DataError(f"{KEY} {source}: there is no {missing.name} in {missing.parent.resolve()}. {near}".rstrip())


def entries_of(file: Path) -> list[dict[str, str]] | None:
    """The entries of a file of SugarCrepe's; None for another one.

    Raises:
        DataError: an entry lacks something.
    """
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError):
        return None
    numbered: Mapping[Any, Any] = read if isinstance(read, dict) else dict(enumerate(read)) if isinstance(read, list) else {}
    if not any(isinstance(entry, dict) and "negative_caption" in entry for entry in numbered.values()):
        return None
    for number, entry in numbered.items():
        odd = [name for name in PAIR if not (isinstance(entry, dict) and isinstance(entry.get(name), str) and entry[name].strip())]
        if odd:
            raise DataError(f"{KEY} {file}: entry {number} has no {odd[0]}. Each needs {', '.join(PAIR)}.")
    return list(numbered.values())


def _pairs(known: dict[str, list[dict[str, str]]], path: Path, folder: Path | None) -> Pairs:
    listed = [(kind, entry) for kind, of_kind in known.items() for entry in of_kind]
    names = list(dict.fromkeys(entry["filename"] for _, entry in listed))
    places = _found(names, path if path.is_dir() else path.parent, folder, path)
    number = {name: i for i, name in enumerate(names)}
    columns = [[entry[name] for _, entry in listed] for name in PAIR]
    return Pairs(path.stem, places, [number[name] for name in columns[0]], columns[1], columns[2], [kind for kind, _ in listed])


def _found(names: list[str], base: Path, folder: Path | None, path: Path) -> list[str]:
    """Where pictures lie: all in the folder that has the first one."""
    tried = [folder] if folder is not None else [root / name for root in (base, base.parent, base.parent.parent) for name in FOLDERS]
    root = next((root for root in tried if _place(root, names[0])), None)
    if root is None:
        where = f"in {folder}" if folder is not None else f"beside {path}, or in a folder images or val2017 there"
        raise DataError(f"{KEY} {path}: there is no picture {names[0]} {where}. Say where they are: {path}@FOLDER.")
    places = [_place(root, name) for name in names]
    missing = [name for name, place in zip(names, places, strict=True) if not place]
    if missing:
        raise DataError(
            f"{KEY} {path}: {len(missing):,} of {len(names):,} pictures are not in {root}, {missing[0]} first. "
            f"Say where they are: {path}@FOLDER."
        )
    return places


def _place(root: Path, name: str) -> str:
    """The file of a picture; "" where there is none."""
    whole = os.path.join(root, name)  # noqa: PTH118  # thousands of names, and a Path takes as long to make as a file to look for
    return next((whole + suffix for suffix in SUFFIXES if os.path.isfile(whole + suffix)), "")  # noqa: PTH113


class Cells(Sequence[bytes | str]):
    """Pictures that lie in the two columns of a table, read one at a time."""

    def __init__(self, table: Dataset) -> None:
        self.table = table

    def __len__(self) -> int:
        return 2 * len(self.table)

    def __getitem__(self, number: Any) -> Any:
        value = self.table[number // 2][FOUR[number % 2]]
        return value if isinstance(value, bytes) else value["bytes"] if value.get("bytes") else value["path"]


def _fours(file: Path, path: Path, folder: Path | None) -> Fours:
    try:
        source = open_source(str(file))
    except DataError as error:
        raise DataError(f"{KEY} {path} is in neither format: {str(error).removeprefix('data path ')}") from None
    table = source.tables["test"] if "test" in source.tables else next(iter(source.tables.values()))
    lacking = [name for name in FOUR if name not in table.column_names]
    if lacking or not len(table):
        raise DataError(
            f"{KEY} {path} is in neither format: it has {', '.join(table.column_names[:8])}. SugarCrepe's files have entries of "
            f"{', '.join(PAIR)}, Winoground's rows of {', '.join(FOUR)}."
        )
    images = table.select_columns(list(FOUR[:2]))
    for name in FOUR[:2]:
        if isinstance(images.features[name], datasets.Image):
            images = images.cast_column(name, datasets.Image(decode=False))
    pictures: Sequence[bytes | str] = Cells(images)
    if all(isinstance(images.features[name], datasets.Value) and "string" in images.features[name].dtype for name in FOUR[:2]):
        named = [name for pair in zip(*(column_of(images, name).to_pylist() for name in FOUR[:2]), strict=True) for name in pair]
        pictures = _found(named, file.parent if file.is_file() else file, folder, path)
    tag = next((name for name in ("collapsed_tag", "tag") if name in table.column_names), None)
    captions = [text for pair in zip(*(column_of(table, name).to_pylist() for name in FOUR[2:]), strict=True) for text in pair]
    kinds = [str(value or "") for value in column_of(table, tag).to_pylist()] if tag else [""] * len(table)
    if not all(isinstance(text, str) and text.strip() for text in captions):
        raise DataError(f"{KEY} {path}: example {next(i // 2 for i, text in enumerate(captions) if not text)} lacks a caption.")
    return Fours(path.stem, pictures, captions, kinds)
