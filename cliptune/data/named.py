"""The rows that a list of images means: by path, the end of a path, a column of ids, the image's content, or the row's number."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cliptune.data.chosen import column_of, each_row
from cliptune.data.shot_lists import CONTENT, IDS, name_of, name_of_content
from cliptune.data.split import Split
from cliptune.errors import DataError, did_you_mean

READ = 1024  # rows at a time
Place = tuple[int, int]  # (source, row)


class Wanted(NamedTuple):
    """A list of images."""

    names: list[str]
    split: str
    file: str


class Called(NamedTuple):
    """Where images are whose names are asked for."""

    whole: dict[str, list[Place]]  # by all of a path, an id, or content
    ends: dict[str, list[Place]]  # by the last parts of a path

    def places(self, name: str) -> list[Place]:
        """The rows of a name: those called so; whose path ends so; or whose path, folder and all, the name ends with."""
        return self.whole.get(name) or self.ends.get(name) or next((self.whole[end] for end in _ends(name) if end in self.whole), [])


def find(splits: Sequence[Split], wanted: Wanted) -> list[np.ndarray]:
    """The rows that a list means.

    Args:
        splits: of each source; where there are several, `1:` before a name says that it is of the second.
        wanted: the list.

    Returns:
        Of each source the numbers of its rows, in order.

    Raises:
        DataError: an image is in no source, is listed twice, or could be several.
    """
    called = look_up(splits, wanted.names)
    by_number = _are_numbers(wanted.names) and len(splits) == 1 and not any(called)
    chosen: dict[Place, str] = {}
    for name in wanted.names:
        places = [(0, int(name))][: int(name) < len(splits[0])] if by_number else called.places(name)
        if CONTENT in name:  # as often as it is listed
            places = [place for place in places if place not in chosen][:1]
        if not places:
            raise _not_there(splits, name, wanted)
        if len(places) > 1:
            _check_one(splits, places, name, wanted)
        if places[0] in chosen:
            raise DataError(f"shots_file {wanted.file}: it lists {name} twice, as {chosen[places[0]]} too. Take one out.")
        chosen.update(dict.fromkeys(places, name))  # an image with several captions has several rows
    return [np.array(sorted(number for at, number in chosen if at == place), dtype=np.int64) for place in range(len(splits))]


def listed_rows(split: Split, lists: dict[str, list[str]], file: str) -> dict[str, np.ndarray]:
    """The rows of each list that a source's only split has, so that a list of training images is not held out of training.

    Raises:
        DataError: the lists are of row numbers, which mean nothing before rows are held out.
    """
    lists = {key: [name.partition(":")[2] if _source_of(name) is not None else name for name in names] for key, names in lists.items()}
    names = [name for listed in lists.values() for name in listed]
    called = look_up([split], names)
    if _are_numbers(names) and not any(called):
        raise DataError(
            f"shots_file {file}: row numbers count in a split of the source's own, and {split.name} is held out at random. "
            "List paths or ids, or set split_column or splits."
        )
    found: dict[int, str] = {}
    for key, listed in lists.items():
        for name in listed:
            rows = [row for _, row in called.places(name) if row not in found]
            found.update(dict.fromkeys(rows[:1] if name.startswith(CONTENT) else rows, key))  # one copy of an image for each time
    return {key: np.array(sorted(row for row, own in found.items() if own == key), dtype=np.int64) for key in lists}


def look_up(splits: Sequence[Split], names: list[str]) -> Called:
    """Find rows by all that they may be called.

    Args:
        splits: of each source.
        names: that are asked for.
    """
    several = len(splits) > 1
    sought = set(names) | {name.partition(":")[2] for name in names if several and _source_of(name) is not None}
    long, content = sought | {end for name in sought for end in _ends(name)}, any(CONTENT in name for name in names)
    called = Called({}, {})
    for place, split in enumerate(splits):
        for name, number in _names(split, content):
            for known in (name, f"{place}:{name}") if several else (name,):
                if known in long:
                    called.whole.setdefault(known, []).append((place, number))
            for end in (*_ends(name), name.rpartition("/")[2]):
                if end in sought:
                    called.ends.setdefault(end, []).append((place, number))
    return Called(*({name: list(dict.fromkeys(places)) for name, places in part.items()} for part in called))


def _ends(name: str) -> list[str]:
    """The ends of a path, from the longest, that name its folder too: files of other folders may be called the same."""
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(1, len(parts) - 1)]


def _source_of(name: str) -> int | None:
    """The source that a name says it is of."""
    number, colon, _ = name.partition(":")
    return int(number) if colon and number.isascii() and number.isdecimal() else None


def _are_numbers(names: list[str]) -> bool:
    return all(name.isascii() and name.isdecimal() for name in names)


def _names(split: Split, content: bool) -> Iterator[tuple[str, int]]:
    """All that rows are called, and their numbers."""
    for column in (name for name in split.whole.column_names if name.strip().lower() in IDS and name != split.columns.image):
        if str(getattr(split.whole.features[column], "dtype", "")).startswith(("string", "large_string", "int", "uint")):
            values = column_of(split.whole, column).to_pylist()
            yield from ((str(value), number) for number, value in enumerate(values) if value is not None)
    kind = split.table.data.schema.field(split.columns.image).type
    fields = {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    has_paths = pa.types.is_string(kind) or pa.types.is_large_string(kind) or "path" in fields
    has_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or "bytes" in fields
    for wanted, rule in ((has_paths, _paths), (has_bytes and content, _contents)):
        if wanted:
            yield from ((name, number) for number, name in enumerate(each_row(split.table, split.columns.image, rule).tolist()) if name)
    first = split.read([0])[0].image if len(split) else b""
    if isinstance(first, str) or (content and not isinstance(first, bytes)):
        for start in range(0, len(split), READ):
            numbers = list(range(start, min(start + READ, len(split))))
            yield from ((name_of(row, split), number) for number, row in zip(numbers, split.read(numbers), strict=True))


def _paths(values: pa.ChunkedArray) -> np.ndarray:
    """Paths as a table has them."""
    return (pc.struct_field(values, "path") if pa.types.is_struct(values.type) else values).to_numpy()


def _contents(values: pa.ChunkedArray) -> np.ndarray:
    """What names images by their bytes, one after another without a copy of them; "" where there are none."""
    cells = pc.struct_field(values, "bytes") if pa.types.is_struct(values.type) else values
    names = (name_of_content(cell.as_buffer()) if cell.is_valid else "" for chunk in cells.iterchunks() for cell in chunk)
    return np.array(list(names), dtype=object)


def _check_one(splits: Sequence[Split], places: list[Place], name: str, wanted: Wanted) -> None:
    """Refuse a name of several images; rows of one image have its path or its very bytes."""
    images = [splits[source].read([number])[0].image for source, number in places]
    if any(isinstance(image, np.ndarray) or image != images[0] for image in images):
        raise DataError(
            f"shots_file {wanted.file}: {name} is the name of {len(places)} rows of {wanted.split}, of different images. "
            "Give more of their paths, or their ids."
        )


def _not_there(splits: Sequence[Split], name: str, wanted: Wanted) -> DataError:
    known = dict.fromkeys(known for split in splits for known, _ in _names(split, CONTENT in name))
    near = did_you_mean(name, list(known)) if len(known) <= 20_000 else ""  # comparing takes long
    return DataError(f"shots_file {wanted.file}: {name} is no image of {wanted.split} of {splits[0].name}. {near}".rstrip())
