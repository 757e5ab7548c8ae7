"""Images that cannot be read: what takes their place in a batch, the list of a run, `bad_samples.csv`, and where a run stops.

Which rows they are follows from the data alone, so that a run that was killed and resumed sees the same batches.
"""

import csv
import io
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, TypeVar

from cliptune.data.batches import FILL
from cliptune.data.split import Row
from cliptune.errors import DataError
from cliptune.whole import write_whole

T = TypeVar("T")
Item = tuple[int, int, Row]  # epoch, row number, row
HEADER = ("split", "row", "path", "reason")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # that a message proposes


class Bad(NamedTuple):
    """An image that cannot be read."""

    split: str
    number: int  # of the row
    path: str
    reason: str


def readable(
    items: list[Item], load: Callable[[Item], T], split: str, blank: Callable[[], T] | None = None
) -> tuple[list[T], list[Item], list[Bad]]:
    """Load a batch; what cannot be read does not make it smaller.

    Args:
        items: of the batch.
        load: decodes one; its `DataError` says that it cannot.
        split: that they are of.
        blank: what stands where nothing could be read, in evaluation: its item is marked as filling (`FILL`), which does not count.
            Not given, in training, readable items of the batch take those places, in turn.

    Returns:
        What was loaded, the items that it is of, and the bad ones.

    Raises:
        DataError: in training, none can be read.
    """
    loaded: dict[int, T] = {}
    bad: list[Bad] = []
    for i, item in enumerate(items):
        try:
            loaded[i] = load(item)
        except DataError as error:
            bad.append(Bad(split, item[1], item[2].key, _reason(error, item[2].key)))
    if blank is not None:
        for i, (_, number, row) in enumerate(items):
            items = items if i in loaded else [*items[:i], (FILL, number, row), *items[i + 1 :]]
        return [loaded[i] if i in loaded else blank() for i in range(len(items))], items, bad
    if not loaded:
        raise DataError(f"none of the {len(items)} images of a batch can be read. The first: {bad[0].path}: {bad[0].reason}.")
    turns = cycle(list(loaded))
    places = [i if i in loaded else next(turns) for i in range(len(items))]
    return [loaded[i] for i in places], [items[i] for i in places], bad


def _reason(error: DataError, path: str) -> str:
    """Why, on one line, without the path and the way out, which stand beside it."""
    said = " ".join(str(error).split())
    return (said.partition(f"{path}: ")[2] or said).partition(". Mend it")[0].rstrip(".")


class BadSamples:
    """The bad images of a run, each once; in its file as soon as they are known.

    Args:
        file: a table with a row for each. One that is there, of a run that goes on, is gone on with.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        text = file.read_bytes().decode() if file.is_file() else ""
        whole = text[: text.rfind("\n") + 1]  # without a last row that a kill cut off
        rows = csv.DictReader(io.StringIO(whole, newline=""))
        self.found = {(row["split"], int(row["row"])): Bad(row["split"], int(row["row"]), row["path"], row["reason"]) for row in rows}
        self._torn = whole != text

    def add(self, bad: Iterable[Bad], write: bool = True) -> list[Bad]:
        """Take bad images.

        Args:
            bad: any, known or not.
            write: put them into the file; one process does.

        Returns:
            Those that were not known.
        """
        new = {(one.split, one.number): one for one in bad if (one.split, one.number) not in self.found}
        self.found.update(new)
        if new and write:
            self._write(list(new.values()))
        return list(new.values())

    def count(self, split: str) -> int:
        """How many there are of a split."""
        return sum(one.split == split for one in self.found.values())

    def check(self, split: str, rows: int, max_bad: float) -> None:
        """Stop where there are too many.

        Args:
            split: train, validation or test.
            rows: of it in all.
            max_bad: the share of them that may be bad.

        Raises:
            DataError: there are more, with the first of them, where all are listed, and how to go on.
        """
        bad = [one for one in self.found.values() if one.split == split]
        if len(bad) <= max_bad * rows:
            return
        share = len(bad) / rows
        larger = next((step for step in SHARES if step > share), 1.0)
        raise DataError(
            f"{len(bad)} of the {rows:,} images of {split} ({share:.1%}) cannot be read, more than max_bad {max_bad:.1%}: "
            f"{bad[0].path}: {bad[0].reason}; all are in {self.file}. "
            f"Mend them, take their rows out, or go on without them: data.max_bad: {larger:g}."
        )

    def _write(self, new: list[Bad]) -> None:
        """Append, so that a thousandth one costs no more than the first; a file that is not there or torn is written whole."""
        if self._torn or not self.file.is_file():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.file, lambda file: file.write(_rows([HEADER, *self.found.values()]).encode()))
            self._torn = False
            return
        with self.file.open("ab") as file:
            file.write(_rows(new).encode())


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
