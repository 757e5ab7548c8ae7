"""From a path or hub id to streams, one per split: rows in the order in which they lie there, no copy on disk, images not decoded."""

import csv
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, Image, IterableDataset

from cliptune.data.formats import coco, features
from cliptune.data.formats.patterns import is_pattern, list_files
from cliptune.data.formats.reading import (
    READERS,
    escaped,
    is_url,
    load,
    match_splits,
    options_of,
    separator_of,
    suffix_of,
    usual_split_column,
    visible,
)
from cliptune.data.formats.samples import samples_of
from cliptune.data.formats.tars import TARS, holds_tars, is_tar, stream_tars
from cliptune.errors import DataError, did_you_mean
from cliptune.images import SUFFIXES

HEAD = 100  # rows that say which columns there are
PARTED = 64  # files: fewer are streamed by their row groups, so that every process finds a part of its own


@dataclass(frozen=True)
class Streams:
    """What a path names, by our split names, always with train.

    Args:
        streams: their examples, `image` columns as bytes or paths.
        roots: the folders that relative image paths may start from.
        files: that they are read from, where they are known.
        counts: of rows, where they are known already.
    """

    streams: dict[str, IterableDataset]
    roots: dict[str, list[Path]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def rows(self, split: str) -> int | None:
        """How many rows a split has: as the hub says, or counted in files on this machine; None where that would be to read it all."""
        if split not in self.counts and split in self.files:
            counted = [_rows_in(file) for file in self.files[split]]
            return None if None in counted else sum(count for count in counted if count is not None)
        return self.counts.get(split)


def open_stream(path: str, splits: dict[str, str] | None = None, split_column: str | None = "auto") -> Streams:
    """Open what the path names, to be read as it comes.

    Args:
        path: a parquet, CSV, TSV or JSON-lines file, a WebDataset tar, a folder of such files, a URL or a pattern of them
            (`https://host/train-{0000..0099}.tar`), or the id of a data set on the Hugging Face hub.
        splits: the source's own names for ours, where they are unusual.
        split_column: the column whose values name the splits; `auto` for one called split, None for none.

    Raises:
        DataError: there is no such thing, or it is of a kind that is not streamed.
    """
    names, local = splits or {}, Path(path).expanduser()
    if holds_tars(visible(local)) if local.is_dir() else is_tar(path):
        files = list_files(path, TARS)
        return Streams(match_splits(stream_tars(files), names, path), files=match_splits(files, names, path))
    if not (local.exists() or is_url(path) or is_pattern(path)):
        return _of_hub(path, names)
    _check_kind(path, local)
    files = list_files(path, tuple(READERS))
    suffixes = sorted({suffix_of(file) for part in files.values() for file in part})
    if len(suffixes) != 1 or suffixes[0] not in READERS:
        held = ", ".join(suffix or "no suffix" for suffix in suffixes) or "nothing that can be read"
        raise DataError(f"data path {path}: it holds {held}. Streams are of one kind of: {', '.join((*READERS, *TARS))}.")
    if not any(is_url(file) for part in files.values() for file in part) and len(files) == 1 and split_column is not None:
        column, values = _split_values(files["train"], split_column, path)
        if column is not None:
            return _by_value(files["train"], column, values, names, path)
    found = match_splits(files, names, path)
    return Streams({split: _stream(path, listed) for split, listed in found.items()}, _roots(found, local), found)


def head(stream: IterableDataset, rows: int = HEAD) -> Dataset:
    """The first rows of a stream as a table, to find its columns by."""
    return Dataset.from_list(list(islice(stream, rows)), features=stream.features)


def _check_kind(path: str, local: Path) -> None:
    """Refuse what is read in place, without a copy, anyway."""
    what = ""
    if local.is_dir():
        if (local / "dataset_dict.json").exists() or (local / "dataset_info.json").exists():
            what = "what save_to_disk wrote"
        elif any(file.suffix.lower() in SUFFIXES for file in local.rglob("*")):
            what = "a folder of images"
    elif local.suffix.lower() in features.SUFFIXES:
        what = "features"
    elif local.is_file() and local.suffix.lower() == ".json" and coco.is_coco(local):
        what = "COCO's JSON"
    if what:
        raise DataError(f"data path {path}: {what} is not streamed, as nothing of it is copied. Leave out data.streaming.")


def _of_hub(path: str, names: dict[str, str]) -> Streams:
    if path == "digits":
        raise DataError("data path digits is not streamed: it is small. Leave out data.streaming.")
    loaded = match_splits({str(name): stream for name, stream in load("the hub", path, streaming=True).items()}, names, path)
    counts = {}
    for split, stream in loaded.items():
        told = (stream.info.splits or {}).get(str(stream.split))
        if told is not None and told.num_examples:
            counts[split] = int(told.num_examples)
    return Streams({split: _parted(_undecoded(stream)) for split, stream in loaded.items()}, counts=counts)


def _stream(path: str, files: list[str], **options: Any) -> IterableDataset:
    suffix = suffix_of(files[0])
    patterns = {"train": [file if is_url(file) else escaped(file) for file in files]}
    loaded = load(path, READERS[suffix], data_files=patterns, streaming=True, **options_of(files[0]), **options)
    return _parted(_undecoded(loaded["train"]))


def _undecoded(stream: IterableDataset) -> IterableDataset:
    for name, feature in (stream.features or {}).items():
        if isinstance(feature, Image):
            stream = stream.cast_column(name, Image(decode=False))
    return stream


def _parted(stream: IterableDataset) -> IterableDataset:
    return stream.reshard() if stream.num_shards < PARTED and hasattr(stream, "reshard") else stream


def _roots(files: dict[str, list[str]], local: Path) -> dict[str, list[Path]]:
    """The folders of the files; and that which holds them, where they are few."""
    found = {}
    for split, listed in files.items():
        folders = list(dict.fromkeys(Path(file).parent for file in listed if not is_url(file)))
        above = [local] if local.is_dir() else folders[:1]
        found[split] = list(dict.fromkeys([*folders, *above])) if len(folders) == 1 else above
    return found


# Splits by the values of a column


def _split_values(files: list[str], column: str, path: str) -> tuple[str | None, Counter[str]]:
    """The column that names the splits, if there is one, and its values."""
    columns = pq.read_schema(files[0]).names if suffix_of(files[0]) == ".parquet" else list(next(iter(_stream(path, files[:1])), {}))
    named = usual_split_column(columns) if column == "auto" else column
    if named is None:
        return None, Counter()
    if named not in columns:
        raise DataError(f"data path {path} has no column {named} (split_column). {did_you_mean(named, columns)}")
    if suffix_of(files[0]) == ".parquet":
        return named, sum((Counter(map(str, pq.read_table(file, columns=[named])[named].to_pylist())) for file in files), Counter[str]())
    return named, Counter(str(row[named]) for row in _stream(path, files))


def _by_value(files: list[str], column: str, values: Counter[str], names: dict[str, str], path: str) -> Streams:
    found = match_splits({value: value for value in values}, names, path)
    streams = {}
    for split, value in found.items():
        if suffix_of(files[0]) == ".parquet":
            streams[split] = _stream(path, files, filters=[(column, "==", value)])
        else:
            streams[split] = _stream(path, files).filter(_has, fn_kwargs={"column": column, "value": value})
    roots = _roots(dict.fromkeys(found, files), Path(path).expanduser())
    return Streams(streams, roots, counts={split: values[value] for split, value in found.items()})


def _has(example: dict[str, Any], column: str, value: str) -> bool:
    return str(example[column]) == value


def _rows_in(file: str) -> int | None:
    """The rows of a file on this machine."""
    if is_url(file):
        return None
    suffix = suffix_of(file)
    if suffix in TARS:
        return sum(1 for _ in samples_of(file, images=False))
    if suffix == ".parquet":
        return int(pq.read_metadata(file).num_rows)
    if suffix in (".csv", ".tsv"):
        with Path(file).open(encoding="utf-8-sig", newline="") as opened:
            return sum(1 for row in csv.reader(opened, delimiter=separator_of(file)) if row) - 1
    if suffix in (".jsonl", ".ndjson"):
        with Path(file).open("rb") as opened:
            return sum(1 for line in opened if line.strip())
    return None
