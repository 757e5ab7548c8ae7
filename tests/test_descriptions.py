"""Descriptions of classes (CuPL's format): matched by name, as many as each class has, in class rows, training and what is saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_data import data, texts_of
from torch.nn.functional import normalize

import cliptune
from cliptune import checkpoint
from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.data.texts.descriptions import read_descriptions
from cliptune.data.texts.templates import read_templates
from cliptune.errors import CliptuneError
from cliptune.export.samples import Samples, of_digits
from cliptune.methods.base import ClassTexts, mean_rows
from cliptune.methods.full import Full
from cliptune.objectives.cross_entropy import CrossEntropy

pytest_plugins = ["made_data"]

TOLD = {"Black_Cat": ["It is black.", "A {} purrs.", "Soft paws."], "개": ["It barks."], "owl": ["It sees at night."]}
NAMES = ["black cat", "개"]
TEXTS = [["It is black.", "A black cat purrs.", "Soft paws."], ["It barks."]]


def file_of(folder: Path, told: Any) -> str:
    file = folder / "cupl.json"
    file.write_text(told if isinstance(told, str) else json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return str(file)


def test_names_match_but_for_case_and_underscores(tmp_path: Path) -> None:
    given = file_of(tmp_path, TOLD)
    assert read_descriptions(given, NAMES) == (TEXTS, f"descriptions: a name in {given} is no class of the data: owl")
    assert read_descriptions(given, NAMES[:1]).note == f"descriptions: 2 names in {given} are no classes of the data: owl, 개"
    assert read_descriptions(given, [*NAMES, "owl"]).note == ""


def test_the_very_same_name_comes_before_one_of_another_case(tmp_path: Path) -> None:
    given = file_of(tmp_path, {"crane": ["A bird."], "Crane": ["A machine."]})
    assert read_descriptions(given, ["Crane", "crane"]).texts == [["A machine."], ["A bird."]]


WRONG: dict[str, tuple[Any, list[str], str]] = {
    "missing": (
        {"tabby cat": ["x"], "dog": ["x"]},
        ["tabby cats", "dog", "tree"],
        r" has no sentences for 2 of the 3 classes: 'tabby cats' \(near: tabby cat\), 'tree'\. Add them, or name them",
    ),
    "many missing": ({"dog": ["x"]}, list("pqrst"), r" has no sentences for 5 of the 5 classes: 'p', 'q', 'r', and 2 more\. Add"),
    "none": ({"cat": ["x"], "dog": []}, ["cat"], r": what stands at 'dog' is no list of sentences\. Write one, without empty ones\.$"),
    "an empty one": ({"cat": ["x", " "]}, ["cat"], r": what stands at 'cat' is no list of sentences"),
    "one text": ({"cat": "x"}, ["cat"], r": what stands at 'cat' is no list of sentences"),
    "a list": (["x"], ["cat"], r": the file holds no map from class names to lists of sentences, such as"),
    "no json": ("{", ["cat"], r": the file is no JSON: .*\. Write a map from class names to lists of sentences\.$"),
    "deep": ("[" * 200_000, ["cat"], r": the file is no JSON: "),
    "twice": ('{"cat": ["x"], "cat": ["y"]}', ["cat"], r": 'cat' stands there twice, and only one could count\. Put them together\.$"),
    "alike": ({"black_cat": ["x"], "black cat": ["y"]}, ["black cat"], r": both 'black_cat' and 'black cat' are the class 'black cat'"),
    "no classes": ({"cat": ["x"]}, [], r" are set, but the data has no classes\. Set label_column, or leave descriptions out\.$"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line(case: str, tmp_path: Path) -> None:
    told, names, message = WRONG[case]
    with pytest.raises(CliptuneError, match=rf"^descriptions \S+cupl\.json{message}") as caught:
        read_descriptions(file_of(tmp_path, told), names)
    assert "\n" not in str(caught.value)


def test_descriptions_and_templates_together_are_refused() -> None:
    with pytest.raises(CliptuneError, match=r"^data: descriptions take the place of templates, and both are set\. Leave out one"):
        data(templates="simple", descriptions="cupl.json")


def test_each_class_has_its_own_mean(backbone: Backbone) -> None:
    classes = ClassTexts(NAMES, TEXTS, backbone.preprocess)
    with torch.no_grad():
        found = Full().class_rows(backbone, classes).rows
        by_hand = [backbone.encode_text(backbone.preprocess.tokenize(texts)).mean(dim=0) for texts in TEXTS]
    expected = torch.stack([row / row.norm() for row in by_hand])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_equal_and_unequal_counts_are_the_same_mean() -> None:
    rows = normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=-1).requires_grad_()
    found = mean_rows(rows, [3, 3, 1])
    torch.testing.assert_close(found[:2], mean_rows(rows[:6], [3, 3]))
    torch.testing.assert_close(found[2], rows[6])
    weight = torch.tensor([[1.0], [2.0], [3.0]])
    (gradient,) = torch.autograd.grad((found * weight * torch.arange(5)).sum(), rows)
    own = [normalize(part.mean(dim=0), dim=-1) for part in rows.split([3, 3, 1])]
    (expected,) = torch.autograd.grad((torch.stack(own) * weight * torch.arange(5)).sum(), rows)
    torch.testing.assert_close(gradient, expected)


# Data


@pytest.fixture
def made(write: Callable[..., Path], tmp_path: Path) -> Callable[..., Any]:
    """Data of two classes with descriptions."""
    file, told = write(["black_cat", "개"] * 10, "label"), file_of(tmp_path, TOLD)
    return lambda **options: data(str(file), descriptions=told, **options)


def test_the_data_has_them_in_place_of_templates_and_says_what_is_left_over(made: Callable[..., Any]) -> None:
    found = made()
    assert (found.class_names, found.class_texts, found.templates) == (NAMES, TEXTS, [])
    assert any(note.startswith("descriptions: ") and note.endswith("is no class of the data: owl") for note in found.notes)


def test_training_draws_one_of_the_classs_own(made: Callable[..., Any]) -> None:
    found = made()
    view = found.train_view()
    rows = [row for _, _, row in found.rows("train", images=False)[[(0, i) for i in range(6)]]]
    expected = {"black_cat": TEXTS[0], "개": TEXTS[1]}
    assert [view.options(row) for row in rows] == [expected[str(row.label)] for row in rows]
    cat = next(row for row in rows if row.label == "black_cat")
    assert {view.draw(cat, np.random.default_rng(seed)) for seed in range(20)} == set(TEXTS[0])
    batch = next(iter(found.train_dataloader()))
    plain = {text.lower().replace(".", " .") for texts in TEXTS for text in texts}
    assert set(texts_of(batch["tokens"])) <= plain


def test_half_of_the_classes_takes_the_descriptions_of_these(write: Callable[..., Path], tmp_path: Path) -> None:
    names = ["a1", "b2", "c3", "d4"]
    told = file_of(tmp_path, {name: [f"It is {name}."] * (i + 1) for i, name in enumerate(names)})
    found = data(str(write(names * 10, "label")), descriptions=told, classes="new")
    assert (found.class_names, [len(texts) for texts in found.class_texts]) == (["c3", "d4"], [3, 4])


# What is kept and used


@pytest.fixture
def model(vit: Backbone, tmp_path: Path) -> AdaptedCLIP:
    """Saved with descriptions, and loaded again."""
    method, classes = Full(), ClassTexts(NAMES, TEXTS, vit.preprocess)
    method.attach(vit, classes)
    recipe = {**checkpoint.describe(vit, method, classes, vit.fingerprint()), "objective": CrossEntropy().describe(), "schedule_start": 0}
    state = checkpoint.learned_state(method, None, vit)
    torch.save({"state_dict": state, "cliptune": recipe}, tmp_path / "model.ckpt")
    return cliptune.load(tmp_path / "model.ckpt")


def test_saved_and_loaded_the_class_rows_are_equal(model: AdaptedCLIP, vit: Backbone) -> None:
    assert (model.class_texts, model.classes.counts) == (TEXTS, [3, 1])
    with torch.no_grad():
        expected = Full().class_rows(vit, ClassTexts(NAMES, TEXTS, vit.preprocess)).rows
    assert torch.equal(model.class_rows()[1].rows, expected)


def test_classes_that_it_knows_keep_their_descriptions_and_others_get_clips_template(model: AdaptedCLIP) -> None:
    rows = model.class_rows()[1].rows
    torch.testing.assert_close(model.class_rows(["개", "black cat"])[1].rows, rows.flip(0))
    other = model.class_rows(["black cat", "ship"])[1].rows  # all alike, where one has no description
    torch.testing.assert_close(other, model.encode_texts(["a photo of a black cat.", "a photo of a ship."]))
    known = model.class_rows(["ship"], "simple")[1].rows
    assert torch.equal(known, model.class_rows(["ship"], read_templates("simple"))[1].rows)


def test_exports_are_proven_with_each_classs_own_mean(model: AdaptedCLIP) -> None:
    samples = of_digits(model, 3, "a test")
    assert samples.texts == TEXTS
    found = samples.expected(model)
    assert found["text_rows"].shape[0] == 4
    expected = torch.stack([normalize(found["text_rows"][:3].mean(dim=0), dim=-1), found["text_rows"][3]])
    assert torch.equal(samples.chosen(found, by_logits=False), (found["image_rows"] @ expected.T).argmax(dim=1))
    assert torch.equal(samples.chosen(found, by_logits=True), samples.chosen(found, by_logits=False))


@pytest.mark.parametrize(("counts", "expected"), [([300, 200, 12, 1], 3), ([600, 600, 600], 2), ([80] * 20, 6), ([1, 1], 2)])
def test_as_many_classes_are_compared_as_their_texts_allow(counts: list[int], expected: int, vit: Backbone) -> None:
    about = {"class_names": [str(i) for i in range(len(counts))], "class_texts": [["x"] * count for count in counts]}
    assert len(of_digits(AdaptedCLIP(vit, Full(), about), 1, "a test").classes) == expected
    assert isinstance(of_digits(AdaptedCLIP(vit, Full(), {"class_names": [], "class_texts": []}), 1, "a test"), Samples)
