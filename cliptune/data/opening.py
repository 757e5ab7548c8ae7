"""From a path to its three splits: sources, split names, columns, usable rows, rows held out, few shots."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from cliptune.data.columns import Split, check_has, find_columns, labelled_rows, usable_rows
from cliptune.data.shots import few_shot
from cliptune.data.sources import hold_out, name_splits, open_source
from cliptune.errors import DataError


class Wanted(NamedTuple):
    """What of a source is wanted; see the arguments of `ImageTextData`."""

    columns: tuple[str, str | None, str | None]  # image, caption, label
    negative_column: str | None
    split_column: str | None
    split_names: dict[str, str]
    needs: set[str]
    shots: int | None
    shots_column: str | None


def open_splits(path: str, wanted: Wanted, seed: int) -> tuple[dict[str, Split], str]:
    """Open a source.

    Args:
        path: `digits`, a file, a folder, or a hub id.
        wanted: what of it.
        seed: of rows held out and shots.

    Returns:
        train, validation and test; and what the user should know of how they came about, or "".

    Raises:
        DataError: the source does not hold what is wanted.
    """
    source = open_source(path)
    named, unused = name_splits(source.tables, wanted.split_column, wanted.split_names, path)
    columns = find_columns(named["train"], *wanted.columns, path=path, negative=wanted.negative_column)
    for name, table in named.items():
        check_has(table, columns, f"{path}: the {name} split")
    usable = {name: usable_rows(table, columns) for name, table in named.items()}
    empty = [name for name, table in usable.items() if not len(table)]
    if empty:
        way = "Set splits or caption_column." + (" Or give the path of the table of texts." if Path(path).expanduser().is_dir() else "")
        raise DataError(f"data path {path}: the {empty[0]} split has no row with an image and a caption or label. {way}")
    left_out = sum(len(table) - len(usable[name]) for name, table in named.items())
    held, held_note = hold_out(usable, columns.image, seed, path)
    if wanted.needs == {"classes"} and columns.label:  # what is held out is the same for every objective, so this comes last
        rows = len(held["train"])
        held["train"] = labelled_rows(held["train"], columns.label)
        left_out += rows - len(held["train"])
    if wanted.shots is not None:
        held = few_shot(held, columns.label, wanted.shots, wanted.shots_column, seed, path)
        held_note = f"{held_note}; " * bool(held_note) + f"{len(held['train'])} images of train, {wanted.shots} of a class"
    lost = f"{left_out} rows without an image or without a caption or label are left out" if left_out else ""
    first = next(iter(source.roots.values()))
    roots = {name: source.roots.get(wanted.split_names.get(name, name), first) for name in held}
    splits = {name: Split(table, columns, roots[name], f"{path}/{name}") for name, table in held.items()}
    return splits, "; ".join(part for part in (source.note, held_note, unused, lost) if part)


def fingerprint(opened: dict[str, list[Split]]) -> str:
    """Identify data: sha256 over counts, columns and up to 64 evenly spaced rows of each split, images by the last part of their paths."""
    digest = hashlib.sha256()
    for name, splits in opened.items():
        for split in splits:
            digest.update(f"{name}{len(split)}{split.columns}".encode())
            for row in split.read(list(range(0, len(split), max(len(split) // 64, 1)))[:64]):
                image = Path(row.image).name if isinstance(row.image, str) else row.image[-256:]
                digest.update(repr((image, row.captions, row.label)).encode())
    return digest.hexdigest()[:16]
