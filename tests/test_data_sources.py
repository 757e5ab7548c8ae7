"""From a path to tables by split: every kind of source, names that are odd, and what cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.feather
import pytest
from datasets import Dataset, DatasetDict
from sklearn.datasets import load_digits

from cliptune.data.sources import hold_out, name_splits, open_source
from cliptune.errors import DataError
from cliptune.images import decode

Picture = Callable[[str], Path]
ROWS = [{"image": f"{i}.png", "caption": f"고양이 {i}, 잔다"} for i in range(3)]


def write(file: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    """Write rows in the format that the file's suffix names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = file.suffix.lower()
    table = Dataset.from_list(rows)
    if kind == ".parquet":
        table.to_parquet(file)
    elif kind == ".arrow":
        with pyarrow.ipc.new_stream(str(file), table.data.table.schema) as stream:
            stream.write_table(table.data.table)
    elif kind in (".csv", ".tsv"):
        table.to_pandas().to_csv(file, sep="\t" if kind == ".tsv" else ",", index=False, encoding=encoding)
    else:
        text = json.dumps(rows, indent=1) if kind == ".json" else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        file.write_text(text, encoding=encoding)
    return file


def texts(path: str | Path) -> dict[str, list[str]]:
    """The captions of a source by split."""
    return {split: list(table["caption"]) for split, table in open_source(str(path)).tables.items()}


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


# Folders of images


def labels(folder: Path) -> dict[str, list[str]]:
    """The labels of an image folder by split."""
    tables = open_source(str(folder)).tables
    return {split: [table.features["label"].names[i] for i in table["label"]] for split, table in tables.items()}


def test_class_folders_give_labels(tmp_path: Path, picture: Picture) -> None:
    for name in ("강아지/사진 1.png", "강아지/2.JPG", "고양이/3.jpeg", "고양이/4.PNG"):
        picture(name)
    (tmp_path / "README.md").write_text("who took them", encoding="utf-8")
    assert labels(tmp_path) == {"train": ["강아지", "강아지", "고양이", "고양이"]}


@pytest.mark.parametrize("above", ["", "images/"])
def test_class_folders_may_lie_in_folders_of_splits(tmp_path: Path, picture: Picture, above: str) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "Val/cat/3.png", "Val/dog/4.png", "test/cat/5.png", "test/owl/6.png"):
        picture(above + name)
    assert labels(tmp_path) == {"train": ["cat", "dog"], "validation": ["cat", "dog"], "test": ["cat", "owl"]}


def test_hidden_images_are_not_read(tmp_path: Path, picture: Picture) -> None:
    for name in ("cat/1.png", "dog/2.png", ".ipynb_checkpoints/3.png"):
        picture(name)
    (tmp_path / "cat" / "._1.png").write_bytes(b"what macOS leaves in archives")
    assert labels(tmp_path) == {"train": ["cat", "dog"]}


@pytest.mark.parametrize(
    "names", ["cat/train_1.png cat/2.png dog/3.png", "cat/1.png dog/test_2.png dog/3.png", "test/1.png plane/2.png train/3.png"]
)
def test_no_image_is_lost_where_a_name_merely_sounds_like_a_split(tmp_path: Path, picture: Picture, names: str) -> None:
    for name in names.split():
        picture(name)
    assert {split: sorted(found) for split, found in labels(tmp_path).items()} == {
        "train": sorted(name.partition("/")[0] for name in names.split())
    }


def test_images_beside_the_folders_of_splits_are_said_to_be_not_used(tmp_path: Path, picture: Picture) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png", "more/cat/5.png"):
        picture(name)
    source = open_source(str(tmp_path))
    assert source.note == "1 images in no folder of a split are not used"
    assert labels(tmp_path) == {"train": ["cat", "dog"], "validation": ["cat", "dog"]}


def test_a_metadata_file_gives_captions(tmp_path: Path, picture: Picture) -> None:
    for i in range(3):
        picture(f"{i}.png")
    write(tmp_path / "metadata.csv", [{"file_name": row["image"], "caption": row["caption"]} for row in ROWS])
    assert texts(tmp_path) == {"train": [row["caption"] for row in ROWS]}


@pytest.mark.parametrize("inside", [True, False])
def test_a_metadata_file_may_lie_in_or_above_the_folders_of_splits(tmp_path: Path, picture: Picture, inside: bool) -> None:
    rows = []
    for split in ("train", "test"):
        picture(f"{split}/a.png")
        rows.append({"file_name": "a.png" if inside else f"{split}/a.png", "caption": [f"{split} one", f"{split} two"]})
        if inside:
            write(tmp_path / split / "metadata.jsonl", rows[-1:])
    if not inside:
        write(tmp_path / "metadata.jsonl", rows)
    assert texts(tmp_path) == {split: [[f"{split} one", f"{split} two"]] for split in ("train", "test")}


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


# Splits


def split_of(
    values: list[Any], names: dict[str, str] | None = None, column: str | None = "auto", name: str = "split"
) -> dict[str, list[int]]:
    tables = DatasetDict(train=Dataset.from_dict({name: values, "row": list(range(len(values)))}))
    named, _ = name_splits(tables, column, names or {}, "PATH")
    return {split: list(table["row"]) for split, table in named.items()}


def test_a_column_names_the_splits_of_its_rows() -> None:
    expected = {"train": [0, 3], "validation": [1], "test": [2]}
    assert split_of(["train", "val", "test", "train"]) == expected
    assert split_of(["Train", "DEV", "Test", "Train"], name="Split") == expected
    korean = {"train": "학습", "validation": "검증", "test": "시험"}
    assert split_of(["학습", "검증", "시험", "학습"], korean, "분할", "분할") == expected
    assert split_of([1, 2, 3, 1], {"train": "1", "validation": "2", "test": "3"}, "fold", "fold") == expected


def test_null_leaves_a_column_called_split_alone() -> None:
    assert split_of(["left", "right"], column=None) == {"train": [0, 1]}


def test_a_split_may_serve_twice_and_one_that_serves_nobody_is_named() -> None:
    tables = DatasetDict({name: Dataset.from_dict({"row": [i]}) for i, name in enumerate(["train", "validation", "unsupervised"])})
    named, note = name_splits(tables, "auto", {"test": "validation"}, "PATH")
    assert {name: list(table["row"]) for name, table in named.items()} == {"train": [0], "validation": [1], "test": [1]}
    assert note == "not used: the split unsupervised"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_of(["train"], column="splt"), r"^data path PATH has no column splt \(split_column\)\. Did you mean split\?$"),
        (lambda: split_of(["train", "val"], {"test": "tset"}), r"^data path PATH has no split tset\. There is: train, val\.$"),
        (lambda: split_of(["a", "b"]), r"^data path PATH has no split called train, but a, b\. Set splits: \{train: NAME\}\.$"),
    ],
)
def test_a_split_or_column_that_is_not_there_is_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def held(images: list[Any], seed: int = 0, **others: Dataset) -> tuple[dict[str, list[int]], str]:
    train = Dataset.from_dict({"image": images, "row": list(range(len(images)))})
    found, note = hold_out({"train": train, **others}, "image", seed, "PATH")
    return {name: list(table["row"]) for name, table in found.items()}, note


@pytest.mark.parametrize("kind", [str, str.encode])
def test_held_out_rows_are_disjoint_and_nothing_is_lost(kind: Callable[[str], Any]) -> None:
    found, note = held([kind(f"{i}.png") for i in range(50)])
    assert [len(found[name]) for name in ("train", "validation", "test")] == [40, 5, 5]
    assert sorted(row for rows in found.values() for row in rows) == list(range(50))
    assert note == "no validation and no test split: 5 images of train held out for each (seed 0)"
    assert held([kind(f"{i}.png") for i in range(50)])[0] == found
    assert held([kind(f"{i}.png") for i in range(50)], seed=1)[0] != found


def test_rows_of_one_image_file_are_held_out_together() -> None:
    images = [f"{i // 5}.png" for i in range(200)]  # a row for each of five captions, as in Flickr8k's own table
    found, _ = held(images)
    seen = {name: {images[row] for row in rows} for name, rows in found.items()}
    assert [len(seen[name]) for name in ("train", "validation", "test")] == [32, 4, 4]
    assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"]


def test_only_the_split_that_is_missing_is_held_out() -> None:
    found, note = held(["a", "b", "c"], test=Dataset.from_dict({"image": ["d"], "row": [9]}))
    assert (found["test"], sorted(found["train"] + found["validation"])) == ([9], [0, 1, 2])
    assert note == "no validation split: 1 images of train held out for each (seed 0)"


def test_too_few_rows_to_hold_any_out_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^data path PATH: train has 2 images, too few to hold out validation and test\.$"):
        held(["a", "b"])


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
