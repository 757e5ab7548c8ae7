"""Of weights that stay no copy in bfloat16 is kept, and no bit of a step is another."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from cliptune import LoRA, PromptTuning, halves
from cliptune.backbone import Backbone
from cliptune.halves import KINDS
from cliptune.methods.base import ClassTexts, Method
from cliptune.projections import Projections

TEXTS = ["a gull", "two gulls over a grey sea"]


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


def autocasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all products to autocast."""
    for module in ("halves", "projections", "batch_first"):
        monkeypatch.setattr(f"cliptune.{module}.product", lambda module, x, weight, bias: nn.functional.linear(x, weight, bias))


METHODS = {"lora": lambda: LoRA(rank=2), "all": lambda: LoRA(rank=2, targets=["q", "k", "v", "out", "mlp"]), "prompts": PromptTuning}


@pytest.mark.parametrize("name", METHODS)
def test_steps_are_those_of_autocast_bit_by_bit(tiny: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Backbone(tiny["vit"])
    method = attached(backbone, METHODS[name]())
    found = [step(backbone, method) for _ in range(2)]
    autocasts(monkeypatch)
    wanted = step(backbone, method)
    assert len(wanted) > 3
    for own in found:
        for one, other in zip(own, wanted, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", METHODS)
def test_no_weight_that_stays_is_kept_in_bfloat16(tiny: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Backbone(tiny["vit"])
    method = attached(backbone, METHODS[name]())
    linears = [part for part in backbone.modules() if isinstance(part, (nn.Linear, nn.MultiheadAttention, Projections))]
    weights = [p for part in linears for p in (part.packed[:1] if isinstance(part, Projections) else part.parameters(recurse=False))]
    frozen = [weight.detach().bfloat16() for weight in weights if weight.ndim == 2 and not weight.requires_grad]

    def kept() -> list[torch.Size]:
        found = []

        def pack(tensor: Tensor) -> Tensor:
            if any(torch.equal(tensor, weight) or torch.equal(tensor, weight.T) for weight in frozen):
                found.append(tensor.shape)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            step(backbone, method)
        return found

    ours = kept()
    autocasts(monkeypatch)
    for module in ("projections", "adapted_linear"):
        monkeypatch.setattr(f"cliptune.{module}.wanted", lambda: False)
    assert kept()
    assert not ours


def test_what_learns_and_what_is_sharded_is_left_to_autocast() -> None:
    layer = nn.Sequential(nn.Linear(4, 5)).requires_grad_(False)
    halves.install(layer)
    linear, x = layer[0], torch.randn(2, 3, 4, requires_grad=True)
    assert type(linear) is KINDS[nn.Linear]

    def ours() -> bool:
        return "Product" in type(layer(x).grad_fn).__name__

    assert not ours()
    with half():
        assert ours()
        assert layer(x).dtype == torch.bfloat16
        linear.bias.requires_grad_(True)  # type: ignore[union-attr]
        assert not ours()
        layer(x).float().sum().backward()
        assert torch.equal(linear.bias.grad, torch.full((5,), 6.0))  # type: ignore[union-attr,arg-type]
        layer.requires_grad_(False)
        assert ours()
        with torch.no_grad():
            assert not layer(x).requires_grad
        halves.let_go(layer)
        assert not ours()
    halves.remove(layer)
    assert type(layer[0]) is nn.Linear


def test_towers_are_plain_open_clip_again_where_that_is_wanted(vit: Backbone) -> None:
    plain = copy.deepcopy(vit)
    assert any(type(module) in KINDS.values() for module in plain.modules())
    plain.restore_shapes()
    assert not any(type(module) in KINDS.values() for module in plain.modules())
