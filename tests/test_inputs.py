"""From what the user names to images: in order, each once, under names that last."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from datasets import Dataset, Image

from cliptune.errors import CliptuneError
from cliptune.inputs import Inputs

Picture = Callable[[str], Path]
pytestmark = pytest.mark.usefixtures("elsewhere")


def names(*sources: str) -> list[str]:
    return [item.name for item in Inputs(sources)]


def table(file: str, *images: bytes) -> str:
    rows = [{"bytes": image, "path": None} for image in images]
    Dataset.from_dict({"image": rows}).cast_column("image", Image(decode=False)).to_parquet(file)
    return file


def test_a_folder_is_walked_in_order_and_without_what_is_hidden(picture: Picture) -> None:
    for name in ("c.png", "a/2.JPG", "a/10.png", "a/b/x.bmp", ".hidden.png", ".git/y.png", "__MACOSX/z.png", "__ours/z.png"):
        picture(f"pics/{name}")
    Path("pics/notes.md").write_text("no image")
    assert names("pics") == names("pics/") == [f"pics/{name}" for name in ("__ours/z.png", "a/10.png", "a/2.JPG", "a/b/x.bmp", "c.png")]
    assert names(str(Path("pics/a/b").resolve())) == [str(Path("pics/a/b/x.bmp").resolve())]


def test_listing_reads_no_image(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        picture(f"pics/{i}.png")
    monkeypatch.setattr("io.open", lambda *arguments, **options: pytest.fail("a file was opened"))
    inputs = Inputs(["pics"])
    assert (len(inputs), len(list(inputs)), inputs.labelled) == (5, 5, False)
    assert len(inputs.fingerprint()) == 16


def test_links_to_files_are_followed_and_those_to_folders_not(picture: Picture) -> None:
    Path("pics/inner").mkdir(parents=True)
    Path("pics/link.png").symlink_to(picture("a.png"))
    Path("pics/inner/circle").symlink_to(Path("pics").resolve())
    assert names("pics") == ["pics/link.png"]


def test_patterns_take_images_and_folders_else_tables(picture: Picture) -> None:
    for name in ("1/b.png", "1/a.png", "2/c.png", "2/deep/d.png"):
        picture(f"pics/{name}")
    Path("pics/2/t.csv").write_text("image,label\nc.png,x\n")
    assert names("pics/1/*.png") == ["pics/1/a.png", "pics/1/b.png"]
    assert names("pics/**/[cd].png") == ["pics/2/c.png", "pics/2/deep/d.png"]
    assert names("pics/2/*") == ["pics/2/c.png", "pics/2/deep/d.png"]
    shards = [table(f"{name}.parquet", b"x") for name in ("s1", "s0")]
    assert names("s*.parquet") == names("s*.parquet@train") == [f"{shard}/train:0" for shard in sorted(shards)]
    picture("[1].png")
    assert names("[1].png") == ["[1].png"]  # a file before a pattern


def test_lists_of_paths_count_from_the_working_folder_or_from_their_own(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("a.png")
    picture("lists/b.png")
    picture("lists/a.png")
    lines = b"\xef\xbb\xbfa.png\r\n\r\n b.png \ngone.png\na.png\n"
    Path("lists/l.txt").write_bytes(lines)
    expected = ["a.png", "lists/b.png", "lists/gone.png"]
    assert names("lists/l.txt") == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert names("-") == ["a.png", "b.png", "gone.png"]


def test_an_image_that_is_named_twice_comes_once(picture: Picture) -> None:
    picture("pics/a.png")
    picture("pics/b.png")
    Path("t.csv").write_text("image,label\npics/b.png,x\npics/b.png,y\n")
    digits = "digits@test"
    assert names("pics/b.png", "pics", "pics/b.png", "t.csv", "pics/*") == ["pics/b.png", "pics/a.png"]
    assert names("pics/a.png", table("t.parquet", b"x"), "pics", "t.parquet@train") == ["pics/a.png", "t.parquet/train:0", "pics/b.png"]
    assert len(Inputs([digits, digits])) == 359


def test_a_file_is_no_split_of_another(picture: Picture) -> None:
    picture("cat@2x.png")
    assert names("cat@2x.png") == ["cat@2x.png"]
    assert names("digits@test")[0] == "digits/test:0"


def test_a_folder_by_split_is_a_data_set_with_its_classes(picture: Picture) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"):
        picture(f"pics/{name}")
    inputs = Inputs(["pics@test"])
    assert [(Path(item.name).name, item.label) for item in inputs] == [("3.png", "cat"), ("4.png", "dog")]
    assert inputs.labelled
    assert [item.label for item in Inputs(["pics"])] == [None] * 4


def test_the_rest_from_any_number_on(picture: Picture) -> None:
    for i in range(3):
        picture(f"pics/{i}.png")
    inputs = Inputs(["pics/1.png", table("t.parquet", b"x", b"y"), "pics"])
    every = list(inputs.items())
    assert len(every) == len(inputs) == 5
    for first in range(7):
        assert list(inputs.items(first)) == every[first:]


def test_the_fingerprint_tells_other_images_from_the_same(picture: Picture) -> None:
    picture("pics/a.png")
    picture("pics/b.png")
    table("t.parquet", b"x", b"y")
    sources = ["pics", "t.parquet"]
    seen = [Inputs(sources).fingerprint()]
    assert Inputs(["pics/", "t.parquet"]).fingerprint() == seen[0]

    def changed() -> bool:
        seen.append(Inputs(sources).fingerprint())
        return len(set(seen)) == len(seen)

    os.utime("pics/b.png", ns=(0, 1))
    assert changed()
    picture("pics/c.png")
    assert changed()
    Path("pics/c.png").rename("pics/d.png")
    assert changed()
    table("t.parquet", b"x", b"z")
    assert changed()
    os.utime("t.parquet", ns=(0, 1))
    assert changed()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("kat.png", r"^there is no file kat\.png\. Did you mean cat\.png\?$"),
        ("nowhere/kat.png", r"^there is no file nowhere/kat\.png\.$"),
        ("list.txt", r"^there is no file list\.txt\.$"),
        ("*.jpg", r"^no image, folder of images or table matches \*\.jpg\.$"),
        ("empty", r"^data path empty: the folder holds no images and no .* file\. Is it the right one\?$"),
        ("none.txt", r"^there is no image in none\.txt\. Images end in \.jpg, "),
        ("notes.md", r"^data path notes\.md: files that end in \.md cannot be read\. Can be: "),
        ("./gone", r"^data path \./gone: there is no gone in "),
        ("digits@tset", r"^digits has no split tset\. Did you mean test\?"),
    ],
)
def test_what_is_not_there_is_one_line(picture: Picture, source: str, message: str) -> None:
    picture("cat.png")
    Path("empty").mkdir()
    Path("none.txt").write_text("\n\n")
    Path("notes.md").write_text("no image")
    with pytest.raises(CliptuneError, match=message) as caught:
        Inputs([source])
    assert "\n" not in str(caught.value)


def test_nothing_named_says_what_can_be() -> None:
    with pytest.raises(CliptuneError, match=r"^no input is given\. Name images, folders or tables, or - for paths on standard input\.$"):
        Inputs([])


def test_a_folder_that_may_not_be_read_says_so(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    picture("pics/a/b.png")
    scandir = os.scandir

    def refusing(folder: str) -> Iterator[os.DirEntry[str]]:
        if folder == "pics/a":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)  # root may read everything
    with pytest.raises(CliptuneError, match=r"^cannot read the folder pics/a: Permission denied\. Change its rights, or leave it out\.$"):
        Inputs(["pics"])
