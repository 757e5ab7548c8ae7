"""Rows that cannot be used are counted by why; image paths of a table stay in its folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset
from made_data import data

from cliptune.data.columns import Columns
from cliptune.data.labels import LabelRules
from cliptune.data.usable import LeftOut, check_inside, chosen_rows
from cliptune.errors import DataError

pytest_plugins = ["made_data"]


def test_why_rows_are_left_out_is_counted() -> None:
    table = Dataset.from_dict({"image": ["1.png", None, "3.png", "4.png"], "text": ["a", "b", "", " "]})
    kept, left_out = chosen_rows(table, Columns("image", "text", None), LabelRules(), None, "PATH/train")
    assert list(kept["image"]) == ["1.png"]
    assert left_out == [LeftOut("PATH/train", "without an image", 1), LeftOut("PATH/train", "without a caption", 2)]


def test_nothing_is_copied_where_all_rows_are_used() -> None:
    table = Dataset.from_dict({"image": ["1.png"], "text": ["a"]})
    assert chosen_rows(table, Columns("image", "text", None), LabelRules(), None, "PATH/train") == (table, [])


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/1.png", "a/../../1.png", "~/1.png", "/data/../etc/1.png"])
def test_a_path_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    for cells in ([path], [{"bytes": None, "path": path}]):
        table = Dataset.from_dict({"image": ["pictures/1.png", path] if cells == [path] else cells})
        with pytest.raises(DataError, match=r"PATH/train: the image path .* leads out of /data\. .*data\.allow_outside: true"):
            check_inside(table, "image", [Path("/data")], "PATH/train")


@pytest.mark.parametrize("path", ["1.png", "a/1.png", "a/../1.png", "..png", "a..b/1.png", "/data/1.png", "/data/sub/../1.png"])
def test_a_path_in_the_folder_is_not(path: str) -> None:
    check_inside(Dataset.from_dict({"image": [path]}), "image", [Path("/data")], "PATH/train")


def test_a_picture_that_lies_in_the_table_may_be_called_anything() -> None:
    check_inside(Dataset.from_dict({"image": [{"bytes": b"1", "path": "/else/1.png"}]}), "image", [Path("/data")], "PATH/train")


def test_a_key_lets_paths_lead_out(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    rows = [f"{picture(f'pictures/{i}.png')},a cat {i}" for i in range(12)]
    table = tmp_path / "tables" / "a.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["image,caption", *rows]))
    with pytest.raises(DataError, match="leads out of"):
        data(table)
    assert len(data(table, allow_outside=True).rows("train")) == 10


def test_the_path_that_would_be_opened_is_judged_where_there_are_several_folders(tmp_path: Path) -> None:
    (tmp_path / "coco" / "images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    roots = [tmp_path / "coco", tmp_path / "coco" / "images"]
    with pytest.raises(DataError, match="leads out of"):
        check_inside(Dataset.from_dict({"image": ["../secret.png"]}), "image", roots, "PATH/train")
