"""From a path or hub id to Hugging Face tables, one per split. Which column holds what is `columns`' business."""

import re
from pathlib import Path

import datasets
from datasets import Dataset, DatasetDict

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


def open_source(path: str) -> DatasetDict:
    """Open what the path names.

    Args:
        path: `digits`; a parquet, CSV, TSV, JSON-lines or Arrow file; a folder of such files, of images, or written by
            `save_to_disk`; or the id of a data set on the Hugging Face hub.

    Returns:
        Tables by split name, as the source has them; one without splits is `train`.

    Raises:
        DataError: there is no such thing, or it cannot be read.
    """
    if path == "digits":
        return digits()
    local = Path(path).expanduser()
    if local.is_file():
        return _open_files({"train": [local]})
    if local.is_dir():
        return _open_folder(local)
    if local.suffix in READERS or path.startswith((".", "/", "~")) or path.count("/") > 1:
        missing = next(part for part in (*reversed(local.parents), local) if not part.exists())
        near = did_you_mean(missing.name, _entries(missing.parent))
        raise DataError(f"data path {path}: there is no {missing.name} in {missing.parent.resolve()}. {near}".rstrip())
    return _load("the hub", path)


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


def _open_folder(folder: Path) -> DatasetDict:
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        loaded = datasets.load_from_disk(str(folder))
        return loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)
    has_images = any(p.suffix.lower() in SUFFIXES for p in folder.rglob("*"))
    if has_images:
        return _load(str(folder), "imagefolder", data_dir=str(folder))
    files = sorted(p for p in folder.rglob("*") if p.suffix in READERS and not p.name.startswith("."))
    if not files:
        raise DataError(f"data path {folder}: the folder holds no images and no {', '.join(READERS)} file. Is it the right one?")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file.relative_to(folder)) or "train", []).append(file)
    return _open_files(by_split)


def _split_of(file: Path) -> str | None:
    """The split that a file's path speaks of: train-00000-of-00002.parquet, val/part1.csv."""
    words = re.split(r"[^a-z]+", str(file).lower())
    return next((split for split, names in SPLITS.items() if any(word in names for word in words)), None)


def _open_files(by_split: dict[str, list[Path]]) -> DatasetDict:
    suffixes = {file.suffix.lower() for files in by_split.values() for file in files}
    first = next(iter(by_split.values()))[0]
    if len(suffixes) > 1:
        raise DataError(f"data path {first.parent}: it mixes {', '.join(sorted(suffixes))} files. Name one file, or a folder of one kind.")
    suffix = suffixes.pop()
    if suffix not in READERS:
        raise DataError(f"data path {first}: files that end in {suffix or 'nothing'} cannot be read. Can be: {', '.join(READERS)}.")
    options = {"sep": "\t"} if suffix == ".tsv" else {}
    files = {split: [str(file) for file in part] for split, part in by_split.items()}
    return _load(str(first), READERS[suffix], data_files=files, **options)


def _load(what: str, *arguments: str, **options: object) -> DatasetDict:
    try:
        loaded = datasets.load_dataset(*arguments, **options)
    except Exception as error:  # datasets raises dozens of kinds; the first line says which
        cause = error.__cause__ or error
        line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if what == "the hub":
            near = did_you_mean(arguments[0], ["digits", *_entries(Path())])
            near = near if near.startswith("Did") else ""
            raise DataError(
                f"data path {arguments[0]} is no local file or folder, and cannot be read from the hub: {line.rstrip('.')}. {near}".rstrip()
            ) from error
        way = " Save it as UTF-8." if isinstance(cause, UnicodeDecodeError) else ""
        raise DataError(f"data path {what} cannot be read: {line.rstrip('.')}.{way}") from error
    return loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded)


def split_tables(
    tables: DatasetDict, split_column: str | None, names: dict[str, str], seed: int, path: str
) -> tuple[dict[str, Dataset], str]:
    """Name the splits train, validation and test, and hold out of train what is missing.

    Args:
        tables: as the source has them.
        split_column: the column whose values name the splits; `auto` for one called split, None for none.
        names: this source's own names for our splits, where they are unusual.
        seed: for the rows that are held out.
        path: the source, for messages.

    Returns:
        Tables by our names, and a sentence on what was held out or not used, empty where nothing was.

    Raises:
        DataError: the column or a named split does not exist.
    """
    found: dict[str, Dataset] = dict(tables)
    if len(tables) == 1:
        table = next(iter(tables.values()))
        column = "split" if split_column == "auto" and "split" in table.column_names else split_column
        if column not in (None, "auto"):
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
    held, note = _hold_out(named, seed, path)
    return held, "; ".join(part for part in (note, f"not used: the split {', '.join(unused)}" if unused else "") if part)


def _by_value(table: Dataset, column: str) -> dict[str, Dataset]:
    values = [str(value) for value in table[column]]
    return {name: table.select([i for i, value in enumerate(values) if value == name]) for name in dict.fromkeys(values)}


def _hold_out(named: dict[str, Dataset], seed: int, path: str) -> tuple[dict[str, Dataset], str]:
    missing = [name for name in ("validation", "test") if name not in named]
    if not missing:
        return named, ""
    if len(named["train"]) <= len(missing):
        raise DataError(f"data path {path}: train has {len(named['train'])} rows, too few to hold out {' and '.join(missing)}.")
    train = named["train"].shuffle(seed=seed)
    size = max(round(len(train) * HELD_OUT), 1)
    for i, name in enumerate(missing):
        named[name] = train.select(range(i * size, (i + 1) * size))
    named["train"] = train.select(range(len(missing) * size, len(train)))
    return named, f"no {' and no '.join(missing)} split: {size} rows of train held out for each (seed {seed})"
