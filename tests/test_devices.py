"""Precision by hardware, TF32, what is said of a batch, and who speaks for several processes."""

import logging
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cliptune.advice import announce, batch_size_line
from cliptune.backbone import Backbone
from cliptune.devices import allow_tf32, default_precision
from cliptune.main import main
from cliptune.methods.full import Full
from cliptune.methods.lora import LoRA
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.processes import is_main
from cliptune.similarity import exact


@pytest.mark.parametrize(
    ("cuda", "bf16", "cpu", "accelerator", "expected"),
    [
        (True, True, False, "auto", "bf16-mixed"),
        (True, False, True, "gpu", "32-true"),
        (True, True, False, "cpu", "32-true"),
        (False, False, True, "auto", "bf16-mixed"),
        (False, False, False, "auto", "32-true"),
        (False, False, True, "mps", "32-true"),
    ],
)
def test_bfloat16_is_the_default_where_the_hardware_has_it(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, bf16: bool, cpu: bool, accelerator: str, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: cpu, raising=False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert default_precision(accelerator) == expected


def test_tf32_is_for_gpus_and_never_for_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        allow_tf32()
        assert torch.get_float32_matmul_precision() == ("high" if torch.cuda.is_available() else before)
        torch.set_float32_matmul_precision("high")
        seen = []
        cuda: Any = SimpleNamespace(type="cuda")
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
        with exact(cuda):
            seen.append(torch.get_float32_matmul_precision())
        assert [*seen, torch.get_float32_matmul_precision()] == ["highest", "high"]
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_batch_is_that_of_all_devices() -> None:
    assert batch_size_line(8, 512) == "global batch 4096 = 8 devices x 512, 4095 negatives each (equals are none)"
    assert batch_size_line(1, 64) == "global batch 64 = 1 device, 63 negatives each (equals are none)"


def said(module: AdaptModule, caplog: pytest.LogCaptureFixture, world: int = 1, parts: int = 1) -> str:
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world, accumulate_grad_batches=parts, datamodule=SimpleNamespace(batch_size=16)
    )
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="cliptune"):
        announce(module)
    return caplog.text


def test_accumulation_is_no_larger_contrastive_batch_and_says_so(vit: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    module = AdaptModule(vit, Full(), Contrastive())
    module.attach()
    assert "gives no larger contrastive batch" in said(module, caplog, parts=4)
    assert "raise data.batch_size and set model.chunk_size" in caplog.text
    assert "WARNING" not in said(module, caplog)
    assert "global batch 32 = 2 devices x 16" in said(module, caplog, world=2)


def test_batch_normalisation_that_learns_in_parts_is_warned_of(tiny: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    module = AdaptModule(Backbone(tiny["rn50"]), Full(), Contrastive(), chunk_size=4)
    module.attach()
    assert "sees each chunk alone" in said(module, caplog)
    module = AdaptModule(Backbone(tiny["rn50"]), Full(), Contrastive())
    module.attach()
    assert "sees each device alone" in said(module, caplog, world=2)
    assert "trainer.sync_batchnorm: true" in caplog.text
    module = AdaptModule(Backbone(tiny["rn50"]), LoRA(targets=["conv"], towers="image"), Contrastive(), chunk_size=4)
    module.attach()
    assert "batch normalisation" not in said(module, caplog)


def test_a_step_is_seeded_by_its_number_and_no_traceback_is_noted(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    module = AdaptModule(vit, Full(), Contrastive())
    module._trainer = SimpleNamespace(global_step=7)  # type: ignore[assignment]
    noted, draws = [], []
    monkeypatch.setattr("traceback.format_stack", lambda *arguments: noted.append(0) or [])
    for step in (7, 8, 7):
        module._trainer.global_step = step
        module.on_train_batch_start({}, 0)  # type: ignore[typeddict-item]
        draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    assert not noted


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_RANK", raising=False)
    assert is_main()
    monkeypatch.setenv("NODE_RANK", "1")
    assert not is_main()


def test_an_error_of_another_process_is_told_with_its_number_and_after_the_firsts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("cliptune.main.time.sleep", waits.append)
    monkeypatch.setenv("RANK", "3")
    assert main(["fit", "--config", "nothing.yaml"]) == 2
    assert capsys.readouterr().err.startswith("process 3: ConfigError: config nothing.yaml")
    assert len(waits) == 1
