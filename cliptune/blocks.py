"""How a tower's blocks are run: compiled, or with their activations computed again in the backward pass. Names and weights stay."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.chunks import counted
from cliptune.errors import ConfigError


def prepare(backbone: Backbone, recompute: bool, compiled: bool) -> None:
    """Change how the blocks of both towers are run, once.

    Args:
        backbone: with all that a method adds in place.
        recompute: keep only what enters each block.
        compiled: by `torch.compile`; each kind of block is compiled once, at its first step.

    Raises:
        ConfigError: a tower has no blocks.
    """
    for name, tower in backbone.towers().items() if recompute or compiled else ():
        blocks = T.blocks(tower)
        if not blocks:
            key = "activation_checkpointing" if recompute else "compile"
            raise ConfigError(f"model: {key} works block by block, and the {name} tower of {backbone.name} has none. Set it to false.")
        for _, block in blocks:
            run: Callable[..., Any] = torch.compile(block.forward) if compiled else block.forward
            block.forward = _recomputed(block, run) if recompute else run


def _recomputed(block: nn.Module, run: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return run(*args, **kwargs)
        return checkpoint(run, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), counted(block)), **kwargs)

    return forward
