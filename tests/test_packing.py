"""Packed prompts: rows and gradients of prompts read one by one, whatever the names; who sees whom; and where they are read one by one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, CONFIGS, TEXT, write_model
from peft import LoraConfig, inject_adapter_in_model
from prompted import KINDS, attached, classes_of, copied
from torch import Tensor, nn

from cliptune import attention, blocks, packing
from cliptune.backbone import Backbone
from cliptune.methods import prompt_tuning
from cliptune.methods.base import ClassTexts
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.packing import Packs, pack

pytest_plugins = ["prompted"]

TEMPLATES = ("a photo of a {}.", "a drawing of a {}, in ink.")
NAMES = ["cat", "red panda", "seven", "a cat on a red wall", "red", "red fox", "fox", "dog", "7", "panda of a panda of"]
MANY = [f"{colour} {thing}" for colour in ("red", "green", "big", "old", "x") for thing in NAMES if len(thing) < 10]
READ = ("vit", "rn50", "convnext", "eva02")  # causal, pooled at the end token, open_clip's own
Rows = tuple[Tensor, dict[str, Tensor]]


@pytest.fixture(params=READ)
def backbone(every: dict[str, str], request: pytest.FixtureRequest) -> Backbone:
    return copied(every[request.param])


@pytest.fixture
def vit(tiny: dict[str, str]) -> Backbone:
    return copied(tiny["vit"])


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each chunk of prompts was read."""
    found: list[str] = []

    def told(name: str, whole: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args: found.append(name) or whole(*args)  # type: ignore[func-returns-value]

    for name in ("encode", "encode_packed"):
        monkeypatch.setattr(prompt_tuning, name, told(name, getattr(prompt_tuning, name)))
    return found


def rows_of(backbone: Backbone, method: PromptTuning, classes: ClassTexts) -> Rows:
    """Class rows, and the gradient of a sum of them that tells every row from every other."""
    learning = {name: p for name, p in [*method.named_parameters(), *backbone.named_parameters()] if p.requires_grad}
    rows = method.class_rows(backbone, classes).rows
    weights = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad((rows * weights).sum(), list(learning.values()), allow_unused=True)
    return rows.detach(), {name: grad for name, grad in zip(learning, grads, strict=True) if grad is not None}


def one_by_one(backbone: Backbone, method: PromptTuning, classes: ClassTexts) -> Rows:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCKS", ())
        return rows_of(backbone, method, classes)


def assert_equal(found: Rows, expected: Rows, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found[0], expected[0], atol=atol, rtol=0)
    assert found[1].keys() == expected[1].keys()
    for name, grad in expected[1].items():
        torch.testing.assert_close(found[1][name], grad, atol=atol * float(grad.abs().max()), rtol=0, msg=name)


def moved(method: PromptTuning) -> PromptTuning:
    """With words that are no words, so that each counts."""
    assert method.words is not None
    with torch.no_grad():
        method.words.add_(0.05 * torch.randn(method.words.shape, generator=torch.Generator().manual_seed(2)))
    return method


# Rows and gradients


@pytest.mark.parametrize("names", [NAMES, MANY], ids=["of all lengths", "many"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_prompts_have_the_rows_and_gradients_of_prompts_one_by_one(
    vit: Backbone, ways: list[str], kind: str, names: list[str]
) -> None:
    classes = classes_of(vit, names, *TEMPLATES)
    method = moved(attached(vit, classes, **KINDS[kind]))
    expected = one_by_one(vit, method, classes)
    assert set(ways) == {"encode"}
    ways.clear()
    assert_equal(rows_of(vit, method, classes), expected)
    assert set(ways) == {"encode_packed"}


def test_so_on_every_causal_tower(backbone: Backbone, ways: list[str]) -> None:
    classes = classes_of(backbone, NAMES, *TEMPLATES)
    method = moved(attached(backbone, classes))
    assert_equal(rows_of(backbone, method, classes), one_by_one(backbone, method, classes))
    assert ways == ["encode_packed", "encode"]


@pytest.mark.parametrize("chunk", [64, 8, 3])
def test_nano_in_many_packs_and_chunks(ways: list[str], monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(packing, "ROW", 40)
    nano = Backbone("nano").eval()
    classes = classes_of(nano, MANY, *TEMPLATES)
    method = moved(attached(nano, classes))
    method.chunk_size = chunk
    found = rows_of(nano, method, classes)
    packs = method._packing[2].packs  # type: ignore[index,union-attr]
    assert len(packs.tokens) > 4
    assert packs.tokens.shape[1] <= 40
    assert len(ways) > 1 or chunk == 64
    assert set(ways) == {"encode_packed"}
    assert_equal(found, one_by_one(nano, method, classes))


def test_a_tower_that_learns_gets_the_same_gradient(vit: Backbone, ways: list[str]) -> None:
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = moved(attached(vit, classes))
    vit.requires_grad_(True)
    found, expected = rows_of(vit, method, classes), one_by_one(vit, method, classes)
    assert ways == ["encode_packed", "encode"]
    assert_equal(found, expected)
    assert {"model.positional_embedding", "model.token_embedding.weight", "model.text_projection", "words"} < set(found[1])


def adapted(backbone: Backbone, **config: Any) -> None:
    """LoRA in the text tower, which changes it."""
    text = backbone.towers()["text"]
    attention.split(text, skip="visual")
    names = [name for name, part in text.named_modules() if isinstance(part, nn.Linear) and name.startswith("transformer")]
    inject_adapter_in_model(LoraConfig(target_modules=names, init_lora_weights=False, **config), text)


def test_adapters_in_the_tower_get_the_same_gradient(vit: Backbone, ways: list[str]) -> None:
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = moved(attached(vit, classes))
    adapted(vit, r=2)
    found, expected = rows_of(vit, method, classes), one_by_one(vit, method, classes)
    assert ways == ["encode_packed", "encode"]
    assert_equal(found, expected)
    assert sum("lora" in name for name in found[1]) > 10


@pytest.mark.parametrize("recompute", [True, False], ids=["recomputed", "compiled"])
def test_blocks_that_are_run_otherwise_give_the_same(vit: Backbone, monkeypatch: pytest.MonkeyPatch, recompute: bool) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # which needs no compiler
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = moved(attached(vit, classes))
    expected = one_by_one(vit, method, classes)
    blocks.prepare(vit, recompute, not recompute)
    assert vit.packs
    assert_equal(rows_of(vit, method, classes), expected)


def test_under_bf16_it_is_as_near_as_prompts_one_by_one(vit: Backbone) -> None:
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = moved(attached(vit, classes))
    exact = one_by_one(vit, method, classes)
    with torch.autocast("cpu", torch.bfloat16):
        found, other = rows_of(vit, method, classes), one_by_one(vit, method, classes)
    for ours, theirs, true in ((found[0], other[0], exact[0]), (found[1]["words"], other[1]["words"], exact[1]["words"])):
        assert 0 < (ours - true).norm() < 1.5 * (theirs - true).norm()


def test_layouts_are_made_once_for_a_list_of_names(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(prompt_tuning, "pack", lambda *args: calls.append(1) or pack(*args))  # type: ignore[func-returns-value]
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = attached(vit, classes)
    for _ in range(3):
        rows_of(vit, method, classes)
    assert len(calls) == 1
    turned = classes_of(vit, NAMES[::-1], *TEMPLATES)
    torch.testing.assert_close(rows_of(vit, method, turned)[0].flip(0), rows_of(vit, method, classes)[0], atol=1e-5, rtol=0)
    assert len(calls) == 3


# The layout


def laid(*texts: str, size: int = 64) -> Packs:
    """Texts of one letter a token, each ended by a dot, padded to 16."""
    tokens = torch.tensor([[ord(letter) for letter in text.ljust(16, "\0")] for text in texts])
    found = pack(tokens, torch.full_like(tokens, -1), torch.tensor([len(text) - 1 for text in texts]), size)
    assert found is not None
    return found.packs


def test_a_token_sees_its_own_text_alone() -> None:
    packs = laid("abxz.", "abc.", "abc.", "ab.")
    assert "".join(map(chr, packs.tokens[0])).rstrip("\0") == "ab.c.xz."  # in alphabetical order, what is shared once
    assert packs.places[0, :8].tolist() == [0, 1, 2, 2, 3, 2, 3, 4]
    assert packs.ends.tolist() == [[2, 4, 4, 7]]
    seen = ["".join(chr(packs.tokens[0, i]) for i in row.nonzero()[:, 0]) for row in packs.seen[0, :8]]
    assert seen == ["a", "ab", "ab.", "abc", "abc.", "abx", "abxz", "abxz."]


def test_words_of_their_own_are_not_shared() -> None:
    tokens = torch.tensor([[1, 5, 9, 0, 0, 0, 0, 0]] * 4)
    source = torch.tensor([[-1, i % 2, -1, -1, -1, -1, -1, -1] for i in range(4)])
    found = pack(tokens, source, torch.full((4,), 2), 64)
    assert found is not None
    assert found.packs.tokens[0].tolist() == [1, 5, 9, 5, 9, 0, 0, 0]
    assert found.order.tolist() == [0, 2, 1, 3]


def test_rows_are_few_and_of_one_length() -> None:
    texts = [f"start {a}{b}." for a in "abcdefghij" for b in "abcdefghij"]  # 6 tokens, 10, and 200 in all
    packs, small = laid(*texts), laid(*texts, size=2)
    filled = (packs.tokens > 0).sum(dim=1)
    assert len(packs.tokens) == 4
    assert filled.max() - filled.min() <= 3
    assert packs.tokens.shape[1] == -(-filled.max() // 8) * 8
    assert small.tokens.shape[1] <= 32 < len(small.tokens) * 4


def test_prompts_do_not_see_one_another(vit: Backbone) -> None:
    """Other names change no row; with the mask of one long text they would."""
    method = moved(attached(vit, classes_of(vit, NAMES, *TEMPLATES)))

    def rows(names: list[str]) -> Tensor:
        return rows_of(vit, method, classes_of(vit, names, *TEMPLATES))[0]

    expected = rows(NAMES)
    torch.testing.assert_close(rows([*NAMES[:5], *["dog", "cat", "7", "fox", "x"]])[:5], expected[:5], atol=1e-5, rtol=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Packs, "mask", lambda packs, heads, dtype: torch.full((packs.seen.shape[1],) * 2, float("-inf")).triu_(1))
        assert (rows(NAMES) - expected).abs().max() > 1e-3


# Towers, and where prompts are read one by one


def with_text(folder: Path, **text: Any) -> Backbone:
    config = {"embed_dim": 24, "custom_text": True, "vision_cfg": CONFIGS["vit"]["vision_cfg"], "text_cfg": {**TEXT, **text}}
    return Backbone(write_model(folder / "clip", config)).eval()


def test_a_tower_of_its_own_blocks_pooled_at_an_end_token_packs(tmp_path: Path, ways: list[str]) -> None:
    backbone = with_text(tmp_path, pool_type="eos", eos_id=49407, proj_bias=True, block_type="custom", qk_norm=True)
    classes = classes_of(backbone, NAMES, *TEMPLATES)
    method = moved(attached(backbone, classes))
    assert_equal(rows_of(backbone, method, classes), one_by_one(backbone, method, classes))
    assert ways == ["encode_packed", "encode"]


@pytest.mark.parametrize("family", [name for name in [*ALL_FAMILIES, "bert"] if name not in READ])
def test_towers_that_do_not_read_backwards_alone_read_prompts_one_by_one(every: dict[str, str], family: str, ways: list[str]) -> None:
    backbone = copied(every[family])
    classes = classes_of(backbone, ["cat", "red panda", "red fox"] * 3, *TEMPLATES)
    rows_of(backbone, attached(backbone, classes), classes)
    assert set(ways) == {"encode"}


@pytest.mark.parametrize("text", [{"pool_type": "last"}, {"pool_type": "first"}, {"no_causal_mask": True}, {"embed_cls": True}], ids=str)
def test_so_do_towers_of_another_pooling_or_mask(tmp_path: Path, ways: list[str], text: dict[str, Any]) -> None:
    backbone = with_text(tmp_path, **text)
    classes = classes_of(backbone, NAMES, *TEMPLATES)
    rows_of(backbone, attached(backbone, classes), classes)
    assert set(ways) == {"encode"}


def test_towers_that_draw_at_random_or_are_not_known_pack_nothing(vit: Backbone) -> None:
    assert vit.packs
    adapted(vit, r=2, lora_dropout=0.1)
    vit.eval()
    assert vit.packs
    vit.train()
    assert not vit.packs

    class Other(type(vit.model.transformer)):  # type: ignore[misc]
        pass

    class Block(nn.Module):
        pass

    vit.eval()
    vit.model.transformer.__class__ = Other  # as FSDP2 makes of a module
    assert vit.packs
    vit.model.transformer.resblocks[1] = Block()
    assert not vit.packs


def test_evaluation_reads_prompts_one_by_one_and_so_are_prompts_where_nothing_is_gained(vit: Backbone, ways: list[str]) -> None:
    classes = classes_of(vit, NAMES, *TEMPLATES)
    method = attached(vit, classes)
    with torch.no_grad():
        method.class_rows(vit, classes)
    assert ways == ["encode"]
    alone = classes_of(vit, ["cat"], "a photo of a {}.")
    rows_of(vit, attached(vit, alone), alone)
    assert ways == ["encode", "encode"]
