"""COCO's JSON in its two forms: captions, names of what is there, splits, and where the images are."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Image
from source_files import ROWS, Picture, write

from cliptune.data.formats.sources import open_source
from cliptune.errors import DataError

FLICKR = Path(__file__).parents[2] / "shared/data/flickr8k/data.parquet"


def save(file: Path, held: Any, encoding: str = "utf-8") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(held, ensure_ascii=False), encoding=encoding)
    return file


def annotated(names: list[str], captions: list[tuple[int, str]] = [], things: list[tuple[int, int]] = []) -> dict[str, Any]:  # noqa: B006
    """COCO's form; images are numbered from 0."""
    found = [{"id": i, "image_id": image, "caption": text} for i, (image, text) in enumerate(captions)]
    found += [{"id": i, "image_id": image, "category_id": kind, "bbox": [0, 0, 1, 1]} for i, (image, kind) in enumerate(things)]
    kinds = {"categories": [{"id": 7, "name": "traffic light"}, {"id": 9, "name": "고양이"}]} if things else {}
    return {"info": {}, "images": [{"id": i, "file_name": name} for i, name in enumerate(names)], "annotations": found, **kinds}


def test_an_image_is_a_row_with_its_captions_in_a_list(tmp_path: Path, picture: Picture) -> None:
    for name in ("a.png", "b.png"):
        picture(name)
    source = open_source(
        str(save(tmp_path / "captions.json", annotated(["a.png", "b.png"], [(1, "둘"), (0, "one"), (1, "zwei"), (5, "?")])))
    )
    assert source.tables["train"].to_list() == [{"image": "a.png", "captions": ["one"]}, {"image": "b.png", "captions": ["둘", "zwei"]}]
    assert source.roots["train"][0] == tmp_path
    assert source.note == "1 annotations are of no listed image, or empty"


def test_what_is_on_an_image_are_its_labels_the_most_frequent_first(tmp_path: Path, picture: Picture) -> None:
    picture("images/a.png")
    source = open_source(str(save(tmp_path / "things.json", annotated(["a.png"], things=[(0, 7), (0, 9), (0, 9)]))))
    assert source.tables["train"].to_list() == [{"image": "a.png", "labels": ["고양이", "traffic light"]}]
    assert source.roots["train"] == [tmp_path / "images"]


def test_cocos_own_folders_are_splits_with_captions_and_labels(tmp_path: Path, picture: Picture) -> None:
    for split in ("train", "val"):
        picture(f"{split}2017/{split}.png")
        save(tmp_path / f"annotations/captions_{split}2017.json", annotated([f"{split}.png"], [(0, f"a {split}")]))
        save(tmp_path / f"annotations/instances_{split}2017.json", annotated([f"{split}.png"], things=[(0, 7)]))
        save(tmp_path / f"annotations/person_keypoints_{split}2017.json", annotated([f"{split}.png"], things=[(0, 9)]))
    save(tmp_path / "annotations/image_info_test2017.json", {"images": [{"id": 0, "file_name": "x.png"}], "info": {}})
    source = open_source(str(tmp_path))
    assert {split: table.to_list() for split, table in source.tables.items()} == {
        "train": [{"image": "train.png", "captions": ["a train"], "labels": ["traffic light"]}],
        "validation": [{"image": "val.png", "captions": ["a val"], "labels": ["traffic light"]}],
    }
    assert source.roots == {"train": [tmp_path / "train2017"], "validation": [tmp_path / "val2017"]}
    one = open_source(str(tmp_path / "annotations/captions_val2017.json"))
    assert one.tables["train"].to_list() == [{"image": "val.png", "captions": ["a val"]}]


@pytest.mark.parametrize("kept", [True, False])
def test_karpathys_splits_are_ours_and_restval_is_for_training(tmp_path: Path, picture: Picture, kept: bool) -> None:
    images = [
        {
            "filename": f"{split}.png",
            "filepath": "val2014",
            "split": split,
            "sentences": [{"raw": f"a {split}"}, {"raw": "b"}, {"raw": "b"}],
        }
        for split in ("test", "restval", "train", "val")
    ]
    for image in images:
        picture(f"images/{image['filepath']}/{image['filename']}" if kept else f"images/{image['filename']}")
    tables = open_source(str(save(tmp_path / "dataset_coco.json", {"images": images, "dataset": "coco"}, "utf-8-sig"))).tables
    assert list(tables) == ["train", "validation", "test"]
    assert [row["captions"] for row in tables["train"]] == [["a restval", "b"], ["a train", "b"]]
    assert tables["test"][0]["image"] == ("val2014/test.png" if kept else "test.png")


@pytest.mark.skipif(not FLICKR.exists(), reason=f"no {FLICKR}")
def test_real_captions_come_back_from_cocos_form(tmp_path: Path) -> None:
    rows = Dataset.from_parquet(str(FLICKR), cache_dir=str(tmp_path / "cache")).select(range(24)).cast_column("image", Image(decode=False))
    told = [(i, text) for i, row in enumerate(rows) for text in row["captions"]]
    for i, row in enumerate(rows):
        (tmp_path / f"{i}.jpg").write_bytes(row["image"]["bytes"])
    source = open_source(str(save(tmp_path / "captions.json", annotated([f"{i}.jpg" for i in range(24)], told))))
    assert source.tables["train"]["captions"][:] == [list(dict.fromkeys(texts)) for texts in rows["captions"]]


def test_other_json_is_read_as_before(tmp_path: Path) -> None:
    assert len(open_source(str(write(tmp_path / "rows.json", ROWS))).tables["train"]) == 3
    file = tmp_path / "lines.json"
    file.write_text('{"images": "1.png", "caption": "x"}\n{"images": "2.png", "caption": "y"}\n', encoding="utf-8")
    assert len(open_source(str(file)).tables["train"]) == 2


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (annotated(["gone.png"], [(0, "x")]), r"gone\.png is in none of .*Put the images into a folder beside the JSON file\.$"),
        ({"images": [{"id": 3, "file_name": "a.png"}, {"id": 4}], "annotations": []}, r"image 4 has no file_name"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, held: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(str(save(tmp_path / "a.json", held)))
