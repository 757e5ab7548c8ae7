"""Where words and names are found, for tokenizers of every shape, and hooks on the towers: by hand, and by timm's register tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.prompts import STAND_INS, Reader, among_patches, embedding_of, replaced

WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "panda", "fish", ".", "x", "7", "in", "ink"]
NUMBER = {word: 100 + i for i, word in enumerate(WORDS)}
SHAPES = {  # start, end, what follows the padding, padding
    "clip": ([1], [999], [], 0),
    "bert": ([2], [3], [], 0),
    "t5, whose padding is its end": ([], [], [], 1),
    "gemma": ([], [1], [], 0),
    "class token behind the padding": ([1], [2], [3], 0),
}
CONTEXT = 12


def tokenizer_of(shape: str) -> Callable[..., Tensor]:
    start, end, behind, pad = SHAPES[shape]

    def tokenize(texts: Sequence[str], context_length: int = CONTEXT) -> Tensor:
        rows = []
        for text in texts:
            ids = [*start, *(NUMBER[word] for word in text.replace(".", " .").split()), *end]
            rows.append(ids + [pad] * (context_length - len(ids) - len(behind)) + behind)
        return torch.tensor(rows)

    return tokenize


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(ids: list[int], source: list[int]) -> str:
    """A prompt as words, the learned ones by their number."""
    names = {number: word for word, number in NUMBER.items()}
    return " ".join(f"<{s}>" if s >= 0 else names[i] for i, s in zip(ids, source, strict=True) if s >= 0 or i in names)


CASES = {
    "end": ("a photo of {}.", "end", None, ["<0> <1> <2> cat .", "<0> <1> <2> red panda ."]),
    "middle": ("a photo of {} in ink.", "middle", None, ["<0> <1> <2> cat <3> <4> <5>", "<0> <1> <2> red panda <3> <4> <5>"]),
    "nothing before": ("{} in ink", "end", None, ["cat in ink", "red panda in ink"]),
    "twice": ("a {} of the {}.", "end", None, ["<0> cat of the cat .", "<0> red panda of the red panda ."]),
    "random": ("a photo of {}.", "end", 2, ["<0> <1> cat .", "<0> <1> red panda ."]),
    "random, more than before": ("a {}.", "end", 4, ["<0> <1> <2> <3> cat .", "<0> <1> <2> <3> red panda ."]),
    "random middle": ("a photo of {}.", "middle", 3, ["<0> cat <1> <2> .", "<0> red panda <1> <2> ."]),
}


@pytest.mark.parametrize("case", CASES)
def test_words_stand_where_the_template_says(shape: str, case: str) -> None:
    template, position, words, expected = CASES[case]
    reader = Reader(tokenizer_of(shape), trim=False)
    frame = reader.frame(template, ["cat", "red panda"], position, words)
    tokens, source = reader.prompts([frame], ["cat", "red panda"])
    assert [written(*pair) for pair in zip(tokens[:, 0].tolist(), source[:, 0].tolist(), strict=True)] == expected
    if words is None:  # the template's own words hold their places
        assert torch.equal(tokens[:, 0], tokenizer_of(shape)([template.replace("{}", name) for name in ("cat", "red panda")]))
    start, end, behind, pad = SHAPES[shape]
    row = tokens[0, 0].tolist()
    assert row[: len(start)] == start
    assert row[len(row) - len(behind) :] == behind
    first_padding = len(start) + len(expected[0].split()) + len(end)
    assert row[first_padding - len(end) : first_padding] == end
    assert set(row[first_padding : len(row) - len(behind)]) == {pad}


def test_words_that_all_names_begin_with_are_not_the_templates(shape: str) -> None:
    reader = Reader(tokenizer_of(shape), trim=False)
    frame = reader.frame("a {}.", ["red panda", "red fish"], "end", None)
    assert frame.before == [NUMBER["a"]]
    for word in STAND_INS:
        assert reader.frame("a {}.", [f"{word} cat", f"{word} dog"], "end", None).before == [NUMBER["a"]]
        assert reader.frame("a {}.", [f"cat {word}", f"dog {word}"], "middle", None).after == [NUMBER["."]]


def test_several_templates_have_words_of_their_own() -> None:
    reader = Reader(tokenizer_of("clip"), trim=False)
    frames = [reader.frame(template, ["cat"], "middle", None) for template in ("a photo of {}.", "the {} in ink.")]
    tokens, source = reader.prompts(frames, ["dog", "cat"])
    assert [written(tokens[0, t].tolist(), source[0, t].tolist()) for t in (0, 1)] == ["<0> <1> <2> dog <3>", "<4> dog <5> <6> <7>"]


def test_causal_prompts_are_cut_to_the_longest() -> None:
    reader = Reader(tokenizer_of("clip"), trim=True)
    assert reader.prompts([reader.frame("a {}.", ["cat"], "end", None)], ["cat"]).tokens.shape == (1, 1, 8)
    assert reader.prompts([reader.frame("a {}.", ["cat"], "end", 5)], ["cat"]).tokens.shape == (1, 1, 12)  # 9 tokens


def test_a_prompt_may_fill_the_context_but_not_more(shape: str) -> None:
    start, end, behind, _ = SHAPES[shape]
    room = CONTEXT - len(start) - len(end) - len(behind) - (shape.startswith("t5")) - 2  # less the name and the full stop
    reader = Reader(tokenizer_of(shape), trim=False)
    assert reader.prompts([reader.frame("a {}.", ["cat"], "end", room)], ["cat"]).tokens.shape == (1, 1, CONTEXT)
    with pytest.raises(
        ConfigError, match=rf"the prompt of 'cat' has {CONTEXT + 1} tokens, and the text tower reads {CONTEXT}\. Take fewer"
    ):
        reader.prompts([reader.frame("a {}.", ["cat"], "end", room + 1)], ["cat"])


# Hooks


def test_the_embedding_gives_learned_words_and_is_itself_again_afterwards() -> None:
    embedding, words = nn.Embedding(10, 4), torch.randn(2, 4, requires_grad=True)
    ids = torch.tensor([[1, 2, 3]])
    with replaced(embedding, words, torch.tensor([[-1, 1, -1]])):
        found = embedding(ids)
    assert torch.equal(found[0], torch.stack([embedding.weight[1], words[1], embedding.weight[3]]))
    found.sum().backward()
    assert words.grad is not None
    assert words.grad.tolist() == [[0.0] * 4, [1.0] * 4]
    assert torch.equal(embedding(ids)[0], embedding.weight[1:4])
    with pytest.raises(ZeroDivisionError), replaced(embedding, words, torch.tensor([[-1, 1, -1]])):
        _ = 1 / 0
    assert torch.equal(embedding(ids)[0], embedding.weight[1:4])


def test_a_tower_without_an_embedding_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the text tower Linear has no token embedding to put words in\. Use method: LoRA"):
        embedding_of(nn.Linear(1, 1))


@torch.no_grad()
@pytest.mark.parametrize("deep", [False, True])
def test_prompts_in_a_vit_are_as_by_hand(vit: Backbone, deep: bool) -> None:
    visual, images = vit.model.visual, torch.randn(2, 3, 32, 32)
    prompts = torch.randn(3 if deep else 1, 2, 32)
    x = visual._embeds(images)
    patches = x[:, 1:]
    tokens, cls = prompts[0].expand(2, -1, -1), x[:, :1]
    for i, block in enumerate(visual.transformer.resblocks):
        tokens = prompts[i].expand(2, -1, -1) if deep else tokens
        cls, tokens, patches = block(torch.cat([cls, tokens, patches], dim=1)).split([1, 2, 16], dim=1)
    expected = visual.ln_post(cls[:, 0]) @ visual.proj
    before = visual(images)
    with among_patches(visual, prompts):
        found = visual(images)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    assert (found - before).abs().max() > 1e-2
    assert torch.equal(visual(images), before)


@torch.no_grad()
def test_prompts_in_eva_are_timms_register_tokens(tiny: dict[str, str]) -> None:
    visual = Backbone(tiny["eva02"]).eval().model.visual
    images, prompts = torch.randn(2, 3, 56, 56), torch.randn(1, 3, 48)
    shape = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 8 / 3, "swiglu_mlp": True}
    registers = Eva(**shape, qkv_fused=False, use_rot_pos_emb=True, ref_feat_shape=(16, 16), global_pool="token", num_reg_tokens=3,
                    num_classes=0).eval()  # fmt: skip
    state = dict(visual.trunk.state_dict())
    positions = state["pos_embed"]
    state["pos_embed"] = torch.cat([positions[:, :1], torch.zeros(1, 3, 48), positions[:, 1:]], dim=1)
    state["reg_token"] = prompts
    registers.load_state_dict({key: value for key, value in state.items() if not key.startswith("head")})
    before = visual.trunk.forward_features(images)[:, 0]
    with among_patches(visual, prompts):
        found = visual.trunk.forward_features(images)
    torch.testing.assert_close(found[:, 0], registers.forward_features(images)[:, 0], atol=2e-5, rtol=0)
    assert found.shape == (2, 17, 48)
    assert (found[:, 0] - before).abs().max() > 1e-2
    assert torch.equal(visual.trunk.forward_features(images)[:, 0], before)


@torch.no_grad()
@pytest.mark.parametrize("prefix", [{"class_token": False}, {"class_token": True, "reg_tokens": 2}])
def test_prompts_go_behind_timms_prefix_and_are_off_before_the_norm(prefix: dict[str, Any]) -> None:
    trunk = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, global_pool="map", num_classes=0, **prefix)
    trunk.eval()
    images, prompts, seen = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32), []
    before = trunk(images)
    for part in (trunk.blocks[0].norm1, trunk.blocks[1].norm1, trunk.norm):
        part.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    untouched = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))
    with among_patches(trunk, prompts):
        found = trunk(images)
    first = 3 if prefix["class_token"] else 0
    assert torch.equal(torch.cat([seen[0][:, :first], seen[0][:, first + 3 :]], dim=1), untouched)
    for i in (0, 1):
        assert torch.equal(seen[i][:, first : first + 3], prompts[i].expand(2, -1, -1))
    assert seen[2].shape == untouched.shape
    assert not torch.equal(found, before)
    assert torch.equal(trunk(images), before)
