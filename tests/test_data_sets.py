"""Real data sets in the forms people have: read in place, and written as WebDataset and COCO JSON on the fly."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_data import data
from shards import write_tar

from cliptune.data.images import ImageTextData

pytest_plugins = ["made_data"]

ROOT = Path("../shared/data")
SETS: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {  # keys, rows of the splits, classes
    "ham10000_96": ({}, (5386, 598, 1512), 7),
    "bccd_cells": ({}, (2804, 1137, 945), 3),
    "covid_cxr": ({"caption_column": "notes"}, (215, 23, 28), 15),
    "wikiart7_96": ({}, (2878, 404, 551), 7),
    "emoji_styles": ({}, (6792, 906, 1301), 1553),
    "dcss_tiles": ({"label_column": "sublabel", "transform": "pixel_art"}, (3179, 313, 426), 83),
    "flickr8k": ({}, (6000, 1000, 1000), 0),
    "tiny_imagenet_32": ({}, (54000, 10000, 6000), 200),
    "caltech101": ({}, (4128, 1649, 2465), 100),
}


def rows_of(made: ImageTextData, split: str) -> list[Any]:
    rows = made.rows(split)
    return [row for _, _, row in rows[[(0, i) for i in range(len(rows))]]]


def there(name: str) -> Path:
    file = ROOT / name / "data.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not here")
    return file


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_as_it_is(name: str) -> None:
    options, counts, classes = SETS[name]
    made = data(there(name), batch_size=8, **options)
    assert tuple(made.counts[split] for split in ("train", "validation", "test")) == counts
    assert len(made.class_names) == classes
    for loader in (made.train_dataloader(), made.val_dataloader()):
        batch = next(iter(loader))
        assert batch["images"].shape == (8, 3, 16, 16)
        assert "bad" not in batch


def test_five_captions_an_image_are_all_its_captions() -> None:
    made = data(there("flickr8k"))
    assert Counter(len(row.captions) for row in rows_of(made, "test")) == {5: 1000}


@pytest.mark.parametrize("how", ["truncate", "sample_sentence", "split_mean"])
def test_long_clinical_notes_are_read_in_each_way(how: str) -> None:
    made = data(there("covid_cxr"), caption_column="notes", long_text=how, batch_size=64)
    assert any("longer than 77 tokens" in note for note in made.notes)
    batch = next(iter(made.train_dataloader()))
    assert ("piece" in batch) == (how == "split_mean")
    assert len(batch["text"]) == 64
    assert batch["tokens"].shape[1] <= 77


def written_as_shards(folder: Path, rows: list[dict[str, Any]]) -> None:
    for split in ("train", "validation", "test"):
        held = [row for row in rows if row["split"] == split]
        samples = {
            f"{i:05d}": {"jpg": row["image"]["bytes"], "txt": row["captions"][0], "json": {"number": i}} for i, row in enumerate(held)
        }
        write_tar(folder / f"{split}-0000.tar", samples)


def written_as_coco(folder: Path, rows: list[dict[str, Any]]) -> None:
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for i, row in enumerate(rows):
        (folder / "images" / f"{i}.jpg").write_bytes(row["image"]["bytes"])
        images.append({"id": i, "file_name": f"{i}.jpg"})
        annotations += [{"id": 10 * i + k, "image_id": i, "caption": caption} for k, caption in enumerate(row["captions"])]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")


def test_shards_and_coco_json_of_a_set_hold_what_the_set_holds(tmp_path: Path) -> None:
    file = there("flickr8k")
    rows = pq.read_table(file, columns=["image", "captions", "split"]).to_pylist()
    some = [row for split in ("train", "validation", "test") for row in [one for one in rows if one["split"] == split][:40]]
    written_as_shards(tmp_path / "shards", some)
    written_as_coco(tmp_path / "coco", some)
    shards, coco = data(tmp_path / "shards"), data(tmp_path / "coco" / "captions.json")
    for split in ("train", "validation", "test"):
        expected = [(row["image"]["bytes"], row["captions"][0]) for row in some if row["split"] == split]
        assert [(row.image, row.captions[0]) for row in rows_of(shards, split)] == expected
    found = {Path(row.image).read_bytes(): row.captions for split in ("train", "validation", "test") for row in rows_of(coco, split)}
    assert found == {row["image"]["bytes"]: row["captions"] for row in some}
