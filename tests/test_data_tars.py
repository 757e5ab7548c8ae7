"""WebDataset's tars: which samples and columns they hold, what names them, and what is damaged."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from datasets import Value
from shards import png, write_shards, write_tar

from cliptune.data.formats.patterns import braces, list_files
from cliptune.data.formats.samples import samples_of
from cliptune.data.formats.sources import open_source
from cliptune.data.formats.tars import TARS, layout_of
from cliptune.errors import DataError
from cliptune.images import decode


def train(path: Path | str) -> Any:
    return open_source(str(path)).tables["train"]


# Samples and columns


def test_images_of_every_kind_and_captions_are_columns(tmp_path: Path) -> None:
    samples = {"dir/one.v1": {"png": png(10), "txt": " 고양이\n"}, "dir/two": {"JPG": png(20), "txt": "a dog"}, "three": {"webp": png(30)}}
    table = train(write_tar(tmp_path / "a.tar", {"dir/one": {"v1.png": png(10), "txt": " 고양이\n"}, **dict(list(samples.items())[1:])}))
    assert table.column_names == ["image", "caption", "__key__"]
    assert table["caption"][:] == ["고양이", "a dog", None]
    assert table["__key__"][:] == ["dir/one", "dir/two", "three"]
    assert [int(decode(image["bytes"])[0, 0, 0]) for image in table["image"]] == [10, 20, 30]


def test_the_plainest_of_several_images_is_the_image(tmp_path: Path) -> None:
    table = train(write_tar(tmp_path / "a.tar", {"a": {"mask.png": png(1), "png": png(2), "txt": "x"}}))
    assert int(decode(table[0]["image"]["bytes"])[0, 0, 0]) == 2


@pytest.mark.parametrize(("words", "found", "kind"), [(["3", "-1"], [3, -1], "int64"), (["3", "cat"], ["3", "cat"], "string")])
def test_labels_are_numbers_or_words(tmp_path: Path, words: list[str], found: list[Any], kind: str) -> None:
    table = train(write_tar(tmp_path / "a.tar", {str(i): {"cls": f"{word}\n", "png": png(i)} for i, word in enumerate(words)}))
    assert (table["label"][:], table.features["label"]) == (found, Value(kind))


def test_fields_of_json_are_columns_that_hide_no_others(tmp_path: Path) -> None:
    told: list[Any] = [
        {"caption": "told", "width": 3, "tags": ["a"], "age": 1},
        {"width": None, "age": 1.5, "tags": []},
        {"deep": {"a": [1]}},
    ]
    table = train(write_tar(tmp_path / "a.tar", {str(i): {"png": png(i), "txt": "own", "json": one} for i, one in enumerate(told)}))
    assert table["caption"][:] == ["own"] * 3
    assert table["json_caption"][:] == ["told", None, None]
    assert table["width"][:] == [3, None, None]
    assert table["age"][:] == [1.0, 1.5, None]
    assert table["tags"][:] == [["a"], [], None]
    assert table["deep"][:] == [None, None, '{"a": [1]}']


def test_captions_of_json_are_captions_where_there_are_no_others(tmp_path: Path) -> None:
    table = train(write_tar(tmp_path / "a.tar", {"0": {"png": png(1), "json": {"caption": ["one", "two"]}}}))
    assert table["caption"][:] == [["one", "two"]]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2], "int64"), ([1, 2.5], "float64"), ([None], ""), ([True, 1], "json"), ([[1], [0.5]], "[float64]"), ([[], ["a"]], "[string]"),
     ([2**64], "json"), ([{"a": 1}], "json"), ([["a", 1]], "json"), ([["a"], "a"], "json"), ([True], "bool")],
)  # fmt: skip
def test_a_field_has_the_type_that_holds_all_its_values(values: list[Any], kind: str) -> None:
    import json

    samples = [(str(i), {"json": json.dumps({"x": value}).encode()}) for i, value in enumerate(values)]
    assert layout_of(samples).fields == (("x", "x", kind),)


def test_json_that_is_none_costs_only_its_own_fields(tmp_path: Path) -> None:
    table = train(
        write_tar(tmp_path / "a.tar", {"0": {"png": png(1), "txt": "x", "json": "{"}, "1": {"png": png(1), "txt": "y", "json": [1]}})
    )
    assert table["caption"][:] == ["x", "y"]


def test_folders_and_hidden_files_are_no_samples(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"./a/0": {"png": png(1), "txt": "x"}, "a/.hidden": {"txt": "y"}, "__MACOSX/a": {"txt": "z"}})
    with tarfile.open(file, "a") as opened:
        folder = tarfile.TarInfo("b.dir")
        folder.type = tarfile.DIRTYPE
        opened.addfile(folder)
        opened.addfile(tarfile.TarInfo("README"), io.BytesIO())
    assert train(file)["__key__"][:] == ["a/0"]


# What names tars


def test_files_folders_stars_and_braces_name_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_shards(tmp_path / "data", [2, 3])
    write_shards(tmp_path / "data", [1], "val")
    monkeypatch.chdir(tmp_path)
    assert train(files[1])["caption"][:] == ["caption 2", "caption 3", "caption 4"]
    for path in ("data", "data/*.tar", "data/{train-0000,train-0001,val-0000}.tar"):
        assert {split: len(table) for split, table in open_source(path).tables.items()} == {"train": 5, "validation": 1}
    assert len(train("data/train-{0000..0001}.tar")) == 5
    assert len(train("data/val-{0..0}000.tar")) == 1  # alone, whatever it is called


def test_what_img2dataset_leaves_beside_tars_is_passed_over(tmp_path: Path) -> None:
    write_shards(tmp_path, [2])
    for name in ("train-0000.parquet", "train-0000_stats.json"):
        (tmp_path / name).write_bytes(b"")
    assert len(train(tmp_path)) == 2


def test_a_table_beside_tars_is_what_is_read(tmp_path: Path) -> None:
    write_shards(tmp_path, [2])
    (tmp_path / "table.csv").write_text("image,caption\n1.png,x\n", encoding="utf-8")
    assert train(tmp_path).column_names == ["image", "caption"]


def test_tars_are_searched_for_columns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tar(tmp_path / "a.tar", {"0": {"png": png(1), "json": {"age": 3, "tags": ["x"]}}})
    first = train(file)
    monkeypatch.setattr("cliptune.data.formats.tars.samples_of", None)
    again = train(file)
    assert (again.features, again["age"][:]) == (first.features, [3])


def test_a_zipped_tar_is_read(tmp_path: Path) -> None:
    assert len(train(write_tar(tmp_path / "a.tar.gz", {"0": {"png": png(1), "txt": "x"}}, "w:gz"))) == 1


def test_braces_stand_for_what_a_shell_makes_of_them() -> None:
    assert braces("{09..11}.tar") == ["09.tar", "10.tar", "11.tar"]
    assert braces("a{9..10}{b,c}") == ["a9b", "a9c", "a10b", "a10c"]
    assert braces("{a}{}") == ["{a}{}"]


def test_urls_are_sorted_into_splits_by_what_tells_them_apart() -> None:
    found = list_files("https://train.org/test/{train,val}/{0..1}.tar?download=true", TARS)
    assert found["validation"] == [f"https://train.org/test/val/{i}.tar?download=true" for i in range(2)]
    assert list(list_files("https://train.org/test/{0..1}.tar", TARS)) == ["train"]


def test_a_tar_by_url_is_fetched(tmp_path: Path) -> None:
    assert len(train(f"file://{write_shards(tmp_path, [2])[0]}")) == 2


def test_a_tar_that_changed_is_read_again(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"0": {"png": png(1), "txt": "one"}})
    assert train(file)["caption"][:] == ["one"]
    write_tar(file, {"0": {"png": png(1), "txt": "another"}})
    assert train(file)["caption"][:] == ["another"]


# What cannot be read


def cut(file: Path, at: int) -> Path:
    file.write_bytes(file.read_bytes()[:at])
    return file


CUTS = [(10, "at its beginning"), (2570, "after 00000"), (2900, "after 000001"), (3300, "after 00000"), (4200, "after 00000")]


@pytest.mark.parametrize(("at", "where"), CUTS)
def test_a_tar_that_is_cut_is_named(tmp_path: Path, at: int, where: str) -> None:
    file = cut(write_shards(tmp_path, [9])[0], at)
    with pytest.raises(DataError, match=rf"train-0000\.tar is damaged or cut short {where}.*Copy or write it again\.$"):
        train(file)
    with pytest.raises(ConnectionError, match=r"broke off"):
        list(samples_of(f"file://{file}"))


def test_a_tar_with_noise_in_its_middle_is_named(tmp_path: Path) -> None:
    file = write_shards(tmp_path, [9])[0]
    whole = file.read_bytes()
    start = whole.index(b"000005.png")
    file.write_bytes(whole[:start] + b"\7" * 512 + whole[start + 512 :])
    with pytest.raises(DataError, match=r"damaged or cut short after 000004"):
        train(file)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pipe:curl https://x/a.tar", r"commands are not run\. Give the URL"),
        ("{3..1}.tar", r"\{3\.\.1\} counts down"),
        ("nowhere-*.tar", r"no file has such a name"),
        ("nowhere.tar", r"there is no nowhere\.tar in"),
    ],
)
def test_what_names_no_tar_is_one_line(elsewhere: None, path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(path)
