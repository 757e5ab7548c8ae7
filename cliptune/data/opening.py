"""From a source to its three splits: what the path names, split names, columns, usable rows, rows held out."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset

from cliptune.data.chosen import select_rows
from cliptune.data.classes import read_names
from cliptune.data.columns import Columns, check_has, find_columns
from cliptune.data.formats.sources import hold_out, name_splits, open_source
from cliptune.data.labels import LabelRules, read_map
from cliptune.data.named import listed_rows
from cliptune.data.options import Options, Part
from cliptune.data.shot_lists import read_list
from cliptune.data.split import Reading, Split
from cliptune.data.texts.phrases import Phrase
from cliptune.data.texts.templates import read_templates
from cliptune.data.usable import LeftOut, check_inside, chosen_rows, labelled_rows
from cliptune.data.where import rows_where
from cliptune.errors import DataError


class Opened(NamedTuple):
    """A source."""

    splits: dict[str, Split]  # train, validation, test
    note: str  # what the user should know of how they came about, or ""
    left_out: list[LeftOut]


def part_of(path: str, options: Options) -> Part:
    """A path as a source that is as the options say."""
    return filled(Part(path), options)


def filled(part: Part, options: Options) -> Part:
    """A source with what it leaves to the options."""
    shared = ("image_column", "caption_column", "label_column", "negative_column", "split_column", "splits", "where", "text")
    given = {name: getattr(options, name) for name in shared if getattr(part, name) is None}
    return replace(part, **given)


def rules_of(options: Options) -> LabelRules:
    """What labels mean."""
    return LabelRules(read_map(options.label_map), frozenset(options.ignore_classes), options.label_separator)


def reading_of(part: Part, options: Options) -> Reading:
    """How a source's cells become rows."""
    own = tuple(read_templates(part.templates)) if part.templates is not None else ()
    named = {str(i): name for i, name in enumerate(read_names(options.class_names) or ())}
    return Reading(rules_of(options), Phrase(part.text) if part.text else None, own, named)


def columns_of(table: Any, part: Part, options: Options, reading: Reading) -> Columns:
    """Find a source's columns; see `find_columns`."""
    wanted = (part.image_column, part.caption_column, part.label_column)
    return find_columns(table, *wanted, part.path, part.negative_column, options.weight_column, reading.phrase)


def open_part(part: Part, options: Options, needs: set[str]) -> Opened:
    """Open a source.

    Args:
        part: `filled`.
        options: what of it.
        needs: what the objective compares images with.

    Raises:
        DataError: the source does not hold what is wanted.
    """
    path = part.path
    source, reading = open_source(path), reading_of(part, options)
    tables, asked = rows_where(source.tables, part.where or {}, path)
    named, unused = name_splits(tables, part.split_column, part.splits or {}, path)
    columns = columns_of(named["train"], part, options, reading)
    first = next(iter(source.roots.values()))
    roots = {name: _roots(source.roots, (part.splits or {}).get(name, name), first) for name in ("train", "validation", "test")}
    usable: dict[str, Dataset] = {}
    left_out: list[LeftOut] = []
    for name, table in named.items():
        check_has(table, columns, f"{path}: the {name} split")
        usable[name], unusable = chosen_rows(table, columns, reading.labels, reading.phrase, f"{path}/{name}")
        left_out += unusable
        if not options.allow_outside:
            check_inside(usable[name], columns.image, roots[name], f"{path}/{name}")
    empty = [name for name, table in usable.items() if not len(table)]
    if empty:
        way = "Set splits or caption_column." + (" Or give the path of the table of texts." if Path(path).expanduser().is_dir() else "")
        raise DataError(f"data path {path}: the {empty[0]} split has no row with an image and a caption or label. {way}")
    listed = None
    if options.shots_file is not None and not {"validation", "test"} <= usable.keys():
        train = Split(usable["train"], columns, roots["train"], path, reading)
        listed = listed_rows(train, read_list(options.shots_file), options.shots_file)
    held, held_note = hold_out(usable, columns.image, path, listed, options.group_column)
    if needs == {"classes"} and columns.label:  # what is held out is the same for every objective, so this comes last
        mask = labelled_rows(held["train"], columns, reading.labels)
        left_out += [LeftOut(f"{path}/train", "without a label that counts", int((~mask).sum()))] if not mask.all() else []
        held["train"] = held["train"] if mask.all() else select_rows(held["train"], mask.nonzero()[0])
    splits = {name: Split(table, columns, roots[name], f"{path}/{name}", reading) for name, table in held.items()}
    lost = sum(one.rows for one in left_out)
    told = f"{lost} rows without an image or without a caption or label are left out" if lost else ""
    return Opened(splits, "; ".join(part for part in (source.note, asked, held_note, unused, told) if part), left_out)


def _roots(roots: dict[str, list[Path]], theirs: str | list[str], first: list[Path]) -> list[Path]:
    """The folders that the image paths of one split, or of several, are relative to."""
    listed = [theirs] if isinstance(theirs, str) else theirs
    return list(dict.fromkeys(root for name in listed for root in roots.get(name, first)))


def fingerprint(opened: dict[str, list[Split]]) -> str:
    """Identify data: sha256 over counts, columns and up to 64 evenly spaced rows of each split, images by the last part of their paths."""
    digest = hashlib.sha256()
    for name, splits in opened.items():
        for split in splits:
            digest.update(f"{name}{len(split)}{split.columns}".encode())
            for row in split.read(list(range(0, len(split), max(len(split) // 64, 1)))[:64]):
                image = Path(row.image).name if isinstance(row.image, str) else row.image[-256:]
                digest.update(repr((image, row.captions, row.labels)).encode())
    return digest.hexdigest()[:16]
