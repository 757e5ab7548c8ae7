"""A source that is read as it comes: training rows as a stream, and few of validation and test, read once and held in memory."""

from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, Features, IterableDataset

from cliptune.data.classes import name_classes, read_names
from cliptune.data.columns import Columns
from cliptune.data.examples import sample
from cliptune.data.formats.sources import DRAW
from cliptune.data.formats.streams import Streams, head, open_stream
from cliptune.data.gathered import Gathered
from cliptune.data.opening import columns_of, part_of, reading_of
from cliptune.data.options import Options
from cliptune.data.split import Reading, Row, Split
from cliptune.data.usable import check_inside, chosen_rows
from cliptune.errors import ConfigError, DataError

Example = dict[str, Any]


class Streamed(NamedTuple):
    """The training rows of a stream."""

    stream: IterableDataset  # those that can be used
    make: "MakeRows"
    epoch_rows: int  # over all devices
    rows: int | None  # of the stream, about
    held: frozenset[int]  # the numbers of those that stand for validation and test


class MakeRows:
    """Makes rows of a stream's examples; goes to worker processes.

    Args:
        split: of some of the examples, which knows the columns.
        inside: whether paths have to stay in the source's folder.
    """

    def __init__(self, split: Split, inside: bool) -> None:
        self.split, self.inside = split, inside

    def usable(self, example: Example) -> bool:
        """Whether an example has an image, and a text or a label."""
        image = example.get(self.split.columns.image)
        if not ((image.get("bytes") or image.get("path")) if isinstance(image, dict) else image):
            return False
        row = self.split.rows_of(self._cells([example]), [b""], [0])[0]
        return bool(row.captions or (row.labels and not self.split.has_captions))

    def __call__(self, examples: list[Example], numbers: list[int]) -> list[Row]:
        """The rows of examples, by their numbers."""
        values = [example[self.split.columns.image] for example in examples]
        if self.inside:
            paths = [value if isinstance(value, str) else value.get("path") for value in values if not _held(value)]
            if paths:
                check_inside(Dataset.from_dict({"image": paths}), "image", list(self.split.roots), self.split.name)
        return self.split.rows_of(self._cells(examples), [self.split.image_of(value) for value in values], numbers)

    def _cells(self, examples: list[Example]) -> dict[str, list[Any]]:
        return {name: [example.get(name) for example in examples] for name in self.split.table.column_names}


def _held(value: Any) -> bool:
    """Whether a cell has the image's bytes."""
    return isinstance(value, bytes) or (isinstance(value, dict) and value.get("bytes") is not None)


def gather_stream(path: str, options: Options, needs: set[str]) -> tuple[Gathered, Streamed]:
    """Open a source as a stream.

    Args:
        path: a hub id, tar shards, files or a folder of tables.
        options: of the data.
        needs: what the objective compares images with.

    Returns:
        Its splits, of which train is a few rows that tell what there is, and its training rows.

    Raises:
        DataError: the source cannot be streamed, or does not hold what is wanted.
        ConfigError: nobody says how long an epoch is.
    """
    part = part_of(path, options)
    names = {ours: theirs for ours, theirs in (part.splits or {}).items() if isinstance(theirs, str)}  # lists are refused before
    source, reading = open_stream(path, names, part.split_column), reading_of(part, options)
    seen = head(source.streams["train"])
    columns = columns_of(seen, part, options, reading)
    make = MakeRows(_split(seen, columns, source, "train", path, reading), not options.allow_outside)
    stream = source.streams["train"].filter(make.usable)
    tables, held, notes = _evaluation(source, stream, options, path)
    left_out, splits = [], {"train": make.split}
    for name, table in tables.items():
        kept, lost = chosen_rows(table, columns, reading.labels, reading.phrase, f"{path}/{name}")
        left_out += lost
        splits[name] = _split(kept, columns, source, name, path, reading)
    classes = name_classes([splits["validation"], splits["test"]], read_names(options.class_names))
    rows = source.rows("train")
    known = None if rows is None else rows - len(held)
    if options.epoch_rows is None and known is None:
        raise ConfigError(f"data: {path} does not say how many rows it has. Set data.epoch_rows to the rows of an epoch, such as 100000.")
    labels = make.split.labels
    if classes.names and not options.class_names and labels is not None and labels.names is None:
        notes.append(f"{path}: the classes are those of the rows held for evaluation; data.class_names names all")
    gathered = Gathered({name: [split] for name, split in splits.items()}, None, classes, [*notes, *filter(None, [classes.note])], left_out)
    return gathered, Streamed(stream, make, options.epoch_rows or int(known or 0), known, held)


def _evaluation(
    source: Streams, train: IterableDataset, options: Options, path: str
) -> tuple[dict[str, Dataset], frozenset[int], list[str]]:
    """The rows of validation and test, the numbers of those that were taken out of train, and what the user should know of it."""
    missing = [name for name in ("validation", "test") if name not in source.streams]
    rows = source.rows("train")
    each = options.eval_rows if rows is None else max(min(options.eval_rows, rows // 10), 1)
    held = sample(train, each * len(missing), DRAW) if missing else []
    tables: dict[str, Dataset] = {}
    for name in ("validation", "test"):
        if name in missing:
            first = missing.index(name) * each
            tables[name] = _table([example for _, example in held[first : first + each]], train.features, f"{path}/{name}")
        else:
            stream = source.streams[name]
            found = [example for _, example in sample(stream, options.eval_rows, DRAW)]
            tables[name] = _table(found, stream.features, f"{path}/{name}")
    said = f"{path}: no {' and no '.join(missing)} split: {each:,} rows of train held out for each, the same for every seed"
    return tables, frozenset(number for number, _ in held), [said] if missing else []


def _table(examples: list[Example], features: Any, what: str) -> Dataset:
    if not examples:
        raise DataError(f"data path {what}: the stream has no row that can be used. Set splits, caption_column or label_column.")
    return Dataset.from_list(examples, features=Features(features) if features else None)


def _split(table: Dataset, columns: Columns, source: Streams, name: str, path: str, reading: Reading) -> Split:
    roots = source.roots.get(name) or next(iter(source.roots.values()), [Path()])
    return Split(table, columns, roots, f"{path}/{name}", reading)
