"""From a path or hub id to Hugging Face tables, one per split. Which column holds what is `columns`' business."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets, load_from_disk

from cliptune.data.chosen import column_of, image_numbers, select_rows
from cliptune.data.formats import coco, features, tars
from cliptune.data.formats.digits import digits
from cliptune.data.formats.image_folders import open_images
from cliptune.data.formats.patterns import is_pattern
from cliptune.data.formats.reading import (
    READERS,
    Source,
    by_split,
    check_there,
    escaped,
    is_url,
    load,
    load_files,
    match_splits,
    suffix_of,
    usual_split_column,
    visible,
)
from cliptune.data.where import group_numbers
from cliptune.errors import DataError, did_you_mean
from cliptune.images import SUFFIXES

HELD_OUT = 0.1  # share of train that stands in for a split that the source lacks
DRAW = 0  # which images those are: the same whatever a run's seed, or seeds would be measured on different images


def open_source(path: str) -> Source:
    """Open what the path names.

    Args:
        path: `digits`; a parquet, CSV, TSV, JSON-lines or Arrow file; a JSON file of COCO; a tar of WebDataset, or a pattern of several; an
            npz or safetensors file of features; a folder of tables, of tars, of COCO, of images, or written by `save_to_disk`; the URL of
            a table; or the id of a data set on the Hugging Face hub.

    Raises:
        DataError: there is no such thing, or it cannot be read.
    """
    if path == "digits":
        return Source(digits(), {"train": [Path()]})
    local = Path(path).expanduser()
    if local.is_dir():
        return _open_folder(local)
    if tars.is_tar(path):
        return tars.open_tars(path)
    if local.is_file():
        return _open_file(local)
    if is_url(path) and suffix_of(path) in READERS:
        return Source(load_files(path, {"train": [path]}, path), {"train": [Path()]})
    if _is_local(path):
        check_there(local, path)
    return Source(load("the hub", path), {"train": [Path()]})


def check_early(path: str) -> None:
    """Raise DataError where nothing lies at a path of this machine, before anything is fetched or computed for it.

    Args:
        path: as `data.path`; a URL, a pattern and an id of the hub are left to who opens them.
    """
    if _is_local(path) and not is_url(path) and not is_pattern(path):
        check_there(Path(path).expanduser(), path)


def _is_local(path: str) -> bool:
    """Whether a path looks like one of this machine, and not like an id of the hub."""
    return Path(path).suffix.lower() in (*READERS, *features.SUFFIXES) or path.startswith((".", "/", "~")) or path.count("/") > 1


def _open_file(file: Path) -> Source:
    if file.suffix.lower() in features.SUFFIXES:
        return Source(features.open_features(file), {"train": [file.parent]})
    if file.suffix.lower() == ".json" and coco.is_coco(file):
        return coco.open_coco([file], file.parent)
    return _open_files(file.parent, {"train": [file]})


def _open_folder(folder: Path) -> Source:
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        loaded = load_from_disk(str(folder))
        return Source(loaded if isinstance(loaded, DatasetDict) else DatasetDict(train=loaded), {"train": [folder]})
    found = visible(folder)
    if tars.holds_tars(found):
        return tars.open_tars(str(folder))
    annotations = coco.find_coco(found)
    if annotations:
        return coco.open_coco(annotations, folder)
    images = [path for path in found if path.lower().endswith(SUFFIXES)]
    if images:
        return open_images(folder, images, found)
    files = [Path(path) for path in found if path.lower().endswith((*READERS,))]
    if not files:
        raise DataError(f"data path {folder}: the folder holds no images and no {', '.join(READERS)} file. Is it the right one?")
    sorted_files = by_split((str(file), str(file.relative_to(folder))) for file in files)
    return _open_files(folder, {split: [Path(file) for file in part] for split, part in sorted_files.items()})


def _open_files(folder: Path, parts: dict[str, list[Path]]) -> Source:
    listed = [file for files in parts.values() for file in files]
    suffixes = {file.suffix.lower() for file in listed}
    if len(suffixes) > 1:
        raise DataError(f"data path {folder}: it mixes {', '.join(sorted(suffixes))} files. Name one file, or a folder of one kind.")
    what = listed[0] if len(listed) == 1 else folder
    suffix = suffixes.pop()
    if suffix not in READERS:
        known = ", ".join((*READERS, *features.SUFFIXES))
        raise DataError(f"data path {what}: files that end in {suffix or 'nothing'} cannot be read. Can be: {known}.")
    patterns = {split: [escaped(file) for file in files] for split, files in parts.items()}
    tables = load_files(str(what), patterns, listed[0])
    roots = {split: list(dict.fromkeys([*{file.parent for file in files}, folder])) for split, files in parts.items()}
    return Source(tables, {split: paths if len(paths) <= 2 else [folder] for split, paths in roots.items()})


def name_splits(
    tables: DatasetDict, split_column: str | None, names: Mapping[str, str | list[str]], path: str
) -> tuple[dict[str, Dataset], str]:
    """Name the splits train, validation and test.

    Args:
        tables: as the source has them.
        split_column: the column whose values name the splits; `auto` for one called split, None for none.
        names: this source's own names for our splits, where they are unusual; of several, which are put together.
        path: the source, for messages.

    Returns:
        Tables by our names, always with train, and a sentence on what is not used, empty where all is.

    Raises:
        DataError: the column or a named split does not exist.
    """
    found: dict[str, Dataset] = dict(tables)
    if len(tables) == 1:
        table = next(iter(tables.values()))
        column = usual_split_column(table.column_names) if split_column == "auto" else split_column
        if column is not None:
            if column not in table.column_names:
                raise DataError(f"data path {path} has no column {column} (split_column). {did_you_mean(str(column), table.column_names)}")
            found = _by_value(table, str(column))
    named = match_splits(*_joined(found, names, path), path)
    claimed = {name for theirs in names.values() for name in ([theirs] if isinstance(theirs, str) else theirs)}
    unused = [str(name) for name, table in found.items() if name not in claimed and not any(table is used for used in named.values())]
    return named, f"not used: the split {', '.join(unused)}" if unused else ""


def _joined(found: dict[str, Dataset], names: Mapping[str, str | list[str]], path: str) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Put together the splits that are one of ours, under one name."""
    found, one = dict(found), {ours: theirs for ours, theirs in names.items() if isinstance(theirs, str)}
    for ours, theirs in names.items():
        if isinstance(theirs, str):
            continue
        missing = next((name for name in theirs if name not in found), None)
        if missing is not None:
            raise DataError(f"data path {path} has no split {missing}. {did_you_mean(missing, found)}")
        one[ours] = " + ".join(theirs)
        found[one[ours]] = concatenate_datasets([found.pop(name) for name in theirs])
    return found, one


def _by_value(table: Dataset, column: str) -> dict[str, Dataset]:
    encoded = column_of(table, column).dictionary_encode()
    names = [str(value) for value in encoded.dictionary.to_pylist()]
    numbers = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    return {name: select_rows(table, np.flatnonzero(numbers == i)) for i, name in enumerate([*names, "None"]) if (numbers == i).any()}


def hold_out(
    named: dict[str, Dataset],
    image: str,
    path: str,
    listed: Mapping[str, np.ndarray] | None = None,
    group: str | None = None,
) -> tuple[dict[str, Dataset], str]:
    """Hold out of train what is missing of validation and test: whole images, where several rows are of the same file.

    The images are drawn at random, and the same in every run: a seed decides what is learned from, not what is measured on.

    Args:
        named: tables by our names.
        image: the column of images.
        path: the source, for messages.
        listed: by split, rows of train that are to be in it; where test is listed, no others are.
        group: the column whose equal values stay together, such as a patient's; the image's where not given.

    Returns:
        Tables for all three names, and a sentence on what was held out, empty where nothing was.

    Raises:
        DataError: train is too small.
    """
    missing = [name for name in ("validation", "test") if name not in named]
    if not missing:
        return named, ""
    train = named["train"]
    numbers = image_numbers(train, image) if group is None else group_numbers(train, group, path)
    order = np.random.default_rng(DRAW).permutation(len(train))
    first = np.unique(numbers[order], return_index=True)[1]
    images = numbers[order][np.sort(first)]  # each once, in random order
    if len(images) <= len(missing):
        raise DataError(f"data path {path}: train has {len(images)} images, too few to hold out {' and '.join(missing)}.")
    size = max(round(len(images) * HELD_OUT), 1)
    ends = {name: images[i * size : (i + 1) * size] for i, name in enumerate(missing)} | {"train": images[len(missing) * size :]}
    names = ["train", *missing]
    place = np.zeros(len(train), dtype=np.int64)
    for name in missing:
        place[np.isin(numbers, ends[name])] = names.index(name)
    listed = {name: rows for name, rows in (listed or {}).items() if name in names and len(rows)}
    if "test" in listed:
        place[place == names.index("test")] = 0
    for name, rows in listed.items():
        place[np.isin(numbers, numbers[rows])] = names.index(name)
    held = {name: select_rows(train, order[place[order] == i]) for i, name in enumerate(names)}
    if listed:
        return {
            **named,
            **held,
        }, f"no {' and no '.join(missing)} split: {', '.join(listed)} as listed, else held out of train, the same for every seed"
    images_each = "1 image" if size == 1 else f"{size} images"
    return {**named, **held}, f"no {' and no '.join(missing)} split: {images_each} of train held out for each, the same for every seed"
