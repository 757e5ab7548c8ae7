"""FSDP2 on two CPU processes: the gradient of one process, and weights that are whole again."""

from typing import Any

import pytest
import torch
from pair import WORLD, Pair
from test_equality import BATCH, METHODS, OBJECTIVES, assert_same, batch_of, examples, gradients, moved_module
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from cliptune.backbone import Backbone
from cliptune.checkpoint import learned_names
from cliptune.distributed import mean_of, rank, world
from cliptune.errors import ConfigError
from cliptune.methods.linear_probe import LinearProbe
from cliptune.module import AdaptModule
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.shard import load, shard

TOLERANCE = 2e-6
CASES = [
    ("Contrastive", "Full"),
    ("Contrastive", "LoRA"),
    ("Sigmoid", "Full"),
    ("Sigmoid", "LoRA"),
    ("CrossEntropy", "words"),
    ("CrossEntropy", "Full"),
    ("any", "Full"),
    ("classes", "LoRA"),
    ("features", "Full"),
    ("features", "LoRA"),
    ("similarities", "image prompts"),
    ("L2SP", "Full"),
    ("L2SP", "LoRA"),
]


def sharded_gradients(name: str, case: tuple[str, str], items: list[dict[str, Any]], chunk: int | None) -> tuple[dict[str, Tensor], float]:
    """The whole gradient, and the share of the parameters that this process holds."""
    torch.set_num_threads(1)
    module = moved_module(name, case, chunk)
    shard(module, init_device_mesh("cpu", (WORLD,)))
    module.train()
    half = BATCH // WORLD
    loss = module.training_step(batch_of(module.backbone, items[rank() * half : (rank() + 1) * half]), 0)
    assert loss is not None
    loss.backward()
    found = {key: whole(p.grad) for key, p in module.named_parameters() if p.requires_grad and p.grad is not None}
    own = sum(p.to_local().numel() for p in module.parameters())  # type: ignore[attr-defined]
    return {**found, "loss": mean_of({"loss": loss})["loss"]}, own / sum(p.numel() for p in module.parameters())


def whole(value: Any) -> Tensor:
    return value.full_tensor()  # type: ignore[no-any-return]


@pytest.mark.parametrize("chunk", [None, 4, 7], ids=["whole", "chunks", "unequally many chunks"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_sharded_the_gradient_is_that_of_one_process(tiny: dict[str, str], pair: Pair, case: tuple[str, str], chunk: int | None) -> None:
    items = examples(equals=True, unequal=True)
    expected = gradients(tiny["vit"], case, items, [BATCH], None)
    for found, share in pair(sharded_gradients, tiny["vit"], case, items, chunk):
        assert_same(found, expected, TOLERANCE)
        assert share == pytest.approx(1 / WORLD, abs=0.02)


def sharded_steps(name: str, items: list[dict[str, Any]]) -> list[float]:
    """The losses of three steps of Sigmoid, whose bias is placed in the first."""
    torch.set_num_threads(1)
    module = moved_module(name, ("Sigmoid", "Full"), None)
    if world() > 1:
        shard(module, init_device_mesh("cpu", (WORLD,)))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    half = BATCH // world()
    batch, losses = batch_of(module.backbone, items[rank() * half : (rank() + 1) * half]), []
    for _ in range(3):
        loss = module.training_step(batch, 0)
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(mean_of({"loss": loss})["loss"]))
    return losses


def test_steps_follow_one_another_as_in_one_process(tiny: dict[str, str], pair: Pair) -> None:
    items = examples(equals=True, unequal=False)
    expected = sharded_steps(tiny["vit"], items)
    assert abs(expected[0] - expected[2]) > 1e-3
    for found in pair(sharded_steps, tiny["vit"], items):
        assert found == pytest.approx(expected, rel=1e-5)


def loaded(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a sharded module holds after loading."""
    module = moved_module(name, ("Contrastive", "Full"), None)
    shard(module, init_device_mesh("cpu", (WORLD,)))
    load(module, state)
    found = module.state_dict()
    return {key: whole(found[key]) for key in state}


def test_whole_tensors_load_into_a_sharded_module(tiny: dict[str, str], pair: Pair) -> None:
    module = moved_module(tiny["vit"], ("Contrastive", "Full"), None)
    names = learned_names(module.method, module.objective, module.backbone)
    state = {name: torch.randn_like(value) for name, value in module.state_dict().items() if name in names}
    for found in pair(loaded, tiny["vit"], state):
        for key, value in state.items():
            assert torch.equal(found[key], value), key


def test_what_needs_all_rows_on_one_device_is_refused(vit: Backbone) -> None:
    module = AdaptModule(vit, LinearProbe(solver="lbfgs"), CrossEntropy())
    with pytest.raises(ConfigError, match=r"LinearProbe: lbfgs needs all rows on one device\. Use solver: sgd, or configs/scale/ddp"):
        shard(module, None)  # type: ignore[arg-type]


def test_the_cases_are_of_the_equality_matrix() -> None:
    assert {objective for objective, _ in CASES} <= set(OBJECTIVES)
    assert {method for _, method in CASES} <= set(METHODS)
