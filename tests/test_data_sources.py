"""From a path to tables by split: every kind of source, names that are odd, and what cannot be read."""

from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from sklearn.datasets import load_digits
from source_files import ROWS, Picture, texts, write

from cliptune.data.formats.sources import open_source
from cliptune.data.formats.streams import open_stream
from cliptune.errors import DataError
from cliptune.images import decode

# Files


@pytest.mark.parametrize(
    "suffix", [".parquet", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".arrow", ".CSV", ".TSV", ".JSONL", ".Parquet"]
)
def test_a_file_of_every_kind_is_a_split_called_train(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / "한글 폴더" / f"표{suffix}", ROWS)
    assert texts(file) == {"train": [row["caption"] for row in ROWS]}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", ROWS, encoding="utf-8-sig")
    assert open_source(str(file)).tables["train"].column_names == ["image", "caption"]


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ";"), (".csv", "\t"), (".tsv", ","), (".csv", ",")])
def test_fields_may_be_parted_as_spreadsheets_part_them(tmp_path: Path, suffix: str, separator: str) -> None:
    rows = [{**row, "a;b, and\tc": f"{row['caption']}, again; and\tagain"} for row in ROWS]
    file = write(tmp_path / f"a{suffix}", rows, separator=separator)
    assert open_source(str(file)).tables["train"].to_list() == rows
    streamed = open_stream(str(file))
    assert (list(streamed.streams["train"]), streamed.rows("train")) == (rows, len(rows))


def test_a_path_may_start_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.csv", ROWS)
    assert len(texts("~/a.csv")["train"]) == 3


@pytest.mark.parametrize("name", ["data [v2]", "what?", "[1]"])
def test_brackets_and_question_marks_in_a_path_stand_for_themselves(tmp_path: Path, picture: Picture, name: str) -> None:
    assert len(texts(write(tmp_path / name / "a.csv", ROWS))["train"]) == 3
    picture(f"images {name}/cat/1.png")
    assert len(open_source(str(tmp_path / f"images {name}")).tables["train"]) == 1


def test_words_that_pandas_takes_for_nothing_are_words(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("image,label\n1.png,None\n2.png,NA\n3.png,null\n4.png,\n", encoding="utf-8")
    assert list(open_source(str(file)).tables["train"]["label"]) == ["None", "NA", "null", None]


def test_spaces_after_commas_belong_to_no_column_and_no_value(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('image, caption\n1.png, "a cat, asleep"\n', encoding="utf-8")
    assert texts(file) == {"train": ["a cat, asleep"]}


# Folders


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "validation-00000-of-00001.parquet"], "train validation"),
        (["training.csv", "dev.csv", "testing.csv"], "train validation test"),
        (["train/part1.csv", "val/part1.csv", "test/part1.csv"], "train validation test"),
        (["data/Train.JSONL", "data/VALID.JSONL"], "train validation"),
        (["one.csv", "two.csv"], "train"),
        (["contest.csv", "latest.csv"], "train"),  # no word of them is test
    ],
)
def test_files_of_a_folder_are_splits_by_their_names(tmp_path: Path, files: list[str], splits: str) -> None:
    for name in files:
        write(tmp_path / name, ROWS)
    found = texts(tmp_path)
    assert list(found) == splits.split()
    assert sum(map(len, found.values())) == 3 * len(files)


def test_hidden_files_and_folders_are_not_read(tmp_path: Path) -> None:
    for name in ("a.csv", "._a.csv", ".ipynb_checkpoints/a-checkpoint.csv", "__MACOSX/a.csv"):
        write(tmp_path / name, ROWS)
    assert len(texts(tmp_path)["train"]) == 3


def test_train_says_the_types_of_splits_whose_cells_are_empty(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,label\n1.png,cat\n", encoding="utf-8")
    (tmp_path / "test.csv").write_text("image,label\n2.png,\n", encoding="utf-8")
    tables = open_source(str(tmp_path)).tables
    assert (list(tables["train"]["label"]), list(tables["test"]["label"])) == (["cat"], [None])


def test_relative_image_paths_start_at_the_file(tmp_path: Path) -> None:
    assert open_source(str(write(tmp_path / "one" / "a.csv", ROWS))).roots == {"train": [tmp_path / "one"]}
    for split in ("train", "val"):
        write(tmp_path / "two" / split / "a.csv", ROWS)
    two = tmp_path / "two"
    assert open_source(str(two)).roots == {"train": [two / "train", two], "validation": [two / "val", two]}


@pytest.mark.parametrize("splits", [None, {"train": "train", "valid": "valid"}])
def test_what_save_to_disk_wrote_is_read(tmp_path: Path, splits: dict[str, str] | None) -> None:
    table = Dataset.from_list(ROWS)
    (DatasetDict(dict.fromkeys(splits, table)) if splits else table).save_to_disk(tmp_path / "saved")
    assert list(texts(tmp_path / "saved")) == list(splits or ["train"])


# The hub and the digits


def test_any_other_name_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load_dataset(name: str) -> DatasetDict:
        asked.append(name)
        return DatasetDict(train=Dataset.from_list(ROWS), test=Dataset.from_list(ROWS[:1]))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert {split: len(found) for split, found in texts("someone/cats").items()} == {"train": 3, "test": 1}
    assert asked == ["someone/cats"]


def test_a_name_that_the_hub_does_not_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str) -> DatasetDict:
        raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub.\nSecond line.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    message = r"^data path digit is no local file.*from the hub: Dataset 'digit' doesn't exist on the Hub\. Did you mean digits\?$"
    with pytest.raises(DataError, match=message):
        open_source("digit")


def test_the_digits_are_scikit_learns_and_each_in_one_split() -> None:
    tables, bunch = open_source("digits").tables, load_digits()
    assert {name: len(table) for name, table in tables.items()} == {"train": 1079, "validation": 359, "test": 359}
    places = {"train": [i for i in range(1797) if i % 5 < 3], "validation": range(3, 1797, 5), "test": range(4, 1797, 5)}
    for name, table in tables.items():
        assert list(table["label"]) == bunch.target[list(places[name])].tolist()
    first = decode(tables["validation"][0]["image"]["bytes"])[0].numpy()
    np.testing.assert_array_equal(first, np.rint(bunch.images[3] * 255 / 16))


# Errors


def _nothing(folder: Path) -> Path:
    (folder / "notes.md").write_text("no pictures here", encoding="utf-8")
    return folder


def _bytes(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


ERRORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such file": (lambda d: write(d / "captions.csv", ROWS).with_name("caption.csv"), r"no caption\.csv in .* Did you mean capti"),
    "no such folder": (lambda d: d / "nowhere" / "a" / "b.csv", r"there is no nowhere in "),
    "no such file in capitals": (lambda d: "NOWHERE.CSV", r"there is no NOWHERE\.CSV in "),
    "nothing in the folder": (_nothing, r"holds no images and no \.parquet, \.csv.* file\. Is it the right one\?"),
    "another suffix": (lambda d: _bytes(d, "a.txt", b"x"), r"files that end in \.txt cannot be read\. Can be: \.parquet"),
    "two kinds": (lambda d: (write(d / "a.csv", ROWS), write(d / "b.jsonl", ROWS))[0].parent, r"it mixes \.csv, \.jsonl files\. Name one"),
    "a cut parquet": (lambda d: _bytes(d, "a.parquet", b"PAR1"), r"a\.parquet cannot be read: "),
    "bad JSON": (lambda d: _bytes(d, "a.jsonl", b'{"image": '), r"a\.jsonl cannot be read: JSON parse error"),
    "an empty file": (lambda d: _bytes(d, "a.csv", b""), r"a\.csv cannot be read: No columns"),
    "only a header": (lambda d: _bytes(d, "a.csv", b"image,caption\n"), r"a\.csv cannot be read: .*no data\.$"),
    "not UTF-8": (lambda d: write(d / "a.csv", ROWS, encoding="cp949"), r"a\.csv cannot be read: .*\. Save it as UTF-8\."),
    "commas without quotes": (lambda d: _bytes(d, "a.csv", b"image,caption\n1.png,a cat, asleep\n"), r"more fields than its header\. Put"),
    "a comma without quotes": (lambda d: _bytes(d, "a.csv", b"image,caption\n1.png,x\n2.png,y, z\n"), r"2 fields in line 3, saw 3"),
    "other columns in a split": (
        lambda d: (write(d / "train.csv", ROWS), write(d / "test.csv", [{"image": "1.png", "text": "x"}]))[0].parent,
        r"one of its files has the columns image, caption, another image, text\.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, case: str) -> None:
    make, message = ERRORS[case]
    path = str(make(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        open_source(path)
    assert str(caught.value).startswith("data path ")
    assert "\n" not in str(caught.value)
