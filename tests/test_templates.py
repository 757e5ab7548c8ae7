"""Templates: one, several, known lists and files; and class rows against open_clip's own builder of zero-shot classifiers."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.data.texts.templates import TEMPLATE, read_templates, shared_templates, template_of
from cliptune.errors import CliptuneError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full

NAMES = ["red panda", "ship", "a {curly} name"]


def test_templates_are_one_or_many() -> None:
    assert read_templates(TEMPLATE) == ["a photo of a {}."]
    assert read_templates(["{} 사진", "그림 속의 {}"]) == ["{} 사진", "그림 속의 {}"]


@pytest.mark.parametrize(
    ("name", "theirs"), [("imagenet", open_clip.OPENAI_IMAGENET_TEMPLATES), ("simple", open_clip.SIMPLE_IMAGENET_TEMPLATES)]
)
def test_known_lists_say_what_open_clips_say(name: str, theirs: tuple[Callable[[str], str], ...]) -> None:
    found = read_templates(name)
    assert [template.replace("{}", "ship") for template in found] == [make("ship") for make in theirs]
    assert read_templates([name]) == found  # as the command line gives a list of one


def test_a_file_is_a_json_list_or_a_template_per_line(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\ufeffa {}.\n\n  {} 사진  \n", encoding="utf-8")
    (tmp_path / "own.json").write_text(json.dumps(["a {}.", "{} 사진"]), encoding="utf-8")
    assert read_templates(str(tmp_path / "own.txt")) == read_templates(str(tmp_path / "own.json")) == ["a {}.", "{} 사진"]


WRONG = {
    "no place": ("a photo", r"^template 'a photo' has no \{\} for the class name\. Write it as 'a photo of a \{\}\.', or take a list: "),
    "a field": (["a {}", "a {name}"], r"^template 'a \{name\}' has no \{\} for the class name\. Write it as"),
    "none": ([], r"^templates is empty\. Give at least one, such as 'a photo of a \{\}\.'\.$"),
    "near": ("imagnet", r"^template 'imagnet' has no \{\} for the class name\. Did you mean imagenet\?$"),
    "a list among others": (["a {}", "imagenet"], r"^template 'imagenet' has no \{\}"),
    "no file": ("nowhere.txt", r"^templates nowhere\.txt: there is no such file\. Give a list, or a file with a template per line\.$"),
    "a line without a place": ("bad.txt", r"^template 'a photo' has no \{\}"),
    "empty": ("empty.txt", r"^templates empty\.txt: the file holds no list of templates\. Write a JSON list, or"),
    "json": ("map.json", r"^templates map\.json: the file holds no list of templates"),
    "no json": ("no.json", r"^templates no\.json: the file is no JSON: .*\. Write a list of templates\.$"),
    "no text": ("picture.txt", r"^templates picture\.txt: the file is no UTF-8 text\. Save it as UTF-8\.$"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_template_is_one_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"bad.txt": "a {}\na photo\n", "empty.txt": "\n", "map.json": '{"a": "a {}"}', "no.json": '["a {}"'}.items():
        Path(name).write_text(text, encoding="utf-8")
    Path("picture.txt").write_bytes(b"\xff\xd8\xff\xe0")
    given, message = WRONG[case]
    with pytest.raises(CliptuneError, match=message) as caught:
        read_templates(given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("name", ["imagenet", "simple"])
def test_class_rows_are_those_of_open_clips_builder(backbone: Backbone, name: str) -> None:
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES if name == "imagenet" else open_clip.SIMPLE_IMAGENET_TEMPLATES
    theirs = open_clip.build_zero_shot_classifier(backbone.model, backbone.preprocess.tokenizer, NAMES, templates).T
    texts = [[template.replace("{}", each) for template in read_templates(name)] for each in NAMES]
    torch.testing.assert_close(Full().class_rows(backbone, ClassTexts(NAMES, texts, backbone.preprocess)).rows, theirs, rtol=0, atol=2e-6)


def test_the_data_takes_them_by_name_and_a_source_too() -> None:
    made = ImageTextData("digits", templates="imagenet", workers=0)
    assert len(made.class_texts) == 0
    made.setup()
    assert [len(texts) for texts in made.class_texts] == [80] * 10
    assert made.class_texts[0][0].startswith("a bad photo of a ")
    source = ImageTextData(sources=[{"path": "digits", "templates": "simple"}], needs="classes", workers=0)
    row = source.rows("train", images=False)[[(0, 0)]][0][2]
    assert row.templates == tuple(read_templates("simple"))


# Read off texts


@pytest.mark.parametrize("template", ["a photo of a {}.", "a {} and a {}", "{}", "{} photo"])
def test_templates_are_read_off_the_texts(template: str) -> None:
    names = ["photo", "a", "red panda"]
    assert template_of(names, [template.replace("{}", name) for name in names]) == template


def test_a_name_in_a_name_does_not_hide_the_template() -> None:
    assert template_of(["b", "a a", "a"], ["b or b: a b.", "a a or a a: a a a.", "a or a: a a."]) == "{} or {}: a {}."


@pytest.mark.parametrize("texts", [["a cat", "the dog"], ["something", "else"], ["a cat", ""]])
def test_texts_of_no_template_have_none(texts: list[str]) -> None:
    assert template_of(["cat", "dog"], texts) is None


def test_all_classes_share_templates_or_there_are_none() -> None:
    assert shared_templates(["cat", "dog"], [["a cat", "cat?"], ["a dog", "dog?"]]) == ["a {}", "{}?"]
    assert shared_templates(["cat", "dog"], [["a cat", "It purrs."], ["a dog", "It barks."]]) is None
    assert shared_templates(["cat", "dog"], [["a cat", "cat?"], ["a dog"]]) is None
