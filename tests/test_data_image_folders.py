"""Tests of `data.sources`: folders of images, with class folders, folders of splits and metadata files."""

from pathlib import Path

import pytest
from datasets import Image
from source_files import ROWS, Picture, texts, write

from cliptune.data.formats.reading import visible
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


@pytest.mark.parametrize("splits", [("",), ("train/", "test/"), ("images/test/", "images/train/", "images/val/")])
def test_a_folder_of_nothing_but_classes_is_read_as_by_datasets(tmp_path: Path, picture: Picture, splits: tuple[str, ...]) -> None:
    folder = tmp_path / "ours"
    for split in splits:
        for name in ("b/10.png", "b/2.JPG", "B c/1.png", "B/1.jpeg", "é/1.png", "b-[x]/1.png"):
            picture(f"ours/{split}{name}")
    for name in ("notes.txt", "rows/0.bin"):  # such as a cache of ours
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("who took them", encoding="utf-8")
    ours = open_source(str(folder)).tables
    (folder / "link").symlink_to(folder / "rows")
    theirs = open_source(str(folder)).tables
    assert {split: len(table) for split, table in ours.items()} == {split: len(table) for split, table in theirs.items()}
    for split, table in ours.items():
        assert table.features == theirs[split].features
        plain = [found.cast_column("image", Image(decode=False)).to_dict() for found in (table, theirs[split])]
        assert plain[0] == plain[1]
        assert not table.cache_files  # so that both ways were taken
        assert theirs[split].cache_files


@pytest.mark.parametrize("names", ["cat/1.png cat/2.png", "cat/1.png dog/old/2.png", "1.png 2.png"])
def test_folders_without_classes_give_no_labels(tmp_path: Path, picture: Picture, names: str) -> None:
    for name in names.split():
        picture(name)
    assert open_source(str(tmp_path)).tables["train"].column_names == ["image"]


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


def test_a_folder_is_listed_as_pathlib_orders_it_without_what_is_hidden_or_lies_behind_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("b/2", "b-c/1", "b/10", "b.c/d/1", "a", "B/1", ".git/x", "b/.hidden", "__MACOSX/y", "b/d/__pycache__/z"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1").touch()
    (folder / "b" / "link").symlink_to(tmp_path / "elsewhere")
    shown = [path for path in sorted(folder.rglob("*")) if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)]
    assert visible(folder) == [str(path) for path in shown]
    assert str(folder / "b" / "link" / "1") not in visible(folder)


def test_a_folder_may_be_the_one_that_we_are_in(tmp_path: Path, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"):
        picture(name)
    monkeypatch.chdir(tmp_path)
    assert labels(Path()) == labels(tmp_path) == {"train": ["cat", "dog"], "test": ["cat", "dog"]}
    assert visible(Path("train")) == ["train/cat", "train/cat/1.png", "train/dog", "train/dog/2.png"]
    assert visible(Path())[:2] == ["test", "test/cat"]
