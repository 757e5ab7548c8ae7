"""Tests of `ImageTextData`: splits, several sources, what is left out and said."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from made_data import Picture, data, names_of, texts_of
from torch import Tensor

from cliptune.errors import DataError

pytest_plugins = ["made_data"]


def test_held_out_splits_are_disjoint_and_said(write: Callable[..., Path]) -> None:
    file = write([f"a {i}" for i in range(20)])
    made = data(file)
    found = {split: names_of(made, split) for split in ("train", "validation", "test")}
    assert [len(names) for names in found.values()] == [16, 2, 2]
    assert len({name for names in found.values() for name in names}) == 20
    assert made.notes == [f"{file}: no validation and no test split: 2 images of train held out for each, the same for every seed"]


def test_what_is_held_out_is_the_same_for_every_seed(write: Callable[..., Path]) -> None:
    file = write([f"a {i}" for i in range(20)], label=["cat", "dog"] * 10)
    first, second = (data(file, seed=seed) for seed in (0, 1))
    for split in ("validation", "test"):
        assert names_of(first, split) == names_of(second, split)
    few = [data(file, seed=seed, shots=3, needs="classes") for seed in (0, 1)]
    assert names_of(few[0], "test") == names_of(few[1], "test") == names_of(first, "test")
    assert set(names_of(few[0], "train")) != set(names_of(few[1], "train"))


@pytest.mark.parametrize("needs", ["pairs", "classes"])
def test_the_same_rows_are_held_out_for_every_objective(write: Callable[..., Path], needs: str) -> None:
    labels = ["cat", None, "dog"] * 10
    file = write([f"a {i}" for i in range(30)], label=labels)
    pairs, made = data(file), data(file, needs=needs)
    assert names_of(pairs, "validation") + names_of(pairs, "test") == names_of(made, "validation") + names_of(made, "test")
    assert len(pairs.rows("train")) == 24


def test_a_source_listed_twice_is_seen_twice_in_training_and_once_in_evaluation(write: Callable[..., Path]) -> None:
    file = str(write([["one", "two"]] * 20))
    once, twice = data(file), data([file, file], batch_size=32)
    assert sorted(names_of(twice, "train")) == sorted(names_of(once, "train") * 2)
    assert names_of(twice, "test") == names_of(once, "test")
    [batch] = twice.train_dataloader()
    assert batch["row"].unique().numel() == 32
    assert batch["identity"][:, 2].unique().numel() == 16  # the same image is no negative of itself
    views: dict[int, list[Tensor]] = {}
    for image, identity in zip(batch["images"], batch["identity"][:, 2].tolist(), strict=True):
        views.setdefault(identity, []).append(image)
    assert any(not torch.equal(*pair) for pair in views.values())  # but another view


def test_eval_path_is_where_validation_and_test_come_from(write: Callable[..., Path]) -> None:
    train, other = str(write(["a photo"] * 20)), str(write(["cat", "dog"] * 10, "label", "b.jsonl"))
    made = data(train, eval_path=other)
    assert len(made.rows("train")) == 16
    assert names_of(made, "test") == names_of(data(other), "test")
    assert made.class_names == ["cat", "dog"]
    assert not made.has_captions


def test_a_source_may_have_other_classes_than_evaluation_where_texts_are_learned(write: Callable[..., Path]) -> None:
    train, other = str(write(["red_fox", "cat"] * 10, "label")), str(write(["cat", "dog"] * 10, "label", "b.jsonl"))
    made = data([train, other], eval_path=other, batch_size=32)
    assert made.class_names == ["cat", "dog"]
    [batch] = made.train_dataloader()
    spoken = texts_of(batch["tokens"][batch["text"]])
    assert {(label, text) for label, text in zip(batch["label"].tolist(), spoken, strict=True)} == {
        (0, "a photo of a cat ."),
        (1, "a photo of a dog ."),
        (2, "a photo of a red fox ."),
    }
    with pytest.raises(
        DataError, match=r"^the training label 'red_fox' is no class of .*b\.jsonl\. Train on the same classes, or with Contr"
    ):
        data([train, other], eval_path=other, needs="classes").train_dataloader()


def test_sources_with_other_classes_are_evaluated_together(write: Callable[..., Path]) -> None:
    one, two = str(write(["fox", "cat"] * 10, "label")), str(write(["cat", "dog"] * 10, "label", "b.jsonl"))
    made = data([one, two], needs="classes", batch_size=32)
    assert made.class_names == ["cat", "dog", "fox"]
    [batch] = made.train_dataloader()
    assert set(batch["label"].tolist()) == {0, 1, 2}


def test_captions_and_labels_can_be_mixed(write: Callable[..., Path]) -> None:
    one, two = str(write(["a caption"] * 20)), str(write(["cat", "dog"] * 10, "label", "b.jsonl"))
    made = data([one, two], batch_size=32)
    [batch] = made.train_dataloader()
    assert set(texts_of(batch["tokens"])) == {"a caption", "a photo of a cat .", "a photo of a dog ."}
    assert not made.has_captions


def test_a_file_of_a_split_may_have_its_pictures_beside_it(tmp_path: Path, picture: Picture) -> None:
    for split in ("train", "val"):
        for i in range(6):
            picture(f"pictures/{split}/{i}.png")
        (tmp_path / "tables" / split).mkdir(parents=True)
        lines = ["image,text", *(f"../../pictures/{split}/{i}.png,{split} {i}" for i in range(6))]
        (tmp_path / "tables" / split / "part1.csv").write_text("\n".join(lines), encoding="utf-8")
    made = data(str(tmp_path / "tables"), allow_outside=True)
    assert (len(made.rows("train")), len(made.rows("validation")), len(made.rows("test"))) == (5, 6, 1)
    next(iter(made.train_dataloader()))
    assert texts_of(next(iter(made.val_dataloader()))["tokens"]) == [f"val {i}" for i in range(4)]


def test_a_hub_id_is_read_by_the_same_key(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    features = Features({"img": Image(), "fine_label": ClassLabel(names=["zebra", "ant"])})
    images = [{"bytes": picture(f"{i}.png").read_bytes(), "path": None} for i in range(8)]
    table = Dataset.from_dict({"img": images, "fine_label": [0, 1] * 4}, features=features)
    hidden = Dataset.from_dict({"img": images[:1], "fine_label": [1]}, features=features)
    monkeypatch.setattr("datasets.load_dataset", lambda name: DatasetDict(train=table, test=hidden) if name == "someone/animals" else None)
    made = data("someone/animals")
    assert made.class_names == ["zebra", "ant"]
    assert [len(made.rows(split)) for split in ("train", "validation", "test")] == [7, 1, 1]
    assert made.test_dataloader().__iter__().__next__()["label"].tolist() == [1]


def test_a_path_object_is_a_path(write: Callable[..., Path]) -> None:
    file = write(["x"] * 12)
    assert data(file).paths == data([file]).paths == [str(file)]


def test_rows_that_cannot_be_used_are_left_out_before_any_are_held_out_and_said(write: Callable[..., Path]) -> None:
    file = write([f"a {i}" if i < 10 else ["", None, "  "][i % 3] for i in range(40)])
    made = data(file)
    assert sorted(int(name.removesuffix(".png")) for split in ("train", "validation", "test") for name in names_of(made, split)) == [
        *range(10)
    ]
    assert made.notes[0].endswith("; 30 rows without an image or without a caption or label are left out")


def test_what_is_said_is_logged_too(write: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="cliptune.data.images"):
        made = data(write(["x"] * 12))
    assert [record.getMessage() for record in caplog.records if record.name == "cliptune.data.images"] == made.notes != []
