"""Every format, read back by the library that people read it with; the same bytes however the chunks were cut."""

import csv
import io
import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from cliptune import writers
from cliptune.data.formats.sources import open_source
from cliptune.writers import FEATURES, LABELS, ROWS, Chunks, Write

COUNT, WIDTH = 10, 3
NAMES = ['a, "b".png', "line\nbreak.png", "고양이.png", *(f"{i}.png" for i in range(3, COUNT))]
WORDS = ["dog", None, "cat", *["dog"] * 7]
PROBABILITY = np.random.default_rng(0).random(COUNT, dtype=np.float32)
VECTORS = np.random.default_rng(1).standard_normal((COUNT, WIDTH)).astype(np.float32)
CUTS = {"one": [10], "several": [3, 0, 4, 1, 2], "each": [1] * 10}
EVERY = [*(("labels", suffix) for suffix in LABELS), *(("rows", suffix) for suffix in ROWS)]


def labels() -> pa.Table:
    return pa.table(
        {"name": NAMES, "predicted": ["cat"] * COUNT, "probability": pa.array(PROBABILITY), "label": pa.array(WORDS, pa.string())}
    )


def rows(words: list[str | None] | None = None) -> pa.Table:
    features = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), WIDTH)
    return pa.table({"name": NAMES, FEATURES: features} | ({} if words is None else {"label": pa.array(words, pa.string())}))


def cut(folder: Path, table: pa.Table, sizes: list[int]) -> Chunks:
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    start = 0
    for size in sizes:
        files.append(folder / f"{len(files):02d}.parquet")
        pq.write_table(table.slice(start, size).replace_schema_metadata({"some": str(start)}), files[-1])
        start += size
    return Chunks(files)


def written(write: Write, chunks: Chunks) -> bytes:
    file = io.BytesIO()
    write(file, chunks)
    return file.getvalue()  # of a file that is still open


@pytest.fixture(params=CUTS)
def sizes(request: pytest.FixtureRequest) -> list[int]:
    """How many table rows each chunk has."""
    return CUTS[str(request.param)]


def test_csv_reads_back(tmp_path: Path, sizes: list[int]) -> None:
    text = written(LABELS[".csv"], cut(tmp_path, labels(), sizes)).decode("utf-8")
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(found[0]) == ["name", "predicted", "probability", "label"]
    assert [row["name"] for row in found] == NAMES
    assert [row["label"] or None for row in found] == WORDS
    assert [np.float32(row["probability"]) for row in found] == PROBABILITY.tolist()
    assert max(len(row["probability"]) for row in found) <= 12, "the digits of a float32"


def test_jsonl_reads_back(tmp_path: Path, sizes: list[int]) -> None:
    lines = written(LABELS[".jsonl"], cut(tmp_path, labels(), sizes)).decode("utf-8").split("\n")
    found = [json.loads(line) for line in lines[:-1]]
    assert (lines[-1], [row["name"] for row in found], [row["label"] for row in found]) == ("", NAMES, WORDS)
    assert [np.float32(row["probability"]) for row in found] == PROBABILITY.tolist()
    assert "고양이" in lines[2]


def test_parquet_reads_back(tmp_path: Path, sizes: list[int]) -> None:
    (tmp_path / "l.parquet").write_bytes(written(LABELS[".parquet"], cut(tmp_path / "a=1" / "l", labels(), sizes)))
    assert pq.read_table(tmp_path / "l.parquet").equals(labels())
    assert pq.read_schema(tmp_path / "l.parquet").metadata is None
    (tmp_path / "r.parquet").write_bytes(written(ROWS[".parquet"], cut(tmp_path / "r", rows(WORDS), sizes)))
    assert pq.read_table(tmp_path / "r.parquet").equals(rows(WORDS))


def test_npy_reads_back(tmp_path: Path, sizes: list[int]) -> None:
    found = np.load(io.BytesIO(written(ROWS[".npy"], cut(tmp_path, rows(), sizes))))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS)


@pytest.mark.parametrize(
    ("words", "numbers", "names"),
    [
        (None, None, None),
        (WORDS, [1, -1, 0, *[1] * 7], ["cat", "dog"]),
        (["10", None, "9", *["0"] * 7], [10, -1, 9, *[0] * 7], None),  # they count already
        ([None] * COUNT, None, None),
    ],
)
def test_safetensors_reads_back_and_is_a_data_path(
    tmp_path: Path, sizes: list[int], words: list[str | None] | None, numbers: list[int] | None, names: list[str] | None
) -> None:
    file = tmp_path / "r.safetensors"
    file.write_bytes(written(ROWS[".safetensors"], cut(tmp_path / "c", rows(words), sizes)))
    found = load_file(file)
    np.testing.assert_array_equal(found[FEATURES], VECTORS)
    assert int.from_bytes(file.read_bytes()[:8], "little") % 8 == 0, "tensors begin where an int64 may"
    assert (found["labels"].tolist() if "labels" in found else None) == numbers
    if numbers is not None:
        table = open_source(str(file)).tables["train"]
        np.testing.assert_array_equal(table["image"][:], VECTORS)
        assert (table.features["label"].names if isinstance(table.features["label"], datasets.ClassLabel) else None) == names


def test_rows_as_parquet_are_a_data_path(tmp_path: Path) -> None:
    (tmp_path / "r.parquet").write_bytes(written(ROWS[".parquet"], cut(tmp_path / "c", rows(WORDS), [10])))
    table = open_source(str(tmp_path / "r.parquet")).tables["train"]
    np.testing.assert_array_equal(table[FEATURES][:], VECTORS)


@pytest.mark.parametrize(("kind", "suffix"), EVERY)
def test_the_bytes_do_not_depend_on_how_the_chunks_were_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str
) -> None:
    monkeypatch.setattr(writers, "GROUP", 4)
    table, write = (labels(), LABELS[suffix]) if kind == "labels" else (rows(WORDS), ROWS[suffix])
    found = [written(write, cut(tmp_path / name, table, sizes)) for name, sizes in CUTS.items()]
    assert found[0] == found[1] == found[2]
    if suffix == ".parquet":
        groups = pq.read_metadata(io.BytesIO(found[0]))
        assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [4, 4, 2]


def test_the_bytes_do_not_depend_on_it_where_a_column_has_several_pages(tmp_path: Path) -> None:
    table = pa.table({"name": [f"{i:01000d}" for i in range(5000)]})  # five megabytes in one row group
    cuts = {"one": [5000], "odd": [1, 700, 1299, 3000]}
    one, odd = (written(LABELS[".parquet"], cut(tmp_path / name, table, sizes)) for name, sizes in cuts.items())
    assert one == odd


@pytest.mark.parametrize(("kind", "suffix"), EVERY)
def test_nothing_is_a_file_too(tmp_path: Path, kind: str, suffix: str) -> None:
    table, write = (labels(), LABELS[suffix]) if kind == "labels" else (rows(), ROWS[suffix])
    data = written(write, cut(tmp_path, table, [0]))
    if suffix == ".npy":
        assert np.load(io.BytesIO(data)).shape == (0, WIDTH)
    elif suffix == ".safetensors":
        (tmp_path / "r.safetensors").write_bytes(data)
        assert load_file(tmp_path / "r.safetensors")[FEATURES].shape == (0, WIDTH)
    elif suffix == ".parquet":
        assert pq.read_table(io.BytesIO(data)).equals(table.slice(0, 0))
    else:
        assert data in (b"", b"name,predicted,probability,label\n")


@pytest.mark.parametrize(("kind", "suffix"), EVERY)
def test_one_chunk_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str) -> None:
    monkeypatch.setattr(writers, "GROUP", 100)
    alive: list[int] = []

    def one(i: int) -> pa.Table:
        values = np.full(100 * WIDTH, i, dtype=np.float32)  # which Arrow refers to, and does not copy
        alive.append(i)
        weakref.finalize(values, alive.remove, i)
        if kind == "labels":
            return pa.table({"probability": pa.array(values)})
        return pa.table({FEATURES: pa.FixedSizeListArray.from_arrays(pa.array(values), WIDTH)})

    def counted(self: Chunks, *columns: str) -> Iterator[pa.Table]:
        for i in range(10):
            yield one(i)
            most.append(len(alive))

    most: list[int] = []
    chunks = cut(tmp_path, one(-1), [100])
    monkeypatch.setattr(Chunks, "tables", counted)
    written((LABELS if kind == "labels" else ROWS)[suffix], chunks)
    assert len(most) == 10
    assert max(most) <= 3
