"""What prompt tuning refuses, in one line with the way out."""

from typing import Any

import pytest
import torch
from prompted import attached

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "init": ({"init": "zeros"}, r"init 'zeros' is not known\. Take template or random"),
    "position": ({"position": "front"}, r"position 'front' is not known\. Take end or middle"),
    "towers": ({"towers": "vision"}, r"towers 'vision' is not known\. Take text or image or both"),
    "depth": ({"depth": "all"}, r"depth 'all' is not known\. Take shallow or deep"),
    "words of a template": ({"words": 4}, r"words 4, but init: template learns the template's own\. Leave words out, or set init: random"),
    "words": ({"words": 0, "init": "random"}, r"words 0 is not positive\. Take 16"),
    "image_words": ({"image_words": 0}, r"image_words 0 is not positive\. Take 8"),
    "lr_factor": ({"lr_factor": 0.0}, r"lr_factor 0\.0 is not positive\. Take 200"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_arguments_that_cannot_be_are_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message) as caught:
        PromptTuning(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("towers", ["text", "both"])
def test_pairs_are_refused_where_words_learn(towers: Any) -> None:
    message = "PromptTuning learns from class names, but Contrastive needs image-text pairs. Use objective: CrossEntropy."
    with pytest.raises(ConfigError) as caught:
        PromptTuning(towers=towers).check(Contrastive())
    assert str(caught.value) == message
    PromptTuning(towers=towers).check(CrossEntropy())


def test_data_without_classes_is_refused(vit: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"learns the words around class names, and the data has no classes\. Set data\.label_column"):
        attached(vit, ClassTexts([], [], vit.preprocess))


def test_descriptions_are_refused_where_words_learn_and_taken_where_they_do_not(vit: Backbone) -> None:
    classes = ClassTexts(["cat", "dog"], [["It purrs.", "A cat."], ["It barks."]], vit.preprocess)
    with pytest.raises(
        ConfigError, match=r"such as 'It purrs\.' of 'cat', are of no template that all share\. Set data\.templates"
    ) as caught:
        attached(vit, classes)
    assert "\n" not in str(caught.value)
    untouched = Full().class_rows(vit, classes).rows
    assert torch.equal(attached(vit, classes, towers="image").class_rows(vit, classes).rows, untouched)
