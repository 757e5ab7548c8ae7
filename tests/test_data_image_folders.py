"""Tests of `data.sources`: folders of images, with class folders, folders of splits and metadata files."""

from pathlib import Path

import pytest
from source_files import ROWS, Picture, texts, write

from cliptune.data.formats.sources import open_source


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
