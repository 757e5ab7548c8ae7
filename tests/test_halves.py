"""Weights that stay are turned into bfloat16 once, and no bit of a step is another."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cliptune import LoRA, PromptTuning, halves
from cliptune.backbone import Backbone
from cliptune.halves import KINDS, turned
from cliptune.methods.base import ClassTexts, Method

TEXTS = ["a gull", "two gulls over a grey sea"]


class Turns(TorchDispatchMode):
    """Counts the matrices that are turned from float32 into bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and found.dtype == torch.bfloat16 and args[0].ndim == 2:
            self.shapes.append(tuple(args[0].shape))
        return found


@contextmanager
def half() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def attached(backbone: Backbone, method: Method) -> Method:
    torch.manual_seed(0)
    method.attach(backbone, ClassTexts(["cat", "dog"], [["a cat"], ["a dog"]], backbone.preprocess))
    method.train_mode(backbone)
    return method


def step(backbone: Backbone, method: Method) -> list[Tensor]:
    """Rows of images, texts and classes, and the gradients of what learns."""
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    classes = ClassTexts(["cat", "dog"], [["a cat"], ["a dog"]], backbone.preprocess)
    backbone.zero_grad()
    method.zero_grad()
    with half():
        rows = [method.image_rows(backbone, images), method.text_rows(backbone, backbone.preprocess.tokenize(TEXTS))]
        rows.append(method.class_rows(backbone, classes).rows)
    sum((each * torch.arange(each.shape[1])).sum() for each in rows).backward()  # type: ignore[union-attr]
    learns = {id(p): p for part in (backbone, method) for p in part.parameters() if p.grad is not None}
    return [*(each.detach() for each in rows), *(p.grad for p in learns.values())]  # type: ignore[misc]


METHODS = {"lora": lambda: LoRA(rank=2), "all": lambda: LoRA(rank=2, targets=["q", "k", "v", "out", "mlp"]), "prompts": PromptTuning}


@pytest.mark.parametrize("name", METHODS)
def test_steps_are_those_of_autocast_bit_by_bit(tiny: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Backbone(tiny["vit"])
    method = attached(backbone, METHODS[name]())
    found = [step(backbone, method) for _ in range(2)]
    for module in ("halves", "projections", "batch_first"):
        monkeypatch.setattr(f"cliptune.{module}.turned", lambda module, weight: weight)
    wanted = step(backbone, method)
    assert len(wanted) > 3
    for own in found:
        for one, other in zip(own, wanted, strict=True):
            assert torch.equal(one, other)


def test_what_stays_is_turned_in_the_first_step_alone(tiny: dict[str, str]) -> None:
    backbone = Backbone(tiny["vit"])
    method = attached(backbone, LoRA(rank=2))
    counts = []
    for _ in range(3):
        with Turns() as turns:
            step(backbone, method)
        counts.append(sum(shape[0] > 2 < shape[1] for shape in turns.shapes))  # the thin ones learn
    assert counts[1] == counts[2] < counts[0] / 2


def test_a_weight_that_changes_is_turned_anew_and_one_that_learns_is_left_to_autocast() -> None:
    layer = nn.Sequential(nn.Linear(4, 4)).requires_grad_(False)
    halves.install(layer)
    linear, x = layer[0], torch.randn(3, 4)
    assert type(linear) is KINDS[nn.Linear]

    def kept() -> Any:
        return turned(linear, linear.weight)  # type: ignore[arg-type]

    with half():
        first = kept()
        assert first.dtype == torch.bfloat16
        assert kept() is first
        with torch.no_grad():
            assert kept() is linear.weight
            linear.weight.copy_(torch.ones(4, 4))  # type: ignore[operator]
        assert torch.equal(kept().float(), torch.ones(4, 4))
        expected = nn.functional.linear(x, linear.weight, linear.bias)  # type: ignore[arg-type]
        assert torch.equal(layer(x), expected)
        linear.weight.data = torch.zeros(4, 4)
        assert not kept().any()
        linear.requires_grad_(True)
        assert kept() is linear.weight
    assert turned(linear.requires_grad_(False), linear.weight) is linear.weight  # type: ignore[arg-type]
    halves.let_go(layer)
    with half():
        assert kept() is linear.weight
    halves.remove(layer)
    assert type(layer[0]) is nn.Linear


def test_towers_are_plain_open_clip_again_where_that_is_wanted(vit: Backbone) -> None:
    plain = copy.deepcopy(vit)
    assert any(type(module) in KINDS.values() for module in plain.modules())
    plain.restore_shapes()
    assert not any(type(module) in KINDS.values() for module in plain.modules())
