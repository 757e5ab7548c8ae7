"""The comparison as tables for other programs: `compare.csv`, a line for each row, and `classes.csv`, for each class and row."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cliptune.comparison.comparing import Comparison
from cliptune.comparison.entries import Entry
from cliptune.comparison.said import part_of
from cliptune.whole import write_whole

ABOUT = ("run", "kind", "folder", "backbone", "method", "objective", "shots", "training_images", "parameters", "seconds", "peak_memory_mb")
AGAINST = ("metric", "best", "same_test_data", "compared_with", "change", "change_low", "change_high", "p")
CLASSES = ("class", "images", "run", "accuracy", "best", "compared_with", "won", "lost", "p")


def write_sheets(folder: Path, found: Comparison) -> list[Path]:
    """Write them; `classes.csv` only where rows were compared on classes. Gives their files."""
    files = [folder / "compare.csv"]
    _write(files[0], _rows(found))
    if found.classes is not None:
        files.append(folder / "classes.csv")
        _write(files[1], [CLASSES, *_classes(found)])
    else:
        (folder / "classes.csv").unlink(missing_ok=True)  # of an earlier comparison
    return files


def _write(file: Path, rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["" if value is None else value for value in row] for row in rows])
    write_whole(file, lambda handle: handle.write(text.getvalue().encode("utf-8", "replace")))


def _rows(found: Comparison) -> list[Sequence[Any]]:
    """The head, and a line for each row: what it is, how it compares, and each metric with its interval or spread."""
    metrics = sorted({name for row in found.rows for name in row.metrics}, key=lambda name: (not name.startswith("test/"), name))
    guards = list(dict.fromkeys(name for row in found.rows for name in row.guards))
    head = [*ABOUT, *AGAINST, *(f"forgotten/{name}" for name in guards)]
    head += [f"{name}{end}" for name in metrics for end in ("", "_low", "_high", "_std")]
    return [head, *([*_about(found, row), *_against(found, row), *_measured(row, metrics, guards)] for row in found.rows)]


def _about(found: Comparison, row: Entry) -> list[Any]:
    parts = (part_of(found, row, "method"), part_of(found, row, "objective"))
    return [row.name, row.kind, row.folder, row.backbone, *parts, row.shots, row.training_images, row.parameters, row.seconds, row.memory]


def _against(found: Comparison, row: Entry) -> list[Any]:
    one = found.against(row)
    named = found.paired.reference.name if found.paired is not None and one is not None else None
    told = [one.change, one.low, one.high, one.p] if one is not None else [None] * 4
    return [found.metric, int(row is found.best), int(row in found.comparable), named, *told]


def _measured(row: Entry, metrics: Sequence[str], guards: Sequence[str]) -> Iterator[Any]:
    for name in guards:
        yield row.guards[name].change if name in row.guards else None
    for name in metrics:
        yield from (row.metrics.get(name), *row.intervals.get(name, (None, None)), row.spreads.get(name))


def _classes(found: Comparison) -> Iterator[Sequence[Any]]:
    classes, paired = found.classes, found.paired
    assert classes is not None
    assert paired is not None
    for number, name in enumerate(classes.names):
        best = classes.winners(number)
        for i, row in enumerate(paired.rows):
            accuracy, p = (None if np.isnan(part[i, number]) else float(part[i, number]) for part in (classes.accuracy, classes.p))
            against = [paired.reference.name, int(classes.won[i, number]), int(classes.lost[i, number]), p] if i else [None] * 4
            yield [name, int(classes.images[number]), row.name, accuracy, int(i in best), *against]
