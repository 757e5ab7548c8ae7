"""`ImageTextData` from path to batches: what is seen, that it is the same every time, and what is said of data that does not fit."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, Image
from made_data import Picture, data, names_of, texts_of
from torch import Tensor

from cliptune.data.images import ImageTextData
from cliptune.images import decode
from cliptune.preprocess import Preprocess

pytest_plugins = ["made_data"]


# Batches


def test_the_digits_are_a_source_like_any_other() -> None:
    made = data(batch_size=64)
    assert [len(made.rows(split)) for split in ("train", "validation", "test")] == [1079, 359, 359]
    assert made.class_names == ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert len(made.train_dataloader()) == 16
    batch = next(iter(made.train_dataloader()))
    spoken = texts_of(batch["tokens"][batch["text"]])
    assert spoken == [f"a photo of a {made.class_names[label]} ." for label in batch["label"]]


def test_evaluation_sees_every_row_of_its_split_once_and_in_order() -> None:
    made = data(batch_size=100)
    for split, loader in (("validation", made.val_dataloader()), ("test", made.test_dataloader()), ("test", made.predict_dataloader())):
        batches = list(loader)
        assert torch.cat([batch["row"] for batch in batches]).tolist() == list(range(359))
        labels = [row.label for _, _, row in made.rows(split)[[(0, i) for i in range(359)]]]
        assert [made.class_names[i] for i in torch.cat([batch["label"] for batch in batches])] == labels


def epoch_of(made: ImageTextData, *epochs: int) -> list[list[dict[str, Tensor]]]:
    loader = made.train_dataloader()
    found = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # as Lightning does
        found.append(list(loader))
    return found


def equal(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_is_the_same_every_time_and_another_epoch_is_another(write: Callable[..., Path], workers: int) -> None:
    file = write([[f"a {i}", f"고양이 {i}"] for i in range(14)])
    options: dict[str, Any] = {"crop_scale": (0.3, 1.0), "flip": 0.5, "seed": 7}
    first, again, other = epoch_of(data(file, workers=workers, **options), 3, 3, 4)
    assert len(first) == 3
    assert equal(first, again)
    assert not equal(first, other)
    torch.manual_seed(99)  # a resumed run has drawn other global numbers
    assert equal(first, epoch_of(data(file, **options), 3)[0])
    assert not equal(first, epoch_of(data(file, **{**options, "seed": 8}), 3)[0])


def test_loaders_leave_the_global_random_numbers_alone() -> None:
    made = data()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(iter(made.train_dataloader()))
    next(iter(made.val_dataloader()))
    assert torch.equal(torch.rand(3), expected)


def test_images_are_decoded_in_worker_processes_only(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    main = os.getpid()

    def elsewhere(self: Preprocess, image: bytes | str, name: str) -> Tensor:
        assert os.getpid() != main
        return decode(image, name)

    monkeypatch.setattr(Preprocess, "decode", elsewhere)
    monkeypatch.setattr(Image, "decode_example", lambda *_, **__: pytest.fail("datasets decoded an image"))
    made = data(write([f"a {i}" for i in range(12)]), workers=1)
    assert next(iter(made.train_dataloader()))["images"].shape == (4, 3, 16, 16)
    assert next(iter(made.val_dataloader()))["images"].shape == (1, 3, 16, 16)
    with pytest.raises(AssertionError):
        next(iter(data(made.paths, workers=0).train_dataloader()))


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (64, 8)])
def test_by_default_one_core_is_left_to_the_training(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert ImageTextData().workers == workers


# Texts


def test_a_caption_is_drawn_for_each_epoch_and_all_are_used_in_evaluation(write: Callable[..., Path]) -> None:
    made = data(write([["one", "two", "three"]] * 12), batch_size=10)
    epochs = epoch_of(made, *range(3))
    for [batch] in epochs:
        assert set(texts_of(batch["tokens"])) <= {"one", "two", "three"}
    drawn = [dict(zip(b["row"].tolist(), texts_of(b["tokens"][b["text"]]), strict=True)) for [b] in epochs]
    assert drawn[0] != drawn[1]
    assert made.has_captions
    [batch] = made.val_dataloader()
    assert texts_of(batch["tokens"]) == ["one", "two", "three"]
    assert batch["owner"].tolist() == [0, 0, 0]


def test_templates_turn_labels_into_texts(write: Callable[..., Path]) -> None:
    file = write(["black_cat", "개"] * 6, "label")
    made = data(file, templates=["a {}", "{} 사진"])
    assert made.class_texts == [["a black cat", "black cat 사진"], ["a 개", "개 사진"]]
    assert data(file, templates="only {}").class_texts == [["only black cat"], ["only 개"]]
    spoken = {text for [*batches] in epoch_of(made, 0, 1, 2, 3) for batch in batches for text in texts_of(batch["tokens"])}
    assert spoken == {"a black cat", "black cat 사진", "a 개", "개 사진"}
    assert not made.has_captions
    assert "tokens" not in next(iter(made.val_dataloader()))


def test_captions_go_before_labels_which_still_count(write: Callable[..., Path]) -> None:
    made = data(write([f"caption {i}" for i in range(12)], label=["cat", "dog"] * 6))
    batch = next(iter(made.train_dataloader()))
    assert all(text.startswith("caption") for text in texts_of(batch["tokens"]))
    assert batch["label"].tolist() == [row % 2 for row in [int(name.removesuffix(".png")) for name in _files(made, batch["row"])]]
    without = next(iter(data(made.paths, caption_column=None).train_dataloader()))
    assert set(texts_of(without["tokens"])) <= {"a photo of a cat .", "a photo of a dog ."}


def _files(made: ImageTextData, rows: Tensor) -> list[str]:
    return [Path(row.key).name for _, _, row in made.rows("train")[[(0, int(row)) for row in rows]]]


def test_everything_may_be_in_korean(tmp_path: Path, picture: Picture) -> None:
    lines = ["그림,설명,종류,분할"]
    for i, split in enumerate(["학습"] * 6 + ["검증"] * 2 + ["시험"] * 2):
        picture(f"자료 모음/그림 폴더/{i}번.png")
        lines.append(f'그림 폴더/{i}번.png,"고양이 {i}, 자는 중",{["고양이", "강아지"][i % 2]},{split}')
    file = tmp_path / "자료 모음" / "표.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    columns = {"image_column": "그림", "caption_column": "설명", "label_column": "종류", "split_column": "분할"}
    made = data(str(file), splits={"train": "학습", "validation": "검증", "test": "시험"}, templates="{} 사진", **columns)
    assert made.class_texts == [["강아지 사진"], ["고양이 사진"]]
    assert names_of(made, "test") == ["8번.png", "9번.png"]
    [batch] = made.test_dataloader()
    assert texts_of(batch["tokens"]) == ["고양이 8 , 자는 중", "고양이 9 , 자는 중"]
    assert next(iter(made.train_dataloader()))["images"].shape == (4, 3, 16, 16)


@pytest.mark.parametrize("given", ["list", "file"])
def test_numbers_take_their_words_from_class_names(write: Callable[..., Path], tmp_path: Path, given: str) -> None:
    file = write([i % 2 for i in range(12)], "label")
    (tmp_path / "names.txt").write_text("고양이\n개\n", encoding="utf-8")
    made = data(file, class_names=["고양이", "개"] if given == "list" else str(tmp_path / "names.txt"))
    assert made.class_names == ["고양이", "개"]
    assert set(next(iter(made.train_dataloader()))["label"].tolist()) == {0, 1}


# Classes without texts


def test_classes_need_a_label_for_each_training_row_and_no_texts(write: Callable[..., Path]) -> None:
    made = data(write([f"a {i}" for i in range(30)], label=["cat", None, "dog"] * 10), needs="classes")
    batches = list(made.train_dataloader())
    assert batches
    assert all(set(batch) == {"images", "label", "row"} for batch in batches)
    assert min(int(batch["label"].min()) for batch in batches) == 0
    assert "rows without an image or without a caption or label are left out" in made.notes[0]


def test_numbers_without_names_beside_captions_are_no_classes(write: Callable[..., Path]) -> None:
    made = data(write(["x", "y"] * 10, label=[0, 1] * 10))
    assert made.class_names == []
    assert "labels are numbers without names: not used; set class_names to use them" in made.notes
    batch = next(iter(made.train_dataloader()))
    assert batch["label"].tolist() == [-1] * 4
    assert batch["identity"][:, 0].tolist() == [-1] * 4


# The fingerprint


def test_the_fingerprint_changes_with_the_data_and_not_with_its_place(write: Callable[..., Path], tmp_path: Path) -> None:
    rows = [f"a {i}" for i in range(20)]
    before = data(write(rows)).fingerprint()
    assert data(write(rows)).fingerprint() == before
    others = [[*rows, "one more"], ["changed", *rows[1:]]]
    assert len({before, *(data(write(other)).fingerprint() for other in others)}) == 3
    file = write(rows)
    assert data(file, seed=1).fingerprint() == before  # the same rows are held out
    moved = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name} moved"))
    assert data(moved / file.name).fingerprint() == before


def test_the_fingerprint_changes_with_the_bytes_of_an_image_and_with_a_label(picture: Picture) -> None:
    def made(first: str, label: str) -> str:
        images = [picture(first).read_bytes(), *(picture(f"{i}.png").read_bytes() for i in range(9))]
        table = Dataset.from_dict({"image": images, "label": [label, "dog"] * 5})
        file = picture("x.png").with_name("a.parquet")
        table.to_parquet(file)
        return data(file).fingerprint()

    assert len({made("a.png", "cat"), made("b.png", "cat"), made("a.png", "fox")}) == 3
