"""What holds images: files and tables, read from any place on, with names, stamps and labels."""

import hashlib
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Sequence, Value

from cliptune.data.split import Split
from cliptune.errors import DataError
from cliptune.image_sources import READ, Files, Item, Table, open_tables, stamp

Picture = Callable[[str], Path]


def held(pngs: Collection[bytes | None], **columns: list[Any]) -> Dataset:
    """A table that holds images."""
    rows = [None if png is None else {"bytes": png, "path": None} for png in pngs]
    plain = Dataset.from_dict({"image": rows, **columns})
    return plain.cast_column("image", Image(decode=False))


def items(parts: list[Files | Table], first: int = 0) -> list[Item]:
    return [item for part in parts for item in part.items(first)]


def test_rows_of_a_table_are_named_by_split_and_number_and_stamped_by_content(tmp_path: Path, picture: Picture) -> None:
    pngs = [picture(f"{i}.png").read_bytes() for i in range(3)]
    held(pngs).to_parquet(tmp_path / "t.parquet")
    found = items(open_tables(str(tmp_path / "t.parquet"), None))
    assert [item.name for item in found] == [f"{tmp_path}/t.parquet/train:{i}" for i in range(3)]
    assert [item.image for item in found] == pngs
    assert [item.stamp for item in found] == [hashlib.blake2b(png, digest_size=16).hexdigest() for png in pngs]
    assert [item.label for item in found] == [None] * 3


def test_a_table_is_read_from_any_row_on_and_a_few_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held([bytes([i]) for i in range(40)]).to_parquet(tmp_path / "t.parquet")
    parts = open_tables(str(tmp_path / "t.parquet"), None)
    sizes, read = [], Split.read

    def counted(self: Split, rows: list[int], images: bool = True) -> Any:
        sizes.append(len(rows))
        return read(self, rows, images)

    monkeypatch.setattr(Split, "read", counted)
    every = items(parts)
    assert (sum(sizes), max(sizes)) == (40, READ)
    for first in (1, READ - 1, READ, 39, 40):
        sizes.clear()
        assert items(parts, first) == every[first:]
        assert sum(sizes) == 40 - first


def test_a_row_without_an_image_keeps_its_number_and_has_no_bytes(tmp_path: Path, picture: Picture) -> None:
    png = picture("a.png").read_bytes()
    held([None, png, None, png]).to_parquet(tmp_path / "t.parquet")
    found = items(open_tables(str(tmp_path / "t.parquet"), None))
    assert [item.image for item in found] == [b"", png, b"", png]
    assert found[3].name.endswith(":3")


def test_a_table_of_paths_is_a_list_of_files_each_once(tmp_path: Path, picture: Picture) -> None:
    files = [picture(f"pics/{name}.png") for name in ("b", "a")]
    lines = ["image,caption,label", "pics/b.png,one,dog", "pics/b.png,two,dog", ",none,dog", "pics/a.png,three,cat", "pics/gone.png,x,cat"]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    (part,) = open_tables(str(tmp_path / "t.csv"), None)
    assert isinstance(part, Files)
    gone = tmp_path / "pics" / "gone.png"
    assert list(part.items(0)) == [
        Item(str(files[0]), files[0], stamp(str(files[0])), "dog"),
        Item(str(files[1]), files[1], stamp(str(files[1])), "cat"),
        Item(str(gone), gone, "", "cat"),
    ]
    assert list(part.items(1)) == list(part.items(0))[1:]


def test_a_table_of_bytes_and_paths_keeps_both(tmp_path: Path, picture: Picture) -> None:
    file, png = picture("a.png"), picture("b.png").read_bytes()
    rows = [{"bytes": None, "path": str(file)}, {"bytes": png, "path": "b.png"}]
    Dataset.from_dict({"image": rows}).to_parquet(tmp_path / "t.parquet")
    found = items(open_tables(str(tmp_path / "t.parquet"), None))
    assert [(item.image, item.name[-7:]) for item in found] == [(file, "train:0"), (png, "train:1")]
    assert found[0].stamp == stamp(str(file))


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        (["black_cat", None], Value("string"), ["black_cat", None]),
        ([1, 0], Value("int64"), [1, 0]),
        ([True, False], Value("bool"), [1, 0]),
        ([1, -1], ClassLabel(names=["cat", "dog"]), ["dog", None]),  # -1: hidden labels of test splits on the hub
    ],
)
def test_labels_are_words_where_the_table_has_words_else_numbers(tmp_path: Path, values: list[Any], feature: Any, expected: Any) -> None:
    table = held([b"a", b"b"], label=values).cast_column("label", feature)
    table.save_to_disk(tmp_path / "t")
    (part,) = open_tables(str(tmp_path / "t"), None)
    assert part.labelled
    assert [item.label for item in part.items(0)] == expected


def saved(folder: Path, **splits: Dataset) -> str:
    DatasetDict(splits).save_to_disk(folder)
    return str(folder)


def test_all_splits_or_the_one_that_is_named_by_any_usual_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "t", train=held([b"a"]), validation=held([b"b"]), extra=held([b"c"]))
    assert [item.image for item in items(open_tables(path, None))] == [b"a", b"b", b"c"]
    for name, image in (("validation", b"b"), ("val", b"b"), ("extra", b"c")):
        assert [item.image for item in items(open_tables(path, name))] == [image]
    with pytest.raises(DataError, match=r"t has no split extr\. Did you mean extra\?"):
        open_tables(path, "extr")


def test_a_column_called_split_names_splits_too(tmp_path: Path) -> None:
    held([b"a", b"b", b"c"], split=["fit", "held", "fit"]).to_parquet(tmp_path / "t.parquet")
    path = str(tmp_path / "t.parquet")
    assert [(item.name[-5:], item.image) for item in items(open_tables(path, "fit"))] == [("fit:0", b"a"), ("fit:1", b"c")]
    with pytest.raises(DataError, match=r"has no split hold\. Did you mean held\?"):
        open_tables(path, "hold")


def test_a_table_without_images_is_one_line(tmp_path: Path) -> None:
    Dataset.from_dict({"words": ["a"], "n": [1.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"a\.parquet has no column of images or of image paths; it has words, n\. Call the column image\.$"
    ):
        open_tables(str(tmp_path / "a.parquet"), None)
    features = Features({"image": Sequence(Value("float32"))})
    Dataset.from_dict({"image": [[1.0, 2.0]]}, features=features).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet holds vectors in its column image, not images\. Give the images"):
        open_tables(str(tmp_path / "b.parquet"), None)


def test_a_stamp_changes_with_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"a")
    stamps = [stamp(str(file))]
    os.utime(file, ns=(0, 5))
    stamps.append(stamp(str(file)))
    file.write_bytes(b"ab")
    os.utime(file, ns=(0, 5))
    stamps.append(stamp(str(file)))
    assert len(set(stamps)) == 3
    assert stamp(str(tmp_path / "gone.png")) == stamp("\0") == stamp(str(tmp_path)) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_name_that_is_no_unicode_becomes_text_and_the_path_stays(tmp_path: Path, picture: Picture) -> None:
    file = picture("a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    (item,) = Files({str(file): None}).items(0)
    assert item.name == f"{tmp_path}/caf\\xe9.png"
    assert Path(str(item.image)).read_bytes()
