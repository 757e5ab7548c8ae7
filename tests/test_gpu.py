"""On a CUDA device: precision, compiled blocks, DDP and FSDP2 over NCCL on one GPU, and a batch of 32,768 in chunks.

Run with `pytest -m gpu tests/test_gpu.py`; skipped where there is none.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from conftest import classes_for, images_for
from test_blocks import METHODS
from torch.distributed.device_mesh import init_device_mesh

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.devices import FSDP2, default_precision
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.methods.lora import LoRA
from cliptune.module import AdaptModule
from cliptune.objectives.base import StepRows
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.objectives.sigmoid import Sigmoid
from cliptune.shard import shard

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


@pytest.fixture
def nccl(tmp_path: Path) -> Iterator[None]:
    """A group of one process that talks by NCCL."""
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def fit(backbone: Backbone, method: Method, folder: Path, objective: Any = None, **options: Any) -> AdaptModule:
    objective = objective or CrossEntropy()
    data = ImageTextData(shots=4, batch_size=8, workers=0, preprocess=backbone.preprocess, needs=sorted(objective.needs))
    how = {key: options.pop(key) for key in ("chunk_size", "compile", "activation_checkpointing") if key in options}
    module = AdaptModule(backbone, method, objective, lambda params: torch.optim.AdamW(params, lr=1e-4), **how)
    given: dict[str, Any] = {"max_steps": 3, "accelerator": "gpu", "devices": 1, "precision": "bf16-mixed", "logger": False}
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(**{**given, **quiet, "use_distributed_sampler": False, "default_root_dir": folder, **options})
    trainer.fit(module, datamodule=data)
    return module


def test_bfloat16_is_the_default_and_the_weights_stay_float32(tiny: dict[str, str], tmp_path: Path) -> None:
    assert default_precision("auto") == "bf16-mixed"
    for method in METHODS.values():
        module = fit(Backbone(tiny["vit"]), method, tmp_path)
        assert {p.dtype for p in module.parameters()} == {torch.float32}
        assert module.device.type == "cuda"


def test_losses_on_the_gpu_are_those_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(700, 64, generator=generator), dim=-1) for _ in range(2))
    identity = torch.stack([torch.arange(700) % 90, torch.arange(700), torch.arange(700)], dim=1)
    torch.set_float32_matmul_precision("high")  # which losses do not heed
    try:
        for objective in (Contrastive(), Contrastive(positives="any", label_smoothing=0.1), Sigmoid()):
            found = []
            for device in ("cpu", "cuda"):
                parts = [part.to(device).requires_grad_() for part in (images, texts)]
                scale, bias = torch.tensor([100.0], device=device), torch.tensor([-10.0], device=device)
                loss = objective(StepRows(parts[0], scale, bias, parts[1], identity.to(device)))
                loss.backward()
                found.append((loss.item(), parts[0].grad.cpu()))  # type: ignore[union-attr]
            assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
            torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-5 * float(found[0][1].abs().max()))
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_trains_compiled(tiny: dict[str, str], tmp_path: Path, method: Method) -> None:
    torch._dynamo.reset()
    fit(Backbone(tiny["vit"]), method, tmp_path, compile=True)


@pytest.mark.parametrize("how", [{}, {"chunk_size": 3}, {"activation_checkpointing": True}], ids=str)
def test_ddp_runs_on_one_gpu(tiny: dict[str, str], tmp_path: Path, how: dict[str, Any]) -> None:
    for key in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(key, None)
    try:
        for objective in (Contrastive(), Sigmoid()):
            fit(Backbone(tiny["vit"]), Full(), tmp_path, objective, strategy="ddp", **how)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_fsdp2_trains_on_one_gpu(tiny: dict[str, str], tmp_path: Path) -> None:
    try:
        fit(Backbone(tiny["vit"]), LoRA(), tmp_path, Contrastive(), strategy=FSDP2())
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@pytest.mark.usefixtures("nccl")
def test_a_large_vit_is_sharded_block_by_block_and_takes_a_step() -> None:
    backbone = Backbone("ViT-L-14", "random").cuda()
    module = AdaptModule(backbone, Full(), CrossEntropy())
    module.attach(classes_for(backbone))
    shard(module, init_device_mesh("cuda", (1,)))
    from torch.distributed.fsdp import FSDPModule

    sharded = [part for part in module.modules() if isinstance(part, FSDPModule)]
    assert len(sharded) == 24 + 12 + 1  # blocks of both towers, and the rest
    batch: Any = {"images": images_for(backbone, 4).cuda(), "label": torch.tensor([0, 1, 2, 0]).cuda(), "row": torch.arange(4)}
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = module.training_step(batch, 0)
    assert loss is not None
    loss.backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)


def test_a_batch_of_32768_fits_in_chunks(capsys: pytest.CaptureFixture[str]) -> None:
    backbone, batch = Backbone("ViT-B-32", "random").cuda(), 32_768
    module = AdaptModule(backbone, Full(), Contrastive(), chunk_size=512)
    module.attach()
    module.train()
    tokens = backbone.preprocess.tokenize([f"a photo of thing number {i}" for i in range(batch)]).cuda()
    numbers = torch.arange(batch, device="cuda")
    seen: Any = {
        "images": torch.randint(256, (batch, 3, 224, 224), dtype=torch.uint8, device="cuda"),
        "tokens": tokens, "text": numbers, "identity": numbers[:, None].expand(-1, 3), "label": numbers, "row": numbers,
    }  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss, _ = module.objective.parts(module.step_rows(seen))
    loss.backward()
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    with capsys.disabled():
        print(f"\nbatch 32,768 in chunks of 512, ViT-B-32: peak {peak:.1f} GiB beyond model and pixels, loss {loss.item():.3f}")
    assert torch.isfinite(loss)
    assert peak < 30
