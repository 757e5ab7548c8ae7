"""`ImageTextData` from path to batches: what is seen, that it is the same every time, and what is said of data that does not fit."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from torch import Tensor

from cliptune.data.images import ImageTextData
from cliptune.errors import CliptuneError, ConfigError, DataError
from cliptune.images import decode
from cliptune.preprocess import Preprocess

Picture = Callable[[str], Path]
PREPROCESS = Preprocess({"size": 16}, open_clip.get_tokenizer("ViT-B-32"), trim=True)


def data(path: Any = "digits", **options: Any) -> ImageTextData:
    """Data that is set up, in the main process unless said."""
    made = ImageTextData(path, **{"batch_size": 4, "workers": 0, "preprocess": PREPROCESS, **options})
    made.setup()
    return made


@pytest.fixture
def write(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Write a table of JSON lines and its pictures; a row for each of `values`, which are put into `column`."""

    def table(values: list[Any], column: str = "caption", name: str = "a.jsonl", **others: list[Any]) -> Path:
        rows = [{"image": f"pictures/{i}.png", column: value} for i, value in enumerate(values)]
        for i, row in enumerate(rows):
            picture(row["image"])
            row.update({key: listed[i] for key, listed in others.items()})
        (tmp_path / name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        return tmp_path / name

    return table


def texts_of(tokens: Tensor) -> list[str]:
    """The words of tokens, as CLIP's tokenizer spells them."""
    decoder = open_clip.get_tokenizer("ViT-B-32").decode
    return [
        decode_text.replace("<start_of_text>", "").partition("<end_of_text>")[0].strip() for decode_text in map(decoder, tokens.tolist())
    ]


def names_of(made: ImageTextData, split: str) -> list[str]:
    """The image files of a split, in order."""
    rows = made.rows(split)
    return [Path(row.key).name for _, _, row in rows[[(0, i) for i in range(len(rows))]]]


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

    def elsewhere(image: bytes | str, name: str) -> Tensor:
        assert os.getpid() != main
        return decode(image, name)

    monkeypatch.setattr("cliptune.data.views.decode", elsewhere)
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


# Splits and sources


def test_held_out_splits_are_disjoint_and_said(write: Callable[..., Path]) -> None:
    file = write([f"a {i}" for i in range(20)])
    made = data(file)
    found = {split: names_of(made, split) for split in ("train", "validation", "test")}
    assert [len(names) for names in found.values()] == [16, 2, 2]
    assert len({name for names in found.values() for name in names}) == 20
    assert made.notes == [f"{file}: no validation and no test split: 2 images of train held out for each (seed 0)"]
    assert names_of(data(file), "test") == found["test"] != names_of(data(file, seed=1), "test")


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
    made = data(str(tmp_path / "tables"))
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
    assert data(file, seed=1).fingerprint() != before  # other rows are held out
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


# Errors


def see_all(made: ImageTextData) -> None:
    for loader in (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()):
        list(loader)


def test_an_unreadable_image_is_one_line_that_names_it(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(["x"] * 12)
    bad = tmp_path / "pictures" / "7.png"
    bad.write_bytes(bad.read_bytes()[:60])
    for workers in (0, 1):
        made = data(file, workers=workers, batch_size=10)
        with pytest.raises(DataError, match=rf"cannot decode the image {bad}: .+\. Mend it, or take its row out of the data\.") as caught:
            see_all(made)
        line = str(caught.value).strip().splitlines()[-1]  # torch puts the worker's traceback before it
        assert line.removeprefix("cliptune.errors.DataError: ").startswith("cannot decode the image ")


def test_an_unreadable_image_in_the_table_is_named_by_its_row(picture: Picture, tmp_path: Path) -> None:
    images = [picture(f"{i}.png").read_bytes() for i in range(6)]
    splits = {"train": images, "validation": images[:1], "test": [*images[:2], b"junk"]}
    for split, part in splits.items():
        Dataset.from_dict({"image": part, "text": ["x"] * len(part)}).to_parquet(tmp_path / f"{split}.parquet")
    for name in range(6):
        (tmp_path / f"{name}.png").unlink()
    with pytest.raises(DataError, match=rf"^cannot decode the image {tmp_path}/test:2: it is no image of a known kind\."):
        list(data(tmp_path).test_dataloader())


def test_a_missing_image_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write(["x"] * 12)
    (tmp_path / "pictures" / "3.png").unlink()
    made = data(file, batch_size=10)
    with pytest.raises(DataError, match=r"^cannot read the image .*pictures/3\.png: No such file"):
        see_all(made)


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
        data(tmp_path / "tables")
    assert data(tmp_path / "tables", splits={"test": "train"}, batch_size=1).class_names == ["cat", "dog"]


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
