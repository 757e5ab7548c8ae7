"""`cliptune predict`'s machinery: the same answers as `classify`, whatever the format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from predicted import adapted, predict, table_of
from safetensors.numpy import load_file

from cliptune import predicting
from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.errors import CliptuneError
from cliptune.main import main
from cliptune.methods.base import ClassRows, ClassTexts
from cliptune.predicting import Predicted

pytest_plugins = ["predicted"]
pytestmark = pytest.mark.usefixtures("elsewhere")


# What is written


def test_labels_and_scores_are_those_of_classify(model: AdaptedCLIP, pics: list[str]) -> None:
    found, expected = predict(model, "out.csv"), model.classify(pics)
    assert found == Predicted(11, 2, None, 0, 0, found.images_per_second, [Path("out.csv"), Path("out.failed.csv")])
    assert found.images_per_second > 0
    rows = table_of("out.csv")
    assert list(rows[0]) == ["name", "predicted", "probability"]
    assert [row["name"] for row in rows] == pics
    assert [row["predicted"] for row in rows] == expected.names
    assert len(set(expected.names)) > 1
    np.testing.assert_allclose([float(row["probability"]) for row in rows], expected.probabilities.max(dim=1).values, atol=1e-6)
    assert [(row["name"], row["why"].split(": ")[1].split(".")[0]) for row in table_of("out.failed.csv")] == [
        ("pics/3a.png", "it is no image of a known kind"),
        ("pics/9a.jpg", "the file is empty"),
    ]
    assert sorted(file.name for file in Path().iterdir()) == ["out.csv", "out.failed.csv", "pics"]


def test_own_words_with_own_templates_the_likeliest_first(model: AdaptedCLIP, pics: list[str]) -> None:
    words = ["ship", "car", "고양이, 둘", "tree"]
    predict(model, "out.jsonl", classes=words, templates=["a {}"], top_k=3)
    expected = model.classify(pics, words, ["a {}"]).probabilities.sort(dim=1, descending=True)
    rows = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(rows[0]) == ["name", "predicted", "probability", "predicted_2", "probability_2", "predicted_3", "probability_3"]
    for k, suffix in enumerate(["", "_2", "_3"]):
        assert [row[f"predicted{suffix}"] for row in rows] == [words[i] for i in expected.indices[:, k].tolist()]
        np.testing.assert_allclose([row[f"probability{suffix}"] for row in rows], expected.values[:, k], atol=1e-6)


def test_the_three_formats_of_labels_say_the_same(model: AdaptedCLIP, pics: list[str]) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        predict(model, f"out.{suffix}", top_k=2)
    plain = pq.read_table("out.parquet").to_pylist()
    lines = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["name"] for row in plain] == pics
    for rows in (lines, table_of("out.csv")):
        assert [{key: np.float32(value) if "prob" in key else value for key, value in row.items()} for row in rows] == plain


def test_rows_are_those_of_encode_images_in_every_format(model: AdaptedCLIP, pics: list[str]) -> None:
    expected = model.encode_images(pics)
    found = [predict(model, f"out.{suffix}", rows=True) for suffix in ("npy", "safetensors", "parquet")]
    assert [result.files[0].name for result in found] == ["out.npy", "out.safetensors", "out.parquet"]
    assert [len(result.files) for result in found] == [3, 3, 2]
    table = pq.read_table("out.parquet")
    assert table.column_names == ["name", "features"]
    assert table["name"].to_pylist() == pics
    for rows in (np.load("out.npy"), load_file("out.safetensors")["features"], np.array(table["features"].to_pylist(), np.float32)):
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert [(row["row"], row["name"]) for row in table_of("out.names.csv")] == [(str(i), name) for i, name in enumerate(pics)]


def test_rows_need_no_classes_and_a_suffix_that_holds_nothing_else_suffices(vit: Backbone, pics: list[str]) -> None:
    assert predict(adapted(vit, []), "out.npy").count == 11


def test_only_images_that_cannot_be_read_give_an_empty_file(model: AdaptedCLIP, pics: list[str]) -> None:
    found = predict(model, "out.csv", "pics/3a.png", "pics/9a.jpg")
    assert (found.count, found.failed, Path("out.csv").read_text()) == (0, 2, "name,predicted,probability\n")
    assert predict(model, "out.npy", "pics/3a.png").count == 0
    assert np.load("out.npy").shape == (0, 24)


def test_class_rows_are_computed_once(model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = model.method.class_rows

    def counted(backbone: Backbone, classes: ClassTexts) -> ClassRows:
        calls.append(len(classes))
        return real(backbone, classes)

    monkeypatch.setattr(model.method, "class_rows", counted)
    predict(model, "out.csv")
    assert calls == [3]


def test_towers_multiply_in_the_precision_that_is_asked_for_and_are_as_before_afterwards(model: AdaptedCLIP, pics: list[str]) -> None:
    whole, names = model.encode_images(pics), [name for name, _ in model.backbone.named_modules()]
    with model.in_precision("bf16-mixed"):
        half, words = model.encode_images(pics), model.class_rows()[1].rows
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.norm(dim=1), torch.ones(11))
    torch.testing.assert_close(half, whole, rtol=0, atol=0.02)
    assert not torch.equal(half, whole)
    assert not torch.equal(words, model.class_rows()[1].rows)
    assert torch.equal(model.encode_images(pics), whole)
    assert [name for name, _ in model.backbone.named_modules()] == names
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model.encode_images(pics), whole)  # around it, somebody else's holds
    with pytest.raises(CliptuneError, match="precision fp16 is neither 32-true nor bf16-mixed"), model.in_precision("fp16"):
        pass
    predict(model, "half.npy", precision="bf16-mixed")
    np.testing.assert_allclose(np.load("half.npy"), half, atol=0.01)
    predict(model, "whole.npy")
    np.testing.assert_allclose(np.load("whole.npy"), whole, atol=1e-6)


@pytest.mark.parametrize(("words", "expected"), [([], "bf16-mixed"), (["--precision", "32-true"], "32-true")])
def test_the_commands_multiply_as_fit_and_test_do_unless_told_otherwise(
    tiny: dict[str, str], pics: list[str], monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    asked: list[str] = []
    real = AdaptedCLIP.in_precision
    monkeypatch.setattr("cliptune.devices.default_precision", lambda accelerator: "bf16-mixed")
    monkeypatch.setattr(AdaptedCLIP, "in_precision", lambda model, precision: asked.append(precision) or real(model, precision))
    common = [tiny["vit"], "pics", "--device", "cpu", *words]
    assert main(["predict", *common, "--classes", "a, b", "--output", "out.csv"]) == 0
    assert main(["index", *common, "--output", "found"]) == 0
    assert {*asked} == {expected}
    assert len(asked) >= 2


# Labels that the source has


def test_right_answers_are_counted_among_images_of_known_classes(model: AdaptedCLIP, pics: list[str]) -> None:
    said = model.classify(pics).names
    truth = [said[0], said[1], "cat" if said[2] != "cat" else "dog", "", "red_panda", "bird", *said[6:]]
    lines = [f"{name},{word}" for name, word in zip(pics, truth, strict=True)]
    Path("t.csv").write_text("\n".join(["image,label", *lines, "pics/3a.png,cat"]))
    found = predict(model, "out.csv", "t.csv")
    right = 2 + (said[4] == "red panda") + 5
    assert (found.count, found.failed, found.labelled, found.correct) == (11, 1, 9, right)
    assert [row["label"] for row in table_of("out.csv")] == [*truth[:4], "red panda", "bird", *truth[6:]]


def test_labels_that_are_numbers_count_into_the_classes(model: AdaptedCLIP, pics: list[str]) -> None:
    Path("t.csv").write_text("\n".join(["image,label", *(f"{name},{i}" for i, name in enumerate(pics[:4]))]))
    found = predict(model, "out.csv", "t.csv")
    assert [row["label"] for row in table_of("out.csv")] == ["cat", "dog", "red panda", "3"]
    assert found.labelled == 3
    predict(model, "out.safetensors", "t.csv")
    assert load_file("out.safetensors")["labels"].tolist() == [0, 1, 2, 3]


def test_images_without_labels_beside_labelled_ones(model: AdaptedCLIP, pics: list[str]) -> None:
    Path("t.csv").write_text(f"image,label\n{pics[0]},cat\n")
    found = predict(model, "out.jsonl", "t.csv", pics[1])
    labels = [json.loads(line)["label"] for line in Path("out.jsonl").read_text().splitlines()]
    assert (labels, found.labelled) == (["cat", None], 1)


# Errors and progress


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        (
            "out.xls",
            {},
            r"^output out\.xls: files that end in \.xls are not written\. Can be \.csv, \.jsonl, \.parquet for labels, \.npy, ",
        ),
        ("out", {}, r"^output out: files that end in nothing are not written\."),
        ("out.csv", {"rows": True}, r"^output out\.csv: rows are not written as \.csv\. Can be "),
        ("out.npy", {"classes": ["a"]}, r"^classes is of no use for rows, which out\.npy is to hold\. Leave it out\."),
        ("out.npy", {"top_k": 2}, r"^top_k is of no use for rows"),
        ("out.csv", {"top_k": 4}, r"^top_k 4 is not in 1\.\.3, the number of classes\. Take one of these\.$"),
        ("out.csv", {"top_k": 0}, r"^top_k 0 is not in 1\.\.3"),
        ("out.csv", {"classes": ["a", "b", "a"]}, r"^classes holds 'a' twice\. Give each class a name of its own\.$"),
        ("out.csv", {"classes": ["a", " "]}, r"^classes holds ' ' as a name\."),
        ("out.csv", {"templates": ["a photo"]}, r"^template 'a photo' has no \{\} for the class name\."),
        ("out.csv", {"batch_size": 0}, r"^batch_size 0 is not positive\. Take 64\.$"),
        ("out.csv", {"workers": 0}, r"^workers 0 is not positive\."),
        ("there.csv", {}, r"^output there\.csv is there already\. Give another output, or --overwrite it\.$"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    model: AdaptedCLIP, pics: list[str], output: str, options: dict[str, Any], message: str
) -> None:
    Path("there.csv").write_text("old")
    with pytest.raises(CliptuneError, match=message) as caught:
        predict(model, output, **options)
    assert "\n" not in str(caught.value)
    assert sorted(file.name for file in Path().iterdir()) == ["pics", "there.csv"]
    assert Path("there.csv").read_text() == "old"


def test_an_output_that_is_there_is_told_before_the_inputs_are_looked_at(model: AdaptedCLIP) -> None:
    Path("out.csv").write_text("old")
    with pytest.raises(CliptuneError, match=r"^output out\.csv is there already"):
        predict(model, "out.csv", "gone.png")


def test_no_classes_known_and_none_given_says_what_to_give(vit: Backbone, pics: list[str]) -> None:
    with pytest.raises(
        CliptuneError, match=r"^no classes are known: the model was adapted without\. Give --classes 'a cat, a dog', or --rows\.$"
    ):
        predict(adapted(vit, []), "out.csv")
    assert predict(adapted(vit, []), "out.csv", classes=["a cat"]).count == 11


def test_an_output_that_is_there_is_replaced_where_that_is_wanted(model: AdaptedCLIP, pics: list[str]) -> None:
    Path("out.csv").write_text("old")
    predict(model, "out.csv", overwrite=True)
    assert [row["name"] for row in table_of("out.csv")] == pics


def test_without_a_terminal_progress_is_lines(
    model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predicting, "LINE_SECONDS", 0.0)
    predict(model, "out.csv", batch_size=5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" images, ")[0] for line in lines] == ["5 of 13", "10 of 13", "13 of 13"]
    assert lines[2].endswith(" images/s, 2 cannot be read")
