"""What the readers of files share: which suffix is read by what, which split a name speaks of, and one line for what cannot be read."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import datasets
from datasets import DatasetDict
from datasets.table import CastError

from cliptune.errors import DataError, UnreachableError, did_you_mean
from cliptune.hub import asked_once

READERS = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".ndjson": "json", ".arrow": "arrow"}
SPLITS = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "val", "valid", "dev", "eval"),
    "test": ("test", "testing", "te"),
}
CSV = {"skipinitialspace": True, "keep_default_na": False, "na_values": [""]}  # a class may be called None, and a caption NA


T = TypeVar("T")


class Source(NamedTuple):
    """What a path names."""

    tables: DatasetDict  # by split name, as the source has them; one without splits is `train`
    roots: dict[str, list[Path]]  # by split name: the folders that relative image paths may start from; the first is train's
    note: str = ""  # on what was not used


def is_url(path: str) -> bool:
    """Whether a path is one of a protocol: https://, hf://, s3://."""
    return bool(re.match(r"[a-z][a-z0-9+.-]+://", path))


def suffix_of(path: str) -> str:
    """The suffix of a file or URL, in small letters; that of what a compressed one holds goes before: `.tar.gz`."""
    found = re.search(r"(?:\.tar)?\.[a-z0-9]+$", path.partition("?")[0].lower() if is_url(path) else path.lower())
    return found.group() if found else ""


def options_of(file: str | Path) -> dict[str, Any]:
    """How `datasets` is told to read a file."""
    return {**CSV, "sep": separator_of(file)} if READERS[suffix_of(str(file))] == "csv" else {}


def separator_of(file: str | Path) -> str:
    """What parts the fields of a table of text: what its name says, or, where its first line has none of it, what spreadsheets write."""
    usual = "\t" if suffix_of(str(file)) == ".tsv" else ","
    if is_url(str(file)):
        return usual
    with Path(file).open(encoding="utf-8-sig", errors="replace") as opened:
        head = re.sub(r'"[^"]*"', "", opened.readline())
    return usual if usual in head else next((mark for mark in ";\t," if mark in head), usual)


def split_of(file: str | Path) -> str | None:
    """The split that a file's path speaks of: train-00000-of-00002.parquet, val/part1.csv."""
    words = re.split(r"[^a-z]+", str(file).lower())
    return next((split for split, names in SPLITS.items() if any(word in names for word in words)), None)


def by_split(files: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Sort files by the split that their names speak of, train first: it sets the types.

    Args:
        files: each with the part of its name that counts.
    """
    found: dict[str, list[str]] = {}
    for file, name in files:
        found.setdefault(split_of(name) or "train", []).append(file)
    return {split: found[split] for split in SPLITS if split in found}


def match_splits(found: Mapping[str, T], names: Mapping[str, str], path: str) -> dict[str, T]:
    """Give splits our names; that of a source which has one is train.

    Args:
        found: by the source's own names.
        names: from our names to the source's, where they are unusual.
        path: the source, for messages.

    Raises:
        DataError: a named split does not exist, or there is no train.
    """
    named: dict[str, T] = {}
    claimed = set(names.values())  # a split that is one thing by its given name is no other by its usual one
    for ours, usual in SPLITS.items():
        theirs = names.get(ours)
        if theirs is not None and theirs not in found:
            raise DataError(f"data path {path} has no split {theirs}. {did_you_mean(theirs, found)}")
        match = theirs or next((name for name in found if str(name).lower() in usual and name not in claimed), None)
        if match is not None:
            named[ours] = found[match]
    if "train" not in named:
        taken = next((ours for ours, theirs in names.items() if str(theirs).lower() in SPLITS["train"]), None)
        if taken is not None:
            raise DataError(
                f"data path {path}: splits takes {names[taken]} for {taken}, and trains on nothing. Set splits: {{train: NAME}} too."
            )
        if len(found) > 1 or named:
            raise DataError(f"data path {path} has no split called train, but {', '.join(map(str, found))}. Set splits: {{train: NAME}}.")
        named["train"] = next(iter(found.values()))
    return named


def usual_split_column(columns: Iterable[str]) -> str | None:
    """The column called split, if there is one."""
    return next((name for name in columns if name.strip().lower() == "split"), None)


def escaped(path: str | Path) -> str:
    """A path as a pattern: brackets stand for themselves."""
    return re.sub(r"([\[?])", r"[\1]", str(path))


def visible(folder: Path) -> list[str]:
    """The paths of what lies in a folder and its folders, in order, but for what is hidden; linked folders are not looked into.

    As strings, since a folder may hold a million images, for which objects of pathlib take minutes.
    """
    return [*_listed("" if folder == Path() else os.path.join(folder, ""))]  # noqa: PTH118


def _listed(start: str) -> Iterator[str]:
    """What lies in a folder, which is named up to its last slash."""
    try:
        with os.scandir(start or ".") as found:
            inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except PermissionError:
        return
    for name, is_folder in inside:
        if not name.startswith((".", "__")):
            yield start + name
            if is_folder:
                yield from _listed(start + name + os.sep)


def entries(folder: Path) -> list[str]:
    """The names in a folder, for messages."""
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


def check_there(local: Path, path: str) -> None:
    """Raise DataError that names the first part of a path that does not exist."""
    missing = next((part for part in (*reversed(local.parents), local) if not part.exists()), None)
    if missing is not None:
        near = did_you_mean(missing.name, entries(missing.parent))
        raise DataError(f"data path {path}: there is no {missing.name} in {missing.parent.resolve()}.", near, path)


def load_files(what: str, patterns: Mapping[str, list[str]], one: str | Path) -> Any:
    """`load` for files of rows, of one kind.

    Args:
        what: the path.
        patterns: of the files, by split.
        one: of them, which says how they are read.

    Raises:
        DataError: as `load`; or the rows of a CSV have more fields than its header.
    """
    reader = READERS[suffix_of(str(one))]
    tables = load(what, reader, data_files=patterns, **options_of(one))
    if reader == "csv" and any("__index_level_0__" in table.column_names for table in tables.values()):
        raise DataError(f"data path {what}: its rows have more fields than its header. Put texts that hold the separator in quotes.")
    return tables


def load(what: str, *arguments: str, **options: Any) -> Any:
    """`datasets.load_dataset`, whose dozens of kinds of errors become one line.

    Args:
        what: the path, or "the hub".
        arguments: of `load_dataset`.
        options: of `load_dataset`.

    Returns:
        A DatasetDict, or an IterableDatasetDict where `streaming` is set.

    Raises:
        DataError: it cannot be read.
        UnreachableError: it is of the hub, was not fetched before, and the hub is not there.
    """
    if what == "the hub":
        return _plural(_of_hub(*arguments, **options))
    try:
        loaded = datasets.load_dataset(*arguments, **options)
    except Exception as error:
        line, cause = reason(error)
        way = " Save it as UTF-8." if isinstance(cause, UnicodeDecodeError) else ""
        raise DataError(f"data path {what} cannot be read: {line}.{way}") from error
    return _plural(loaded)


def _of_hub(path: str, **options: Any) -> Any:
    """A data set of the hub, which is asked once whether it is there."""
    with asked_once() as lost:
        try:
            return datasets.load_dataset(path, **options)
        except Exception as error:
            near = did_you_mean(path, ["digits", *entries(Path())])
            near = near if near.startswith("Did") else ""
            what = f"data path {path} is no local file or folder, and"
            if lost and not near:
                raise UnreachableError(f"{what} as a data set of the hub it was not fetched before; {lost}. Connect first.") from error
            raise DataError(f"{what} cannot be read from the hub: {reason(error)[0]}. {near}".rstrip()) from error


def _plural(loaded: Any) -> Any:
    """Splits by name, also where there is one without."""
    if isinstance(loaded, datasets.IterableDataset):
        return datasets.IterableDatasetDict(train=loaded)
    return DatasetDict(train=loaded) if isinstance(loaded, datasets.Dataset) else loaded


def reason(error: BaseException) -> tuple[str, BaseException]:
    """The first line of what is below `datasets`' own "an error occurred", and that error."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    line = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".!")
    if isinstance(cause, CastError):
        names = [", ".join(columns) for columns in (cause.requested_column_names, cause.table_column_names)]
        line = f"one of its files has the columns {names[0]}, another {names[1]}"
    return line, cause
