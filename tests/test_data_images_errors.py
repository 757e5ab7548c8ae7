"""Tests of `ImageTextData`: bad input, hard negatives, and what is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from made_data import Picture, data, texts_of

from cliptune.data.batches import Batch
from cliptune.data.images import ImageTextData
from cliptune.errors import CliptuneError, ConfigError, DataError

pytest_plugins = ["made_data"]


def see_all(made: ImageTextData) -> list[Batch]:
    return [batch for loader in (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()) for batch in loader]


def test_an_unreadable_image_leaves_batches_whole_and_is_told_with_its_path(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(["x"] * 12)
    bad = tmp_path / "pictures" / "7.png"
    bad.write_bytes(bad.read_bytes()[:60])
    for workers in (0, 1):
        batches = see_all(data(file, workers=workers, batch_size=10))
        assert [len(batch["images"]) for batch in batches] == [10, 1, 1]
        told = [one for batch in batches for one in batch.get("bad", [])]
        assert [(one.path, one.split) for one in told] == [(str(bad), "train")]
        assert len(set(batches[0]["row"].tolist())) == 9  # one stands for the unreadable one


def test_an_unreadable_image_of_evaluation_counts_for_nothing(picture: Picture, tmp_path: Path) -> None:
    images = [picture(f"{i}.png").read_bytes() for i in range(6)]
    splits = {"train": images, "validation": images[:1], "test": [*images[:2], b"junk"]}
    for split, part in splits.items():
        Dataset.from_dict({"image": part, "text": ["x"] * len(part)}).to_parquet(tmp_path / f"{split}.parquet")
    for name in range(6):
        (tmp_path / f"{name}.png").unlink()
    (batch,) = data(tmp_path).test_dataloader()
    assert batch["row"].tolist() == [0, 1, -1]
    assert batch["owner"].tolist() == [0, 1]
    assert [(one.path, one.number) for one in batch["bad"]] == [(f"{tmp_path}/test:2", 2)]
    assert "no image of a known kind" in batch["bad"][0].reason


def test_a_missing_image_is_told(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(["x"] * 12)
    (tmp_path / "pictures" / "3.png").unlink()
    (bad,) = [one for batch in see_all(data(file, batch_size=10)) for one in batch.get("bad", [])]
    assert (Path(bad.path).name, bad.reason.split(":")[-1].strip()) == ("3.png", "No such file or directory")


ERRORS: dict[str, tuple[list[Any], str, dict[str, Any], type[CliptuneError], str]] = {
    "large batch": (["x"] * 12, "caption", {"batch_size": 11}, DataError, r"^batch_size 11 is more than the 10 training rows\. Set data"),
    "no batch": (["x"] * 12, "caption", {"batch_size": 0}, ConfigError, r"^data: batch_size 0 is not positive"),
    "no workers": (["x"] * 12, "caption", {"workers": -1}, ConfigError, r"^data: workers -1 is negative\. Take 0"),
    "crop": (["x"] * 12, "caption", {"crop_scale": (0.9, 0.1)}, ConfigError, r"^data: crop_scale \[0\.9, 0\.1\] is not two growing"),
    "template": (["cat"] * 12, "label", {"templates": "a photo"}, ConfigError, r"^template 'a photo' has no \{\} for the class name"),
    "no path": (["x"], "caption", {"path": []}, ConfigError, r"^data: path is empty\. Give digits"),
    "unknown column": (["x"] * 12, "caption", {"caption_column": "captoin"}, DataError, r"has no column captoin \(caption_column\)\. Did"),
    "unknown split": (["x"] * 12, "caption", {"splits": {"test": "tset"}}, DataError, r"has no split tset\. There is: train\.$"),
    "unknown split of ours": (["x"] * 12, "caption", {"splits": {"tets": "a"}}, ConfigError, r"splits has the unknown 'tets'\. Did you m"),
    "numeric captions": ([*range(12)], "caption", {}, DataError, r"the caption column caption holds numbers, not text\. Set caption_c"),
    "numbers without names": ([0, 1] * 6, "label", {}, DataError, r"^the labels are numbers \(0, 1\) without names\. Set class_names"),
    "unmatched names": (["cat"] * 12, "label", {"class_names": ["cats"]}, DataError, r"^label 'cat' is not among the class_names\. Did"),
    "names for captions": (["x"] * 12, "caption", {"class_names": ["cat"]}, DataError, r"^class_names are set, but the data has no label"),
    "no names file": ([0, 1] * 6, "label", {"class_names": "nowhere.txt"}, DataError, r"^class_names nowhere\.txt: there is no such file"),
    "empty captions": ([" "] * 12, "caption", {}, DataError, r"the train split has no row with an image and a caption or label\. Set"),
    "small data": (["x"] * 2, "caption", {}, DataError, r"train has 2 images, too few to hold out validation and test\.$"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_line(write: Callable[..., Path], case: str) -> None:
    values, column, options, kind, message = ERRORS[case]
    path = options.get("path", write(values, column))
    with pytest.raises(kind, match=message) as caught:
        data(path, **{key: value for key, value in options.items() if key != "path"})
    assert "\n" not in str(caught.value)


def test_training_labels_that_are_numbers_need_names_too(write: Callable[..., Path]) -> None:
    numbers, words = str(write([5, 6] * 10, "label")), str(write(["cat", "dog"] * 10, "label", "b.jsonl"))
    with pytest.raises(DataError, match=r"^the labels are numbers \(5, 6\) without names"):
        data(numbers, eval_path=words).train_dataloader()


def test_a_split_of_unlabelled_rows_is_one_line(tmp_path: Path, picture: Picture) -> None:
    lines = [f"{picture(f'p/{i}.png')}," for i in range(4)]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.csv").write_text(
        "\n".join(["image,label", *(f"{line}{label}" for line, label in zip(lines, ["cat", "dog"] * 2, strict=True))]), encoding="utf-8"
    )
    (tmp_path / "tables" / "test.csv").write_text("\n".join(["image,label", *lines]), encoding="utf-8")
    with pytest.raises(DataError, match=r"tables: the test split has no row with an image and a caption or label\. Set splits"):
        data(tmp_path / "tables", allow_outside=True)
    found = data(tmp_path / "tables" / "train.csv", batch_size=1, allow_outside=True)
    assert found.class_names == ["cat", "dog"]


def test_data_without_a_preprocess_is_one_line(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"^ImageTextData has no preprocess\. Pass the backbone's"):
        data(write(["x"] * 12), preprocess=None).train_dataloader()


def test_sources_are_opened_once_for_all_stages(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = data(write(["x"] * 12))
    monkeypatch.setattr("cliptune.data.opening.open_source", lambda path: pytest.fail("opened again"))
    for stage in ("fit", "validate", "test", "predict"):
        made.setup(stage)


def test_a_column_of_negatives_is_read_for_training_and_may_lack_elsewhere(write: Callable[..., Path], tmp_path: Path) -> None:
    table = write([f"a {i}" for i in range(12)], negatives=[["not this", " "], None, "nor that"[:0] or []] * 4)
    made = data(table, negative_column="negatives", batch_size=6)
    batch = next(iter(made.train_dataloader()))
    rows = made.rows("train")[[(0, i) for i in range(len(made.rows("train")))]]
    assert any(row.negatives == ["not this"] for _, _, row in rows)
    assert set(texts_of(batch["tokens"][batch["negative"]])) == {"not this"}
    with pytest.raises(DataError, match=r"has no column negative \(negative_column\)\. Did you mean negatives\?"):
        data(table, negative_column="negative")


def test_negatives_serve_pairs_only(write: Callable[..., Path]) -> None:
    table = write(["cat", "dog"] * 8, column="label")
    with pytest.raises(ConfigError, match=r"hard negatives \(negative_column, swaps\) serve Contrastive and Sigmoid"):
        data(table, swaps=2, needs="classes")
    with pytest.raises(ConfigError, match=r"swaps -1 is negative\. Take 1 to 4"):
        data(table, swaps=-1)


def test_training_images_of_each_class_are_counted(write: Callable[..., Path]) -> None:
    table = write(["cat"] * 12 + ["dog"] * 5 + ["owl"] * 3, column="label")
    made = data(table, needs="classes")
    rows = made.rows("train")
    said = [row.label for _, _, row in rows[[(0, i) for i in range(len(rows))]]]
    assert made.class_counts == [said.count(name) for name in made.class_names]
    assert data(write([f"a {i}" for i in range(12)])).class_counts is None


def test_pairs_and_classes_can_be_wanted_together(write: Callable[..., Path]) -> None:
    table = write([f"a {i}" for i in range(12)], label=["cat", "dog", None] * 4)
    made = data(table, needs=["pairs", "classes"])
    batch = next(iter(made.train_dataloader()))
    assert {"tokens", "text", "identity", "label"} <= batch.keys()
    assert -1 in torch.cat([b["label"] for b in made.train_dataloader()])
