"""Paths that stand for several files: braces as a shell has them, stars, URLs; sorted by split."""

import re
from glob import glob, has_magic
from pathlib import Path

import fsspec  # type: ignore[import-untyped]

from cliptune.data.formats.reading import by_split, check_there, is_url, suffix_of, visible
from cliptune.errors import DataError


def is_pattern(path: str) -> bool:
    """Whether a path stands for files by braces or stars, and is no file itself."""
    return (has_magic(path) or braces(path) != [path]) and not Path(path).expanduser().exists()


def list_files(path: str, suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """The files that a path names, by split; those that speak of one split alone, or of none, are train.

    Args:
        path: a file, a folder, a URL, or a pattern; braces stand for several: `{000000..000099}`, `{train,val}`.
        suffixes: of the files that count in a folder.

    Raises:
        DataError: there is none.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        listed, start = [file for file in visible(folder) if suffix_of(file) in suffixes], len(str(folder)) + 1
    else:
        listed = [file for pattern in braces(path if is_url(path) else str(folder)) for file in _expanded(pattern, path)]
        start = _shared(listed)  # of what tells them apart
    found = by_split((file, file[start:].partition("?")[0]) for file in listed)
    return found if len(found) > 1 else {"train": listed}


def _shared(paths: list[str]) -> int:
    """Where the names begin that come after the folders that all paths share."""
    folders = [path.split("/")[:-1] for path in paths]
    same = 0
    while all(len(parts) > same and parts[same] == folders[0][same] for parts in folders):
        same += 1
    return sum(len(part) + 1 for part in folders[0][:same])


def _expanded(pattern: str, path: str) -> list[str]:
    """The files of a pattern without braces."""
    if is_url(pattern):
        if pattern.startswith("http") or not has_magic(pattern):  # a web server does not list its files, and ? begins a query
            return [pattern]
        system, _, found = fsspec.get_fs_token_paths(pattern)
        found = [system.unstrip_protocol(file) for file in sorted(found)]
    elif has_magic(pattern) and not Path(pattern).exists():
        found = sorted(glob(pattern, recursive=True))  # noqa: PTH207 - Path's own takes no absolute pattern
    else:
        check_there(Path(pattern), path)
        found = [pattern]
    if not found:
        raise DataError(f"data path {path}: no file has such a name. Is the folder the right one?")
    return found


def braces(pattern: str) -> list[str]:
    """All that a pattern with braces stands for, in order.

    Raises:
        DataError: a range counts down.
    """
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if found is None:
        return [pattern]
    first, last, words = found.groups()
    if words is None and int(last) < int(first):
        raise DataError(f"data path {pattern}: {found.group()} counts down. Write the smaller number first.")
    middle = words.split(",") if words is not None else [str(i).zfill(len(first)) for i in range(int(first), int(last) + 1)]
    rest = braces(pattern[found.end() :])
    return [pattern[: found.start()] + part + end for part in middle for end in rest]
