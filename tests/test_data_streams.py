"""From a path to streams by split: what is streamed, what is counted, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, Image, IterableDatasetDict
from shards import png, write_shards
from source_files import ROWS, Picture, write

from cliptune.data.formats.sources import open_source
from cliptune.data.formats.streams import Streams, head, open_stream
from cliptune.data.streaming import Stream
from cliptune.errors import DataError

FLICKR = Path(__file__).parents[2] / "shared/data/flickr8k/data.parquet"


def captions(found: Streams) -> dict[str, list[str]]:
    return {split: [row["caption"] for row in stream] for split, stream in found.streams.items()}


def pictures(count: int, **columns: list[Any]) -> Dataset:
    images = [{"bytes": png(i), "path": None} for i in range(count)]
    table = Dataset.from_dict({"image": images, "caption": [f"caption {i}" for i in range(count)], **columns})
    return table.cast_column("image", Image())


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"])
def test_files_of_a_folder_are_streams_by_split(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"train{suffix}", ROWS)
    write(tmp_path / f"val{suffix}", ROWS[:1])
    found = open_stream(str(tmp_path))
    assert captions(found) == {"train": [row["caption"] for row in ROWS], "validation": [ROWS[0]["caption"]]}
    assert (found.rows("train"), found.rows("validation")) == (3, 1)
    assert found.roots["train"] == [tmp_path]
    assert head(found.streams["train"], 2)["caption"][:] == [row["caption"] for row in ROWS[:2]]


def test_images_are_not_decoded_and_row_groups_are_shards(tmp_path: Path) -> None:
    pictures(20).to_parquet(tmp_path / "a.parquet", batch_size=5)
    found = open_stream(str(tmp_path / "a.parquet"))
    assert found.streams["train"].num_shards == 4
    assert next(iter(found.streams["train"]))["image"]["bytes"] == png(0)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_column_may_name_the_splits(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", [{**ROWS[0], "caption": str(i), "split": ["train", "dev", "train"][i]} for i in range(3)])
    found = open_stream(str(file))
    assert captions(found) == {"train": ["0", "2"], "validation": ["1"]}
    assert (found.rows("train"), found.rows("validation"), found.rows("test")) == (2, 1, None)
    assert list(captions(open_stream(str(file), split_column=None))) == ["train"]
    assert captions(open_stream(str(file), {"train": "dev"}))["train"] == ["1"]
    with pytest.raises(DataError, match=r"no column part \(split_column\)"):
        open_stream(str(file), split_column="part")


@pytest.mark.parametrize("url", [False, True])
def test_tars_are_streamed_a_shard_each(tmp_path: Path, url: bool) -> None:
    write_shards(tmp_path, [3, 4])
    found = open_stream("file://" * url + f"{tmp_path}/train-{{0000..0001}}.tar")
    assert captions(found) == {"train": [f"caption {i}" for i in range(7)]}
    assert found.streams["train"].num_shards == 2
    assert found.rows("train") == (None if url else 7)


def test_a_field_that_changes_its_type_late_in_a_stream_is_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shards import write_tar

    monkeypatch.setattr("cliptune.data.formats.tars.INFERRED", 1)
    told: list[Any] = [{"age": 3}, {"age": "old"}, {"age": 4, "more": 1}]
    write_tar(tmp_path / "a.tar", {str(i): {"png": png(i), "json": one} for i, one in enumerate(told)})
    assert [row["age"] for row in open_stream(str(tmp_path / "a.tar")).streams["train"]] == [3, None, 4]


def test_a_word_among_labels_that_were_numbers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shards import write_tar

    monkeypatch.setattr("cliptune.data.formats.tars.INFERRED", 1)
    write_tar(tmp_path / "a.tar", {str(i): {"png": png(i), "cls": word} for i, word in enumerate(["1", "cat"])})
    with pytest.raises(DataError, match=r"a\.tar: 1 has the label cat, where those before it are numbers"):
        list(open_stream(str(tmp_path / "a.tar")).streams["train"])


def test_the_hub_is_asked_for_streams_and_says_how_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    info = datasets.SplitDict()
    info.add(datasets.SplitInfo("train", num_examples=6))

    def load_dataset(name: str, streaming: bool) -> IterableDatasetDict:
        assert streaming
        streams = {split: pictures(6).to_iterable_dataset(num_shards=2) for split in ("train", "valid")}
        for split, stream in streams.items():
            stream._split, stream.info.splits = datasets.NamedSplit(split), info
        return IterableDatasetDict(streams)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = open_stream("someone/cats")
    assert (found.rows("train"), found.rows("validation")) == (6, None)
    assert next(iter(found.streams["validation"]))["image"]["bytes"] == png(0)


REFUSED: dict[str, tuple[Callable[[Path, Picture], Any], str]] = {
    "digits": (lambda d, p: "digits", r"^data path digits is not streamed.*Leave out data\.streaming\.$"),
    "images": (lambda d, p: p("cat/1.png").parent.parent, r"a folder of images is not streamed"),
    "saved": (lambda d, p: (pictures(1).save_to_disk(d / "a"), d / "a")[1], r"what save_to_disk wrote is not streamed"),
    "features": (lambda d, p: (d / "a.npz", (d / "a.npz").write_bytes(b""))[0], r"features is not streamed|features"),
    "COCO": (
        lambda d, p: ((d / "a.json").write_text(json.dumps({"images": [{"file_name": "a"}], "annotations": []})), d / "a.json")[1],
        r"COCO's JSON is not streamed",
    ),
    "nothing": (lambda d, p: d, r"it holds nothing that can be read\. Streams are of one kind of: \.parquet"),
    "two kinds": (lambda d, p: (write(d / "a.csv", ROWS), write(d / "b.parquet", ROWS), d)[2], r"it holds \.csv, \.parquet\."),
    "no train": (lambda d, p: (write(d / "val.csv", ROWS), write(d / "test.csv", ROWS), d)[2], r"no split called train"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_streamed_is_refused_with_the_way_out(tmp_path: Path, picture: Picture, case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        open_stream(str(make(tmp_path, picture)))


@pytest.mark.skipif(not FLICKR.exists(), reason=f"no {FLICKR}")
def test_real_shards_stream_what_their_table_holds(tmp_path: Path) -> None:
    from shards import write_tar

    rows = Dataset.from_parquet(str(FLICKR), cache_dir=str(tmp_path)).select(range(48)).cast_column("image", Image(decode=False))
    captions_column = next(name for name in rows.column_names if name.startswith("caption"))
    for i in range(4):
        part = rows.select(range(i * 12, i * 12 + 12))
        samples = {
            f"{i:02d}{j:04d}": {"jpg": row["image"]["bytes"], "json": {"captions": row[captions_column]}} for j, row in enumerate(part)
        }
        write_tar(tmp_path / "tars" / f"{i:04d}.tar", samples)
    table = open_source(str(tmp_path / "tars")).tables["train"]
    assert table["captions"][:] == rows[captions_column][:]
    stream = open_stream(str(tmp_path / "tars" / "{0000..0003}.tar"))
    batches = [
        list(Stream(stream.streams["train"], lambda e, _: e, 6, share=(rank, 2), epoch_rows=stream.rows("train"))) for rank in range(2)
    ]
    seen = {row["__key__"]: row for part in batches for batch in part for _, _, row in batch}
    assert len(seen) == 48
    for row in table:
        assert (seen[row["__key__"]]["image"]["bytes"], seen[row["__key__"]]["captions"]) == (row["image"]["bytes"], row["captions"])
