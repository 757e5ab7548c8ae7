"""Prompt tuning: it starts at zero-shot on every kind of text tower, the words learn and nothing else, and what is refused."""

import json
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, CONFIGS, classes_for, images_for, write_model
from open_clip.tokenizer import HFTokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods import prompt_tuning
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.methods.prompt_tuning import PromptTuning, as_lines
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.optim import build_optimizer

VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *["a", "photo", "of", "drawing", "cat", "dog", "red", "panda", "seven", "fox", ".", ",", "in", "ink", "x", "7", "the"],
    "##s",
]
EXACT: dict[str, dict[str, Any]] = {
    "end": {},
    "middle": {"position": "middle"},
    "per class": {"per_class": True},
    "per class, middle": {"per_class": True, "position": "middle"},
}
KINDS: dict[str, dict[str, Any]] = {
    **EXACT,
    "random": {"init": "random", "words": 3},
    "random, middle, per class": {"init": "random", "words": 3, "position": "middle", "per_class": True},
}


@pytest.fixture(scope="session")
def every(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tiny CLIPs, and one whose text tower is Hugging Face's, pooled over what is no padding."""
    folder = tmp_path_factory.mktemp("bert")
    inner = Tokenizer(WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **special).save_pretrained(folder / "clip")  # where open_clip looks
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(VOCABULARY), **shape), add_pooling_layer=False).save_pretrained(folder / "hf")
    config = {
        "embed_dim": 24,
        "vision_cfg": CONFIGS["vit"]["vision_cfg"],
        "text_cfg": {"hf_model_name": str(folder / "hf"), "hf_tokenizer_name": str(folder / "clip"), "context_length": 16,
                     "hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"},
        "custom_text": True,
    }  # fmt: skip
    return {**tiny, "bert": write_model(folder / "clip", config)}


@pytest.fixture(params=[*ALL_FAMILIES, "bert"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@lru_cache
def loaded(name: str) -> Backbone:
    return Backbone(name).eval()


def copied(name: str) -> Backbone:
    whole = loaded(name)
    return deepcopy(whole, {id(whole.preprocess): whole.preprocess})


@pytest.fixture
def backbone(every: dict[str, str], family: str) -> Backbone:
    return copied(every[family])


@pytest.fixture
def vit(tiny: dict[str, str]) -> Backbone:
    return copied(tiny["vit"])


def classes_of(backbone: Backbone, names: list[str], *templates: str) -> ClassTexts:
    return ClassTexts(names, [[template.replace("{}", name) for template in templates] for name in names], backbone.preprocess)


def attached(backbone: Backbone, classes: ClassTexts | None = None, **arguments: Any) -> PromptTuning:
    method = PromptTuning(**arguments)
    method.attach(backbone, classes_for(backbone) if classes is None else classes)
    return method.eval()


@torch.no_grad()
def zero_shot(backbone: Backbone, classes: ClassTexts) -> Tensor:
    return Full().class_rows(backbone, classes).rows


def step(backbone: Backbone, method: PromptTuning, classes: ClassTexts) -> None:
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=1e-4, weight_decay=0.1), method.groups(backbone))
    logits = method.logits(backbone, method.image_rows(backbone, images_for(backbone, 4)), method.class_rows(backbone, classes))
    (torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 1]))).backward()
    optimizer.step()


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
    whole = prompt_tuning.encode
    monkeypatch.setattr(prompt_tuning, "encode", lambda *args: calls.append(1) or whole(*args))  # type: ignore[func-returns-value]
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


# Images


@pytest.mark.parametrize("depth", ["shallow", "deep"])
@pytest.mark.parametrize("family", ["vit", "siglip", "coca", "eva02"])
def test_image_prompts_learn_and_nothing_else(backbone: Backbone, depth: Any) -> None:
    classes, images = classes_for(backbone), images_for(backbone, 2)
    with torch.no_grad():
        untouched = backbone.encode_image(images)
    method = attached(backbone, classes, towers="image", depth=depth, image_words=3)
    assert [name for name, _ in method.named_parameters()] == ["image_prompts"]
    step(backbone, method, classes)
    prompts = method.image_prompts
    assert prompts is not None
    assert prompts.grad is not None
    assert (prompts.grad.abs().sum(dim=-1) > 0).all()
    assert prompts.shape[:2] == ({"shallow": 1, "deep": {"vit": 3, "siglip": 9}.get(_family(backbone), 2)}[depth], 3)
    assert not any(p.requires_grad for p in backbone.parameters())
    with torch.no_grad():
        assert (method.image_rows(backbone, images) - untouched).abs().max() > 1e-4
        torch.testing.assert_close(backbone.encode_image(images), untouched, atol=2e-6, rtol=0)
        assert torch.equal(method.class_rows(backbone, classes).rows, zero_shot(backbone, classes))


def _family(backbone: Backbone) -> str:
    return Path(backbone.name).name


def test_image_prompts_learn_from_pairs_and_without_classes(vit: Backbone) -> None:
    method = PromptTuning(towers="image")
    method.check(Contrastive())
    method.attach(vit, ClassTexts([], [], vit.preprocess))
    assert method.groups(vit)


@pytest.mark.parametrize(
    ("towers", "expected"), [("text", {"image": 4, "text": 0}), ("image", {"image": 0, "text": 4}), ("both", {"image": 0, "text": 0})]
)
def test_what_comes_before_the_prompts_is_frozen(vit: Backbone, towers: Any, expected: dict[str, int]) -> None:
    assert attached(vit, towers=towers).frozen(vit) == expected


def test_nothing_decays(vit: Backbone) -> None:
    (group,) = attached(vit, towers="both", lr_factor=7.0).groups(vit)
    assert group["lr_factor"] == 7.0
    assert group["decay"] is False
    assert len(group["params"]) == 2  # type: ignore[arg-type]


# The nearest words


@torch.no_grad()
def test_nearest_words_are_the_vocabularys(backbone: Backbone, family: str) -> None:
    classes = classes_of(backbone, ["cat", "dog"], "a photo of {}.")
    method = attached(backbone, classes)
    found = method.nearest_words(backbone, k=2)
    assert [(word.class_name, word.place, word.nearest[0]) for word in found] == [
        (None, place, (word, 0.0)) for place, word in enumerate(["a", "photo", "of"])
    ]
    weight = prompt_tuning.P.embedding_of(backbone.towers()["text"]).weight
    distances = torch.linalg.vector_norm(weight - method.words[0, 1], dim=1).sort().values  # type: ignore[index]
    assert [distance for _, distance in found[1].nearest] == pytest.approx(distances[:2].tolist(), rel=1e-4)
    assert as_lines(found)[1].startswith("a photo of {}. word 2: photo 0, ")
    own = attached(backbone, classes, per_class=True).nearest_words(backbone, k=1)
    assert as_lines(own)[-1] == "a photo of {}. word 3 of dog: of 0"


# Errors


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


def test_a_prompt_that_does_not_fit_is_refused_before_training(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"the prompt of 'cat' has 2\d tokens, and the text tower reads 16\. Take fewer words"):
        attached(backbone, classes_of(backbone, ["cat", "dog"], "a photo of a {}."), init="random", words=20)
    with pytest.raises(ConfigError, match=r"the prompt of 'a( a)*' has \d+ tokens, and the text tower reads 16"):
        attached(backbone, classes_of(backbone, ["dog", " ".join(["a"] * 15)], "photo of {}."))


def test_a_template_without_a_word_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"no template has a word to learn \('\{\}\.'\)\. Add words, or set init: random"):
        attached(backbone, classes_of(backbone, ["cat", "dog"], "{}."))


@pytest.mark.parametrize(("family", "name"), [("rn50", "ModifiedResNet"), ("convnext", "ConvNeXt")])
def test_image_prompts_on_what_is_no_vit_are_refused(backbone: Backbone, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"image prompts need a ViT, and this image tower is a {name}\. Use towers: text"):
        attached(backbone, towers="image")


def test_it_trains_in_the_module(vit: Backbone) -> None:
    module = AdaptModule(vit, PromptTuning(), CrossEntropy())
    module.attach(classes_for(vit))
    module.train()
    assert module.train_class_rows().rows.requires_grad
    assert not any(part.training for part in vit.modules())
