"""Tests of `data.sources`: folders of images, with class folders, folders of splits and metadata files."""

from pathlib import Path

import pytest
from datasets import Image
from made_data import data
from source_files import ROWS, Picture, texts, write

from cliptune.data.formats import image_folders
from cliptune.data.formats.metadata_files import paths_of
from cliptune.data.formats.reading import visible
from cliptune.data.formats.sources import open_source
from cliptune.errors import DataError


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
    (folder / splits[0] / "link").symlink_to(folder / "rows")
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


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("where", ["", "train/ test/", "above"])
def test_metadata_files_are_read_as_by_datasets(
    tmp_path: Path, picture: Picture, where: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = ["train/", "test/"] if where else [""]
    rows = []
    for split in splits:
        for name in ("b/2.png", "1.png", "b/10.png"):
            picture(f"{split}{name}")
        own = [{"text": f"{name} of {split}", "file_name": name, "n": len(name)} for name in ("b/10.png", "1.png", "./b/2.png")]
        rows += [{**row, "file_name": split + str(row["file_name"])} for row in own]
        if where != "above":
            write(tmp_path / split / f"metadata.{suffix}", own)
    if where == "above":
        write(tmp_path / f"metadata.{suffix}", rows)
    ours = open_source(str(tmp_path))
    monkeypatch.setattr(image_folders, "described_tables", lambda *_: None)
    theirs = open_source(str(tmp_path))
    assert [*ours.tables] == [split[:-1] or "train" for split in splits]
    assert not ours.note
    for split, table in ours.tables.items():
        assert table.features == theirs.tables[split].features
        plain = [found.cast_column("image", Image(decode=False)).to_dict() for found in (table, theirs.tables[split])]
        assert plain[0] == plain[1]
        assert len(table) == 3


def test_columns_that_datasets_alone_knows_are_its(tmp_path: Path, picture: Picture) -> None:
    picture("a.png"), picture("b.png")
    write(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "mask_file_name": "b.png", "caption": "a"}])
    assert [*open_source(str(tmp_path)).tables["train"].features] == ["image", "mask", "caption"]


def test_images_that_no_metadata_file_names_are_counted(tmp_path: Path, picture: Picture) -> None:
    for name in ("a.png", "b.png", "old/c.png"):
        picture(name)
    write(tmp_path / "metadata.csv", [{"file_name": "a.png", "caption": "a"}, {"file_name": "gone.png", "caption": "b"}])
    source = open_source(str(tmp_path))
    assert source.note == "2 images that no metadata file names are not used"
    assert [Path(path).name for path in paths_of(source.tables["train"])] == ["a.png", "gone.png"]


def test_a_metadata_file_with_a_comma_too_many_is_told(tmp_path: Path, picture: Picture) -> None:
    picture("a.png")
    (tmp_path / "metadata.csv").write_text("file_name,caption\na.png,a cat, asleep\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"metadata\.csv: its rows have more fields than its header"):
        open_source(str(tmp_path))


def test_a_split_without_a_metadata_file_is_told(tmp_path: Path, picture: Picture) -> None:
    picture("train/a.png"), picture("test/b.png")
    write(tmp_path / "train" / "metadata.csv", [{"file_name": "a.png", "caption": "a"}])
    with pytest.raises(DataError, match=r"train/metadata\.csv describes images, and those of test have no such file\. Write one for each"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("above", [False, True])
def test_a_metadata_file_may_not_name_what_lies_elsewhere(tmp_path: Path, picture: Picture, above: bool) -> None:
    picture("images/train/a.png"), picture("images/test/b.png"), picture("secret.png")
    own = [{"file_name": name, "caption": "a"} for name in ("train/a.png", "../secret.png", "test/b.png")]
    if above:
        write(tmp_path / "images" / "metadata.csv", own)
    else:
        for split in ("train", "test"):
            rows = [{"file_name": name, "caption": "a"} for name in ({"train": "a.png", "test": "b.png"}[split], "../../secret.png")]
            write(tmp_path / "images" / split / "metadata.csv", rows)
    with pytest.raises(DataError, match=r"secret\.png leads out of .*images"):
        data(tmp_path / "images")


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
