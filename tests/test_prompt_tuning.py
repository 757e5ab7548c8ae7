"""Prompt tuning: it starts at zero-shot on every kind of text tower, the words learn and nothing else, and what is refused."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import ALL_FAMILIES, classes_for, images_for
from open_clip.tokenizer import HFTokenizer
from prompted import EXACT, KINDS, attached, classes_of, copied, loaded, step, zero_shot
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods import prompt_tuning
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.module import AdaptModule
from cliptune.objectives.cross_entropy import CrossEntropy

pytest_plugins = ["prompted"]


@pytest.fixture(params=[*ALL_FAMILIES, "bert"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backbone(every: dict[str, str], family: str) -> Backbone:
    return copied(every[family])


@pytest.fixture
def vit(tiny: dict[str, str]) -> Backbone:
    return copied(tiny["vit"])


def test_the_towers_of_the_fixture_are_of_the_kinds_they_stand_for(every: dict[str, str]) -> None:
    assert isinstance(loaded(every["bert"]).preprocess.tokenizer, HFTokenizer)
    assert json.loads((Path(every["bert"].removeprefix("local-dir:")) / "open_clip_config.json").read_text())["model_cfg"]["custom_text"]
    assert {name for name in every if loaded(every[name]).causal} == {"vit", "rn50", "convnext", "eva02"}


# Zero-shot


@torch.no_grad()
@pytest.mark.parametrize("case", EXACT)
def test_before_training_the_class_rows_are_the_zero_shot_rows(backbone: Backbone, case: str) -> None:
    backbone.requires_grad_(False)  # torch takes another kernel where nothing learns
    classes = classes_for(backbone)  # two templates, both with text after the name
    expected = zero_shot(backbone, classes)
    assert torch.equal(attached(backbone, classes, **EXACT[case]).class_rows(backbone, classes).rows, expected)


def test_with_gradient_they_are_the_zero_shot_rows_too(backbone: Backbone) -> None:
    classes = classes_for(backbone)
    expected = zero_shot(backbone, classes)
    torch.testing.assert_close(attached(backbone, classes).class_rows(backbone, classes).rows, expected, atol=2e-6, rtol=0)


@torch.no_grad()
def test_captions_and_images_stay_the_untouched_clips(backbone: Backbone) -> None:
    backbone.requires_grad_(False)
    tokens, images = backbone.preprocess.tokenize(["a photo of a cat", "red panda"]), images_for(backbone, 2)
    expected = backbone.encode_text(tokens), backbone.encode_image(images)
    method = attached(backbone)
    method.words.mul_(2)  # type: ignore[union-attr]
    method.class_rows(backbone, classes_for(backbone))
    assert torch.equal(method.text_rows(backbone, tokens), expected[0])
    assert torch.equal(method.image_rows(backbone, images), expected[1])


@torch.no_grad()
def test_words_are_the_embeddings_of_other_words(backbone: Backbone) -> None:
    """The outside reference for learned words: the rows of a text that has these words."""
    classes, other = (classes_of(backbone, ["cat", "red panda"], text) for text in ("a photo of a {}.", "the drawing in ink {}."))
    expected = zero_shot(backbone, other)
    method, theirs = attached(backbone, classes), attached(backbone, other)
    assert method.words is not None
    assert theirs.words is not None
    assert len(theirs.frames[0].before) == len(method.frames[0].before)
    method.words.copy_(theirs.words)
    torch.testing.assert_close(method.class_rows(backbone, classes).rows, expected, atol=2e-6, rtol=0)


@torch.no_grad()
def test_random_words_replace_the_template_before_the_name(backbone: Backbone) -> None:
    classes, other = (
        classes_of(backbone, ["cat", "red panda"], "a photo {}."),
        classes_of(backbone, ["cat", "red panda"], "drawing in ink {}."),
    )
    method, theirs = attached(backbone, classes, init="random", words=3), attached(backbone, other)
    assert method.words is not None
    assert theirs.words is not None
    assert 0.01 < method.words.std() < 0.03
    assert (method.class_rows(backbone, classes).rows - zero_shot(backbone, classes)).abs().max() > 1e-3
    method.words.copy_(theirs.words)
    torch.testing.assert_close(method.class_rows(backbone, classes).rows, zero_shot(backbone, other), atol=2e-6, rtol=0)


# Learning


@pytest.mark.parametrize("kind", KINDS)
def test_every_word_learns_and_nothing_else(backbone: Backbone, kind: str) -> None:
    classes = classes_for(backbone)
    method = attached(backbone, classes, **KINDS[kind])
    before, words = {name: value.clone() for name, value in backbone.state_dict().items()}, method.words
    assert words is not None
    start = words.detach().clone()
    step(backbone, method, classes)
    assert words.grad is not None
    assert (words.grad.abs().sum(dim=-1) > 0).all()
    assert ((words - start).abs().amax(dim=-1) > 1e-3).all()
    assert words.shape[0] == (3 if "per class" in kind else 1)
    assert [name for name, _ in method.named_parameters()] == ["words"]
    assert not list(method.learned(backbone))
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0, equal_nan=True, msg=name)  # CoCa leaves one as it finds memory
    tokens = backbone.preprocess.tokenize(["a cat"])
    with torch.no_grad():
        assert torch.equal(backbone.encode_text(tokens), copied_like(backbone, before).encode_text(tokens))


def copied_like(backbone: Backbone, state: dict[str, Tensor]) -> Backbone:
    other = deepcopy(backbone, {id(backbone.preprocess): backbone.preprocess})
    other.load_state_dict(state)
    return other


def test_micro_batches_give_the_rows_and_the_gradient_of_the_whole(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = classes_for(backbone)
    method, found = attached(backbone, classes, per_class=True), []
    assert method.words is not None
    for size in (64, 4):  # of six prompts
        monkeypatch.setattr(prompt_tuning, "PROMPT_CHUNK", size)
        method.words.grad = None
        rows = method.class_rows(backbone, classes).rows
        rows[:, ::2].sum().backward()
        assert method.words.grad is not None
        found.append((rows.detach(), method.words.grad.clone()))
    torch.testing.assert_close(found[1][0], found[0][0], atol=2e-6, rtol=0)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-4 * float(found[0][1].abs().max()), rtol=0)


def test_only_one_micro_batch_is_in_memory_at_a_time(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_tuning, "PROMPT_CHUNK", 2)
    classes = classes_for(vit)
    method, saved = attached(vit, classes), []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):  # type: ignore[func-returns-value]
        method.class_rows(vit, classes)
    inside = 2 * 16 * 32  # values of one activation of one micro-batch
    assert max(saved, default=0) < inside


def test_rows_are_computed_again_only_after_a_step(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    classes, calls = classes_for(vit), []
    method = attached(vit, classes)
    for name in ("encode", "encode_packed"):
        whole = getattr(prompt_tuning, name)
        monkeypatch.setattr(prompt_tuning, name, lambda *args, whole=whole: calls.append(1) or whole(*args))
    with torch.no_grad():
        first = method.class_rows(vit, classes).rows
        assert method.class_rows(vit, classes).rows is first
        assert len(calls) == 1
        other = classes_of(vit, ["dog"], "a photo of a {}.", "a drawing of a {}, in ink.")
        assert not torch.equal(method.class_rows(vit, other).rows, first[:1])
        method.class_rows(vit, classes)
    assert len(calls) == 3
    step(vit, method, classes)
    with torch.no_grad():
        assert (method.class_rows(vit, classes).rows - first).abs().max() > 1e-4
        vit.model.ln_final.weight.mul_(1.5)
        changed = method.class_rows(vit, classes).rows
    assert len(calls) == 6
    with torch.inference_mode():
        assert method.class_rows(vit, classes).rows.is_inference()
    with torch.no_grad():
        again = method.class_rows(vit, classes).rows
    assert not again.is_inference()
    assert torch.equal(again, changed)


# Other names, and saving


@torch.no_grad()
def test_shared_words_serve_other_names(backbone: Backbone) -> None:
    classes = classes_for(backbone)
    names = ["fox", "red fox", "cat"]
    other = classes_of(backbone, names, "a photo of a {}.", "a drawing of a {}, in ink.")
    method = attached(backbone, classes)
    assert torch.equal(method.class_rows(backbone, other).rows, zero_shot(backbone, other))
    method.words.mul_(1.5).add_(0.1)  # type: ignore[union-attr]
    found = method.class_rows(backbone, other).rows
    assert (found - zero_shot(backbone, other)).abs().max() > 1e-4
    torch.testing.assert_close(found[2], method.class_rows(backbone, classes).rows[0], atol=2e-6, rtol=0)  # the cat is a cat
    elsewhere = classes_of(backbone, names, "the {}")
    assert torch.equal(method.class_rows(backbone, elsewhere).rows, found)


@torch.no_grad()
def test_words_of_one_class_each_serve_these_alone(backbone: Backbone) -> None:
    classes = classes_for(backbone)
    templates = ("a photo of a {}.", "a drawing of a {}, in ink.")
    method = attached(backbone, classes, per_class=True)
    method.words[1] *= -1  # type: ignore[index]
    own, untouched = method.class_rows(backbone, classes).rows, zero_shot(backbone, classes)
    changed = (own - untouched).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == [False, True, False]
    turned = method.class_rows(backbone, classes_of(backbone, ["seven", "red panda"], *templates)).rows
    torch.testing.assert_close(turned, own[[2, 1]], atol=2e-6, rtol=0)
    unknown = classes_of(backbone, ["red panda", "fox"], *templates)
    assert torch.equal(method.class_rows(backbone, unknown).rows, zero_shot(backbone, unknown))


@pytest.mark.parametrize("kind", [*KINDS, "both, deep"])
def test_saved_and_rebuilt_the_rows_are_equal(every: dict[str, str], kind: str) -> None:
    arguments = KINDS.get(kind, {"towers": "both", "depth": "deep"})
    for family in ("vit", "siglip", "bert"):
        backbone = copied(every[family])
        classes = classes_for(backbone)
        method = attached(backbone, classes, **arguments)
        step(backbone, method, classes)
        again = PromptTuning(**method.describe()["arguments"])
        other = copied(every[family])
        again.attach(other, classes_for(other))
        again.load_state_dict(method.state_dict())
        images = images_for(backbone, 2)
        with torch.no_grad():
            assert torch.equal(again.class_rows(other, classes).rows, method.class_rows(backbone, classes).rows)
            assert torch.equal(again.image_rows(other, images), method.image_rows(backbone, images))


# The nearest words


@torch.no_grad()
def test_nearest_words_are_the_vocabularys(backbone: Backbone, family: str) -> None:
    classes = classes_of(backbone, ["cat", "dog"], "a photo of {}.")
    method = attached(backbone, classes)
    found = method.nearest_words(backbone, k=2)
    assert [(word.class_name, word.place, *word.nearest[0]) for word in found] == [
        (None, place, word, 0.0, pytest.approx(1)) for place, word in enumerate(["a", "photo", "of"])
    ]
    embedding, own = prompt_tuning.P.embedding_of(backbone.towers()["text"]), method.words[0, 1]  # type: ignore[index]
    distances, ids = torch.linalg.vector_norm(embedding.weight - own, dim=1).sort()  # type: ignore[operator]
    assert [near.distance for near in found[1].nearest] == pytest.approx(distances[:2].tolist(), rel=1e-4)
    other = embedding.weight[ids[1]]  # type: ignore[index]
    assert found[1].nearest[1].cosine == pytest.approx(float(own @ other / (own.norm() * other.norm()).clamp(min=1e-8)), abs=1e-5)
    assert [word.told()["nearest"][0][0] for word in attached(backbone, classes, per_class=True).nearest_words(backbone, most=4)] == [
        *["a", "photo", "of", "a"]
    ]


def test_the_log_says_of_learned_words_what_the_summary_has(vit: Backbone) -> None:
    method = attached(vit, classes_of(vit, ["cat", "dog"], "a photo of {}."), per_class=True)
    facts = json.loads(json.dumps(method.facts(vit)))
    assert facts["words_learned"] == 6
    assert (facts["words"][5]["class_name"], facts["words"][5]["place"]) == ("dog", 2)
    head, *lines = method.as_lines(facts)
    assert head == "nearest words of the vocabulary, and how far:"
    assert len(lines) == 6
    near, cosines = facts["words"][1]["nearest"], facts["words"][1]["cosines"]
    told = ", ".join(f"{word} {far:.3g} (cosine {cosine:.2f})" for (word, far), cosine in zip(near, cosines, strict=True))
    assert lines[1] == f"a photo of {{}}. word 2 of cat: {told}"
    assert method.as_lines({**facts, "words_learned": 1000})[-1] == "... and 994 more: see PromptTuning.nearest_words"
    image = attached(vit, towers="image")
    assert image.as_lines(image.facts(vit)) == []


# Errors


def test_a_prompt_that_does_not_fit_is_refused_before_training(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"the prompt of 'cat' has 2\d tokens, and the text tower reads 16\. Take fewer words"):
        attached(backbone, classes_of(backbone, ["cat", "dog"], "a photo of a {}."), init="random", words=20)
    with pytest.raises(ConfigError, match=r"the prompt of 'a( a)*' has \d+ tokens, and the text tower reads 16"):
        attached(backbone, classes_of(backbone, ["dog", " ".join(["a"] * 15)], "photo of {}."))


def test_a_template_without_a_word_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"no template has a word to learn \('\{\}\.'\)\. Add words, or set init: random"):
        attached(backbone, classes_of(backbone, ["cat", "dog"], "{}."))


def test_it_trains_in_the_module(vit: Backbone) -> None:
    module = AdaptModule(vit, PromptTuning(), CrossEntropy())
    module.attach(classes_for(vit))
    module.train()
    assert module.train_class_rows().rows.requires_grad
    assert not any(part.training for part in vit.modules())
