"""One file out of many tables, in the format that its suffix names; a table at a time, so that the memory does not grow with their number.

The tables are those of `partial`: labels and scores, or the images' rows in a column called features, as `data.features` calls them.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FEATURES = "features"  # the column, and the tensor, of rows [N, D]
GROUP = 8192  # table rows of a parquet row group: 32 MB of rows with D = 1,024
NOT_KNOWN = -1  # the label of an image whose class is not known, see data.features


class Chunks:
    """Tables in files, one after another; read one at a time, as often as a format needs.

    Args:
        files: parquet, of one schema; at least one.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.schema: pa.Schema = pq.read_schema(self.files[0]).remove_metadata()
        self.count = sum(pq.read_metadata(file).num_rows for file in self.files)

    def tables(self, *columns: str) -> Iterator[pa.Table]:
        """Read the tables, or only some of their columns."""
        for file in self.files:
            with pq.ParquetFile(file) as opened:  # `read_table` would take a folder called a=b for a column
                yield opened.read(columns=list(columns) or None)


def write_csv(file: IO[bytes], chunks: Chunks) -> None:
    """A line per image under the names of the columns."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(chunks.schema.names)
    for table in chunks.tables():
        writer.writerows(zip(*(_plain(column) for column in table.columns), strict=True))
    text.detach()  # flushed, and `file` stays open


def write_jsonl(file: IO[bytes], chunks: Chunks) -> None:
    """An object per image and line."""
    for table in chunks.tables():
        for values in zip(*(_plain(column) for column in table.columns), strict=True):
            line = json.dumps(dict(zip(table.column_names, values, strict=True)), ensure_ascii=False)
            file.write(line.encode() + b"\n")


def write_parquet(file: IO[bytes], chunks: Chunks) -> None:
    """The tables as one, in row groups of the same size however the chunks were cut."""
    words = [name for name in chunks.schema.names if name != FEATURES]  # a dictionary of floats would be the floats again
    with pq.ParquetWriter(file, chunks.schema, use_dictionary=words) as writer:
        for table in _regrouped(chunks):
            writer.write_table(table, row_group_size=GROUP)


def write_npy(file: IO[bytes], chunks: Chunks) -> None:
    """The rows alone, [N, D], float32."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (chunks.count, _width(chunks))}
    np.lib.format.write_array_header_1_0(file, header)
    for part in _raw_rows(chunks):
        file.write(part)


def write_safetensors(file: IO[bytes], chunks: Chunks) -> None:
    """The rows as the tensor features, [N, D], and labels, [N], where there are any: a data path for `cliptune fit`."""
    size = chunks.count * _width(chunks) * 4
    header: dict[str, Any] = {FEATURES: {"dtype": "F32", "shape": [chunks.count, _width(chunks)], "data_offsets": [0, size]}}
    words = _words(chunks)
    if words:
        ends = [chunks.count * 8, chunks.count * 8 + size]  # the wider numbers come first, so that all are aligned
        header = {"labels": {"dtype": "I64", "shape": [chunks.count], "data_offsets": [0, ends[0]]}, **header}
        header[FEATURES]["data_offsets"] = ends
        if not _count(words):
            header["__metadata__"] = {"classnames": json.dumps(words, ensure_ascii=False)}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    number = {word: int(word) if _count(words) else i for i, word in enumerate(words)}
    for table in chunks.tables("label") if words else ():
        labels = [number.get(word, NOT_KNOWN) for word in table["label"].to_pylist()]
        file.write(np.array(labels, dtype="<i8").tobytes())
    for part in _raw_rows(chunks):
        file.write(part)


Write = Callable[[IO[bytes], Chunks], None]
LABELS: dict[str, Write] = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}
ROWS: dict[str, Write] = {".npy": write_npy, ".safetensors": write_safetensors, ".parquet": write_parquet}


def _plain(column: pa.ChunkedArray) -> list[Any]:
    """Python's values; a float32 by its own shortest digits, not by all those of the float64 that it equals."""
    if pa.types.is_float32(column.type):
        return [float(str(value)) for value in column.to_numpy()]
    return list(column.to_pylist())


def _regrouped(chunks: Chunks) -> Iterator[pa.Table]:
    held = chunks.schema.empty_table()
    for table in chunks.tables():
        held = pa.concat_tables([held, table])
        while len(held) >= GROUP:
            yield held.slice(0, GROUP).combine_chunks()  # pages end where pieces of a column do
            held = held.slice(GROUP)
    if len(held):
        yield held.combine_chunks()


def _width(chunks: Chunks) -> int:
    return int(chunks.schema.field(FEATURES).type.list_size)


def _raw_rows(chunks: Chunks) -> Iterator[bytes]:
    for table in chunks.tables(FEATURES):
        for part in table[FEATURES].chunks:
            yield part.flatten().to_numpy().astype("<f4", copy=False).tobytes()


def _words(chunks: Chunks) -> list[str]:
    """The distinct labels."""
    if "label" not in chunks.schema.names:
        return []
    return sorted({word for table in chunks.tables("label") for word in pc.unique(table["label"]).drop_null().to_pylist()})


def _count(words: Sequence[str]) -> bool:
    """Whether labels are numbers that count into classes."""
    return all(word.isdecimal() and str(int(word)) == word for word in words)
