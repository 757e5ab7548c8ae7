"""How blocks are run: with activations computed again, and compiled; every method, the same gradient, names and bits of the weights."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, classes_for, images_for
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.methods.linear_probe import LinearProbe
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.module import AdaptModule
from cliptune.objectives.cross_entropy import CrossEntropy

METHODS: dict[str, Method] = {
    "Full": Full(),
    "LoRA": LoRA(targets=["q", "v", "mlp"]),
    "words": PromptTuning(),
    "deep image prompts": PromptTuning(towers="both", depth="deep"),
    "probe": LinearProbe(),
}


def gradient(name: str, method: Method, **how: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    backbone = Backbone(name)
    module = AdaptModule(backbone, deepcopy(method), CrossEntropy(), **how)
    module.attach(classes_for(backbone))
    module.train()
    batch: Any = {"images": images_for(backbone, 4), "label": torch.tensor([0, 1, 2, 0]), "row": torch.arange(4)}
    loss, _ = module.objective.parts(module.step_rows(batch))
    loss.backward()
    found = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    statistics = {key: value.float() for key, value in backbone.named_buffers() if "running" in key}
    return {**found, **statistics, "loss": loss.detach()}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-4, atol=1e-5 * max(1.0, float(value.abs().max())), msg=lambda m, k=key: f"{k}: {m}"
        )


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_activations_computed_again_give_the_same_gradient_and_statistics(tiny: dict[str, str], family: str) -> None:
    assert_close(gradient(tiny[family], Full(), activation_checkpointing=True), gradient(tiny[family], Full()))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_runs_with_activations_computed_again(tiny: dict[str, str], method: Method) -> None:
    expected = gradient(tiny["vit"], method)
    assert_close(gradient(tiny["vit"], method, activation_checkpointing=True), expected)
    assert_close(gradient(tiny["vit"], method, activation_checkpointing=True, chunk_size=2), expected)


def test_blocks_are_run_a_second_time_in_the_backward_pass(vit: Backbone) -> None:
    calls: list[int] = []
    vit.model.visual.transformer.resblocks[0].ln_1.register_forward_hook(lambda *_: calls.append(1))
    module = AdaptModule(vit, Full(), CrossEntropy(), activation_checkpointing=True)
    module.attach(classes_for(vit))
    vit.encode_image(images_for(vit, 2)).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        vit.encode_image(images_for(vit, 2))
    assert len(calls) == 3


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_compiles_to_the_same_gradient(tiny: dict[str, str], method: Method) -> None:
    torch._dynamo.reset()
    expected = gradient(tiny["vit"], method)
    assert_close(gradient(tiny["vit"], method, compile=True), expected)
    assert_close(gradient(tiny["vit"], method, compile=True, activation_checkpointing=True, chunk_size=2), expected)


def test_compiled_blocks_are_compiled_and_the_weights_keep_their_names(tiny: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda run: compiled.append(run) or run)
    backbone = Backbone(tiny["vit"])
    names = set(backbone.state_dict())
    AdaptModule(backbone, Full(), CrossEntropy(), compile=True).attach(classes_for(backbone))
    assert len(compiled) == 6  # three blocks of each tower
    assert set(backbone.state_dict()) == names
