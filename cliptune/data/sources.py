"""From a path or hub id to Hugging Face tables, one per split. Which column holds what is `columns`' business."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Image
from datasets.table import CastError

from cliptune.data import features
from cliptune.data.digits import digits
from cliptune.errors import DataError, did_you_mean
from cliptune.images import SUFFIXES

READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json", ".arrow": "arrow"}
SPLITS = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing", "te"),
}
HELD_OUT = 0.1  # share of train that stands in for a split that the source lacks
CSV = {"skipinitialspace": True, "keep_default_na": False, "na_values": [""]}  # a class may be called None, and a caption NA


class Source(NamedTuple):
    """What a path names."""

    tables: DatasetDict  # by split name, as the source has them; one without splits is `train`
    roots: dict[str, list[Path]]  # by split name: the folders that relative image paths may start from; the first is train's
    note: str = ""  # on what was not used


def open_source(path: str) -> Source:
    """Open what the path names.

    Args:
        path: `digits`; a parquet, CSV, TSV, JSON-lines or Arrow file; an npz or safetensors file of features; a folder of tables, of
            images, or written by `save_to_disk`; or the id of a data set on the Hugging Face hub.

    Raises:
        DataError: there is no such thing, or it cannot be read.
    """
    if path == "digits":
        return Source(digits(), {"train": [Path()]})
    local = Path(path).expanduser()
    if local.is_file() and local.suffix.lower() in features.SUFFIXES:
        return Source(features.open_features(local), {"train": [local.parent]})
    if local.is_file():
        return _open_files(local.parent, {"train": [local]})
    if local.is_dir():
        return _open_folder(local)
    if local.suffix.lower() in (*READERS, *features.SUFFIXES) or path.startswith((".", "/", "~")) or path.count("/") > 1:
        missing = next(part for part in (*reversed(local.parents), local) if not part.exists())
        near = did_you_mean(missing.name, _entries(missing.parent))
        raise DataError(f"data path {path}: there is no {missing.name} in {missing.parent.resolve()}. {near}".rstrip())
    return Source(_load("the hub", path), {"train": [Path()]})


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


def _open_folder(folder: Path) -> Source:
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        loaded = datasets.load_from_disk(str(folder))
        return Source(loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded), {"train": [folder]})
    found = [p for p in sorted(folder.rglob("*")) if not any(part.startswith((".", "__")) for part in p.relative_to(folder).parts)]
    images = [p for p in found if p.suffix.lower() in SUFFIXES]
    if images:
        return _open_images(folder, images)
    files = [p for p in found if p.suffix.lower() in READERS]
    if not files:
        raise DataError(f"data path {folder}: the folder holds no images and no {', '.join(READERS)} file. Is it the right one?")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(folder)) or "train", []).append(file)
    return _open_files(folder, {split: by_split[split] for split in SPLITS if split in by_split})  # train first: it sets the types


def _open_images(folder: Path, images: list[Path]) -> Source:
    """Open class folders, or images with a metadata file, in folders by split or not.

    datasets' own search for splits looks at file names too, and then drops all files that speak of none; and it gives all that a
    metadata file above the splits' folders lists to each of them.
    """
    base = Path(os.path.commonpath([image.parent for image in images]))
    tops = [image.relative_to(base).parts[0] if image.parent != base else "" for image in images]
    splits = {top: next((split for split, names in SPLITS.items() if top.lower() in names), "") for top in dict.fromkeys(tops)}
    nested = any(splits[top] == "train" and image.parent.parent != base for top, image in zip(tops, images, strict=True))
    by_split = {split: [_escaped(base / top / "**") for top in splits if splits[top] == split] for split in SPLITS}
    lost = sum(not splits[top] for top in tops)
    above = any((base / f"metadata.{suffix}").exists() for suffix in ("csv", "jsonl", "parquet"))
    if not by_split["train"] or (lost and not nested):  # then `train`, `test`, ... are classes
        by_split, lost, above = {"train": [_escaped(folder / "**")]}, 0, False
    patterns = {"train": [_escaped(base / "**")]} if above else {split: part for split, part in by_split.items() if part}
    tables = _load(str(folder), "imagefolder", data_files=patterns)
    if above:
        undecoded = tables["train"].cast_column("image", Image(decode=False))["image"]
        found = [splits.get(Path(row["path"]).resolve().relative_to(base.resolve()).parts[0], "") for row in undecoded]
        tables = DatasetDict(
            {split: tables["train"].select([i for i, name in enumerate(found) if name == split]) for split in SPLITS if by_split[split]}
        )
    return Source(tables, {"train": [folder]}, f"{lost} images in no folder of a split are not used" if lost else "")


def _escaped(path: Path) -> str:
    """A path as a pattern: brackets stand for themselves."""
    return re.sub(r"([\[?])", r"[\1]", str(path))


def _split_of(file: Path) -> str | None:
    """The split that a file's path speaks of: train-00000-of-00002.parquet, val/part1.csv."""
    words = re.split(r"[^a-z]+", str(file).lower())
    return next((split for split, names in SPLITS.items() if any(word in names for word in words)), None)


def _open_files(folder: Path, by_split: dict[str, list[Path]]) -> Source:
    listed = [file for files in by_split.values() for file in files]
    suffixes = {file.suffix.lower() for file in listed}
    if len(suffixes) > 1:
        raise DataError(f"data path {folder}: it mixes {', '.join(sorted(suffixes))} files. Name one file, or a folder of one kind.")
    what = listed[0] if len(listed) == 1 else folder
    suffix = suffixes.pop()
    if suffix not in READERS:
        known = ", ".join((*READERS, *features.SUFFIXES))
        raise DataError(f"data path {what}: files that end in {suffix or 'nothing'} cannot be read. Can be: {known}.")
    options = {**CSV, "sep": "\t" if suffix == ".tsv" else ","} if READERS[suffix] == "csv" else {}
    patterns = {split: [_escaped(file) for file in files] for split, files in by_split.items()}
    tables = _load(str(what), READERS[suffix], data_files=patterns, **options)
    if READERS[suffix] == "csv" and any("__index_level_0__" in table.column_names for table in tables.values()):
        raise DataError(f"data path {what}: its rows have more fields than its header. Put texts that hold the separator in quotes.")
    roots = {split: list(dict.fromkeys([*{file.parent for file in files}, folder])) for split, files in by_split.items()}
    return Source(tables, {split: paths if len(paths) <= 2 else [folder] for split, paths in roots.items()})


def _load(what: str, *arguments: str, **options: object) -> DatasetDict:
    try:
        loaded = datasets.load_dataset(*arguments, **options)
    except Exception as error:  # datasets raises dozens of kinds; the first line says which
        cause: BaseException = error
        while cause.__cause__ is not None:  # below datasets' own "an error occurred"
            cause = cause.__cause__
        line = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".!")
        if isinstance(cause, CastError):
            names = [", ".join(columns) for columns in (cause.requested_column_names, cause.table_column_names)]
            line = f"one of its files has the columns {names[0]}, another {names[1]}"
        if what == "the hub":
            near = did_you_mean(arguments[0], ["digits", *_entries(Path())])
            near = near if near.startswith("Did") else ""
            what = f"{arguments[0]} is no local file or folder, and"
            raise DataError(f"data path {what} cannot be read from the hub: {line}. {near}".rstrip()) from error
        way = " Save it as UTF-8." if isinstance(cause, UnicodeDecodeError) else ""
        raise DataError(f"data path {what} cannot be read: {line}.{way}") from error
    return loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)


def name_splits(tables: DatasetDict, split_column: str | None, names: dict[str, str], path: str) -> tuple[dict[str, Dataset], str]:
    """Name the splits train, validation and test.

    Args:
        tables: as the source has them.
        split_column: the column whose values name the splits; `auto` for one called split, None for none.
        names: this source's own names for our splits, where they are unusual.
        path: the source, for messages.

    Returns:
        Tables by our names, always with train, and a sentence on what is not used, empty where all is.

    Raises:
        DataError: the column or a named split does not exist.
    """
    found: dict[str, Dataset] = dict(tables)
    if len(tables) == 1:
        table = next(iter(tables.values()))
        usual_name = next((name for name in table.column_names if name.strip().lower() == "split"), None)
        column = usual_name if split_column == "auto" else split_column
        if column is not None:
            if column not in table.column_names:
                raise DataError(f"data path {path} has no column {column} (split_column). {did_you_mean(str(column), table.column_names)}")
            found = _by_value(table, str(column))
    named: dict[str, Dataset] = {}
    for ours, usual in SPLITS.items():
        theirs = names.get(ours)
        if theirs is not None and theirs not in found:
            raise DataError(f"data path {path} has no split {theirs}. {did_you_mean(theirs, found)}")
        match = theirs or next((name for name in found if str(name).lower() in usual), None)
        if match is not None:
            named[ours] = found[match]
    if "train" not in named:
        if len(found) > 1 or named:
            raise DataError(f"data path {path} has no split called train, but {', '.join(map(str, found))}. Set splits: {{train: NAME}}.")
        named["train"] = next(iter(found.values()))
    unused = [str(name) for name, table in found.items() if not any(table is used for used in named.values())]
    return named, f"not used: the split {', '.join(unused)}" if unused else ""


def _by_value(table: Dataset, column: str) -> dict[str, Dataset]:
    values = [str(value) for value in table[column]]
    return {name: table.select([i for i, value in enumerate(values) if value == name]) for name in dict.fromkeys(values)}


def hold_out(named: dict[str, Dataset], image: str, seed: int, path: str) -> tuple[dict[str, Dataset], str]:
    """Hold out of train what is missing of validation and test: whole images, where several rows are of the same file.

    Args:
        named: tables by our names.
        image: the column of images.
        seed: for the images that are held out.
        path: the source, for messages.

    Returns:
        Tables for all three names, and a sentence on what was held out, empty where nothing was.

    Raises:
        DataError: train is too small.
    """
    missing = [name for name in ("validation", "test") if name not in named]
    if not missing:
        return named, ""
    train = named["train"]
    values = train.with_format("arrow")[image][:]
    by_path = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    numbers = np.unique(values.to_numpy(), return_inverse=True)[1] if by_path else np.arange(len(train))  # rows of a number: one image
    order = np.random.default_rng(seed).permutation(len(train))
    images = np.array(list(dict.fromkeys(numbers[order].tolist())))  # each once, in random order
    if len(images) <= len(missing):
        raise DataError(f"data path {path}: train has {len(images)} images, too few to hold out {' and '.join(missing)}.")
    size = max(round(len(images) * HELD_OUT), 1)
    ends = {name: images[i * size : (i + 1) * size] for i, name in enumerate(missing)} | {"train": images[len(missing) * size :]}
    held = {name: train.select(order[np.isin(numbers[order], part)]) for name, part in ends.items()}
    return {**named, **held}, f"no {' and no '.join(missing)} split: {size} images of train held out for each (seed {seed})"
