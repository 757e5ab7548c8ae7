"""What the log says of a batch before training: how large it is over all devices, and which settings make it something else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from cliptune.module import AdaptModule

log = logging.getLogger(__name__)


def batch_size_line(devices: int, each: int, hard: bool = False) -> str:
    """Such as `global batch 4096 = 8 devices x 512, 4095 negatives each`."""
    whole = devices * each
    where = f"{devices} devices x {each}" if devices > 1 else "1 device"
    return f"global batch {whole} = {where}, {whole - 1} negatives each (equals are none){' and the hard ones' * hard}"


def announce(module: AdaptModule) -> None:
    """Say what the batch is, and warn of what it is not."""
    trainer = module.trainer
    each = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    pairs = "pairs" in module.objective.needs
    if pairs and each:
        data = trainer.datamodule  # type: ignore[attr-defined]
        log.info(batch_size_line(trainer.world_size, each, bool(getattr(data, "swaps", 0) or getattr(data, "negative_column", None))))
    if pairs and trainer.accumulate_grad_batches > 1:
        log.warning(
            f"trainer.accumulate_grad_batches {trainer.accumulate_grad_batches} gives no larger contrastive batch: each part has "
            "only its own negatives. For the gradient of the whole batch raise data.batch_size and set model.chunk_size."
        )
    if (module.chunk_size or trainer.world_size > 1) and any(map(_counts_its_own, module.backbone.modules())):
        parts = "each chunk" if module.chunk_size else "each device"
        way = "Use a method that leaves them frozen" + ("." if module.chunk_size else ", or set trainer.sync_batchnorm: true.")
        log.warning(f"batch normalisation learns here, and sees {parts} alone: the gradient is not that of the whole batch. {way}")


def _counts_its_own(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm) and any(p.requires_grad for p in layer.parameters())
