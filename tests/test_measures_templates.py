"""Which template helps: against open_clip's own zero-shot classifiers, and what is said of the best one."""

from typing import Any

import open_clip
import pytest
import torch
from conftest import images_for
from predicted import NAMES, TEMPLATES, adapted
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.measures.templates import template_hint, template_scores
from cliptune.methods.base import ClassTexts, Method
from cliptune.methods.linear_probe import LinearProbe
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning


def data_of(templates: list[str]) -> ImageTextData:
    """Of three classes; never opened."""
    made = ImageTextData("digits", templates=templates)
    made.class_names = NAMES
    return made


def given(backbone: Backbone) -> tuple[AdaptedCLIP, Tensor, Tensor]:
    model = adapted(backbone, NAMES)
    label = torch.randint(-1, 3, (40,), generator=torch.Generator().manual_seed(1))
    return model, model.encode_pixels(images_for(backbone, 40)), label


def test_each_template_and_all_together_are_open_clips_classifiers(vit: Backbone) -> None:
    model, rows, label = given(vit)
    templates = [*TEMPLATES, "{}"]
    found = template_scores(model, data_of(templates), rows, label)
    known = label >= 0
    right = []
    for asked in [*([one] for one in templates), templates]:
        theirs = open_clip.build_zero_shot_classifier(vit.model, vit.preprocess.tokenizer, NAMES, asked)
        right.append((rows[known] @ theirs).argmax(dim=1) == label[known])
    assert found is not None
    assert [one["template"] for one in found] == [*templates, None]
    assert [one["top1"] for one in found] == pytest.approx([float(one.float().mean()) for one in right])
    assert len({one["top1"] for one in found}) > 1
    assert [one["won"] for one in found] == [int((one & ~right[-1]).sum()) for one in right]
    assert [one["lost"] for one in found] == [int((~one & right[-1]).sum()) for one in right]


def test_any_of_several_classes_is_right(vit: Backbone) -> None:
    model, rows, label = given(vit)
    every = torch.ones(40, 3, dtype=torch.bool)
    found = template_scores(model, data_of(TEMPLATES), rows, label, every)
    assert found is not None
    assert [one["top1"] for one in found] == [1, 1, 1]
    few = template_scores(model, data_of(TEMPLATES), rows, label)
    one_each = torch.nn.functional.one_hot(label.clamp(min=0), 3).bool()
    assert template_scores(model, data_of(TEMPLATES), rows, label, one_each) == few


@pytest.mark.parametrize(
    ("method", "known"), [(LinearProbe(), False), (PromptTuning(), False), (PromptTuning(towers="image"), True), (LoRA(), True)]
)
def test_learned_class_rows_have_no_templates(vit: Backbone, method: Method, known: bool) -> None:
    classes = ClassTexts(NAMES, [[template.replace("{}", name) for template in TEMPLATES] for name in NAMES], vit.preprocess)
    method.attach(vit, classes)
    model = AdaptedCLIP(vit, method, {"class_names": NAMES, "class_texts": classes.texts})
    rows, label = model.encode_pixels(images_for(vit, 6)), torch.tensor([0, 1, 2, 0, 1, 2])
    assert (template_scores(model, data_of(TEMPLATES), rows, label) is not None) is known


def test_one_template_or_no_label_is_nothing_to_compare(vit: Backbone) -> None:
    model, rows, label = given(vit)
    assert template_scores(model, data_of(["a {}"]), rows, label) is None
    assert template_scores(model, data_of(TEMPLATES), rows, torch.full((40,), -1)) is None


def scores(won: int, lost: int) -> list[dict[str, Any]]:
    both = [{"template": name, "top1": 0.5 + (name == "b") * (won - lost) / 100, "won": won, "lost": lost} for name in ("a", "b")]
    return [*both, {"template": None, "top1": 0.5, "won": 0, "lost": 0}]


def test_a_template_that_is_better_by_more_than_chance_is_named() -> None:
    assert template_hint(scores(8, 0)) == (  # 2 of 2^8 is 0.0078; twice that, for two templates
        "the template 'b' alone has top-1 0.580 on validation, and all 2 together 0.500 (p = 0.016): try data.templates: 'b'"
    )
    assert template_hint(scores(6, 0)) == ""  # 0.031 for one template, 0.0625 for the best of two
    assert template_hint(scores(0, 8)) == ""
    assert template_hint(scores(0, 0)) == ""
    assert template_hint(None) == ""
