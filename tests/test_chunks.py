"""Chunks: the same rows and gradient as all at once, the same draws twice, batch statistics counted once, and less kept."""

from typing import Any

import pytest
import torch
from conftest import classes_for, images_for
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.chunks import in_chunks
from cliptune.errors import ConfigError
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy


def gradient(net: nn.Module, inputs: Tensor, size: int | None) -> Tensor:
    net.zero_grad()
    rows = in_chunks(net, inputs, size, over=net)
    (rows @ rows.T).logsumexp(dim=1).sum().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 3, 4, 10, 11])
def test_rows_and_gradient_are_those_of_all_at_once(size: int) -> None:
    net, inputs = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3)), torch.randn(10, 5)
    torch.testing.assert_close(in_chunks(net, inputs, size), net(inputs))
    torch.testing.assert_close(gradient(net, inputs, size), gradient(net, inputs, None), rtol=1e-5, atol=1e-6)


def test_the_backward_pass_draws_what_the_forward_pass_drew() -> None:
    torch.manual_seed(0)
    net, inputs = nn.Sequential(nn.Linear(5, 64), nn.Dropout(0.5), nn.Linear(64, 3)), torch.randn(10, 5)
    seen: list[Tensor] = []
    net[1].register_forward_hook(lambda module, args, out: seen.append((out == 0).detach()))
    gradient(net, inputs, 4)
    assert len(seen) == 6
    first, again = seen[:3], seen[3:]
    assert all(any(torch.equal(mask, other) for other in again) for mask in first)
    assert not torch.equal(first[0], first[1])


def test_the_gradient_under_patch_dropout_is_that_of_the_same_draws_kept(tiny: dict[str, str]) -> None:
    backbone = Backbone(tiny["vit"], patch_dropout=0.5).train()
    images = images_for(backbone, 6)

    def run(kept: bool) -> list[Tensor]:
        torch.manual_seed(3)
        backbone.zero_grad()
        chunks = images.split(2)
        rows = torch.cat([backbone.encode_image(part) for part in chunks]) if kept else in_chunks(backbone.encode_image, images, 2)
        (rows @ rows.T).logsumexp(dim=1).sum().backward()
        return [p.grad.clone() for p in backbone.model.visual.parameters() if p.grad is not None]

    for found, expected in zip(run(False), run(True), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_running_batch_statistics_are_counted_once() -> None:
    torch.manual_seed(0)
    inputs, norm = torch.randn(8, 5), nn.BatchNorm1d(5)
    other = nn.BatchNorm1d(5)
    in_chunks(norm, inputs, 4, over=norm).sum().backward()
    for part in inputs.split(4):
        other(part)
    for key, value in other.state_dict().items():
        assert torch.equal(norm.state_dict()[key], value), key


def test_only_one_chunk_is_kept() -> None:
    held: list[int] = []

    def encode(part: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
            return net(part)  # type: ignore[no-any-return]

    net, inputs = nn.Sequential(nn.Linear(5, 100), nn.GELU(), nn.Linear(100, 3)), torch.randn(16, 5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        in_chunks(net, inputs, None)
        whole = sum(held)
        held.clear()
        in_chunks(net, inputs, 4)
    assert sum(held) < whole / 4


def test_without_a_gradient_nothing_is_computed_twice() -> None:
    calls: list[int] = []

    def encode(part: Tensor) -> Tensor:
        calls.append(len(part))
        return part

    with torch.no_grad():
        in_chunks(encode, torch.randn(7, 2), 3)
    assert calls == [3, 3, 1]
    calls.clear()
    in_chunks(encode, torch.randn(7, 2), None, plain=5)
    assert calls == [5, 2]


@pytest.mark.parametrize("family", ["vit", "rn50", "siglip", "convnext"], indirect=True)
def test_a_module_in_chunks_has_the_rows_of_one_without(backbone: Backbone) -> None:
    def rows(size: int | None) -> tuple[Tensor, Tensor]:
        module = AdaptModule(backbone, Full(), CrossEntropy(), chunk_size=size)
        module.attach(classes_for(backbone))
        batch: Any = {"images": images_for(backbone, 5), "label": torch.zeros(5, dtype=torch.long), "row": torch.arange(5)}
        found = module.step_rows(batch)
        assert found.classes is not None
        return found.images, found.classes

    for found, expected in zip(rows(2), rows(None), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_chunks_compose_with_bfloat16(vit: Backbone) -> None:
    def slope(size: int | None, autocast: bool) -> Tensor:
        module = AdaptModule(vit, Full(), CrossEntropy(), chunk_size=size)
        module.attach(classes_for(vit))
        vit.zero_grad()
        batch: Any = {"images": images_for(vit, 6), "label": torch.arange(6) % 3, "row": torch.arange(6)}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss, _ = module.objective.parts(module.step_rows(batch))
        loss.backward()
        return torch.cat([p.grad.flatten() for p in vit.parameters() if p.grad is not None])

    exact, whole, chunked = slope(None, False), slope(None, True), slope(2, True)
    rounding = (whole - exact).norm() / exact.norm()
    assert 1e-4 < rounding < 0.2  # bfloat16 it is
    assert (chunked - whole).norm() / exact.norm() < rounding / 2  # and the same bfloat16 in chunks, but for the order of sums


def test_a_chunk_of_nothing_is_refused(vit: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"model: chunk_size 0 is not positive\. Take 64, or leave it out"):
        AdaptModule(vit, Full(), Contrastive(), chunk_size=0)
