"""Towers too large for one device: FSDP2 over the blocks of both, and over all else at once (`ModelParallelStrategy`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cliptune import halves
from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.projections import Projections

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from cliptune.module import AdaptModule

# what reads weights that lie outside the blocks: FSDP gathers them before and lets them go after
ENTRIES = ("training_step", "validation_step", "test_step", "predict_step", "prepare_evaluation", "score_guards")


def shard(module: AdaptModule, mesh: DeviceMesh) -> None:
    """Shard every parameter over the processes; gradients are means over them, as DDP's are.

    Args:
        module: its method attached.
        mesh: of one dimension.

    Raises:
        ConfigError: the method or torch cannot.
    """
    try:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    except ImportError:
        raise ConfigError(f"FSDP2 needs torch 2.6 or later, and this is {torch.__version__}. Upgrade, or use configs/scale/ddp.") from None
    if module.method.solves:
        raise ConfigError(f"{type(module.method).__name__}: lbfgs needs all rows on one device. Use solver: sgd, or configs/scale/ddp.")
    backbones = [module.backbone, *([module.teacher.copy] if module.teacher is not None and module.teacher.copy is not None else [])]
    for backbone in backbones:
        _shard_blocks(backbone, mesh, fully_shard)
    fully_shard(module, mesh=mesh)
    for name in ENTRIES:
        register_fsdp_forward_method(module, name)
    module.sharded = True


def _shard_blocks(backbone: Backbone, mesh: DeviceMesh, fully_shard: Any) -> None:
    for part in backbone.modules():
        if isinstance(part, Projections):
            part.separate()
    for tower in backbone.towers().values():
        halves.let_go(tower)
        for _, block in T.blocks(tower):
            fully_shard(block, mesh=mesh)


def load(module: AdaptModule, state: dict[str, Tensor]) -> None:
    """Put whole tensors into a sharded module; each process has all of them, and keeps its part."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict  # which brings torchelastic

    set_model_state_dict(module, dict(state), options=StateDictOptions(full_state_dict=True, strict=False))
