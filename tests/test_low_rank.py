"""A product and its adapters in one: peft's numbers, with one copy of the input, and peft's own path for all that is more."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from cliptune import adapted_linear, adapters
from cliptune.adapted_linear import AdaptedLinear
from cliptune.low_rank import pairs_of
from cliptune.projections import Projections

WIDTH = 16


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.qkv = Projections(torch.randn(3 * WIDTH, WIDTH, generator=generator) / 4, torch.randn(3 * WIDTH, generator=generator))
        self.out = nn.Linear(WIDTH, WIDTH)
        with torch.no_grad():
            self.out.weight.copy_(torch.randn(WIDTH, WIDTH, generator=generator) / 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x)
        return torch.cat([q, k, v, self.out(q)], dim=-1)


def layers(config: dict[str, Any], ours: bool) -> Layers:
    """A frozen matrix for q, k and v and a Linear, adapted; computed together, or by peft."""
    torch.manual_seed(0)
    model = Layers()
    model.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=3, lora_alpha=6, **config), model, adapters.ADAPTER)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))) / 4)
    if ours:
        for layer in adapters.layers(model).values():
            adapted_linear.install(layer)
    return model


def run(model: Layers, half: bool = False) -> list[Tensor]:
    """What comes out, and all gradients."""
    x = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = model(x)
    found.float().square().sum().backward()
    assert x.grad is not None
    return [found.detach(), x.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("targets", [["q", "k", "v"], ["v"], ["q", "k", "v", "out"]])
def test_numbers_and_gradients_are_pefts(targets: list[str], half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(layers({"target_modules": targets}, True), half)
    monkeypatch.setattr("cliptune.projections.wanted", lambda: False)
    wanted = run(layers({"target_modules": targets}, False), half)
    assert len(found) == len(wanted) == 2 + 2 * len(targets)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        greatest = float(theirs.float().abs().max())
        torch.testing.assert_close(ours, theirs, atol=(2e-2 if half else 1e-5) * greatest, rtol=0)


def test_of_the_input_one_copy_is_kept() -> None:
    model, kept = layers({"target_modules": ["q", "k", "v", "out"]}, True), {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tuple(tensor.shape)
        return tensor

    x = torch.randn(64, WIDTH).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(x)
    assert sorted(shape for shape in kept.values() if shape[0] == 64) == [(64, 3), (64, 9), (64, WIDTH), (64, WIDTH)]


MORE: dict[str, dict[str, Any]] = {
    "magnitudes": {"use_dora": True},
    "dropout": {"lora_dropout": 0.5},
    "a bias": {"lora_bias": True, "bias": "none"},
}


@pytest.mark.parametrize("name", MORE)
def test_what_is_more_than_two_matrices_stays_pefts(name: str) -> None:
    config = {"target_modules": ["q", "k", "v", "out"], **MORE[name]}
    model = layers(config, True).train()
    assert pairs_of([model.qkv.q, model.qkv.k, model.qkv.v]) is None
    assert pairs_of([model.out]) is None
    for layer in adapters.layers(model).values():
        assert isinstance(layer, AdaptedLinear)
    theirs_alone = layers(config, False).train()
    torch.manual_seed(0)
    found = run(model)
    torch.manual_seed(0)
    wanted = run(theirs_alone)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_dropout_counts_in_training_only() -> None:
    model = layers({"target_modules": ["out"], "lora_dropout": 0.5}, True)
    assert pairs_of([model.train().out]) is None
    assert len(pairs_of([model.eval().out]) or ()) == 1


def test_switched_off_and_merged_adapters_add_nothing_twice() -> None:
    model = layers({"target_modules": ["q", "out"]}, True)
    x = torch.randn(4, WIDTH)
    adapted = model(x)
    with adapters.switched_off(model):
        assert pairs_of([model.out]) == []
        assert (model(x) - adapted).abs().max() > 0.1
    for layer in adapters.layers(model).values():
        layer.merge()
    assert pairs_of([model.out]) is None
    torch.testing.assert_close(model(x), adapted, atol=1e-5, rtol=1e-5)
