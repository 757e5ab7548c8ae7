"""A tower in chunks: activations of one chunk at a time, computed again in the backward pass, with the same draws and the same gradient.

The rows of all chunks meet in one loss, which is what gradient accumulation cannot give a contrastive loss (Gao et al. 2021, "Scaling
Deep Contrastive Learning Batch Size under Memory Limited Setup", sec. 3). torch's checkpointing replays the random state and autocast.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def in_chunks(
    encode: Callable[[Tensor], Tensor], inputs: Tensor, size: int | None, plain: int | None = None, over: nn.Module | None = None
) -> Tensor:
    """Encode inputs.

    Args:
        encode: from inputs [b, ...] to rows [b, D]; all that it depends on must still be so in the backward pass.
        inputs: [B, ...].
        size: of a chunk whose activations are kept; all at once where not given.
        plain: of a chunk where nothing is kept or nothing learns.
        over: the modules that `encode` runs, whose batch statistics shall be counted once.

    Returns:
        [B, D].
    """
    if size is None or not torch.is_grad_enabled():
        parts = [inputs] if plain is None and size is None else inputs.split(min(plain or len(inputs), size or len(inputs)))
        rows = [encode(part) for part in parts]
    elif len(inputs) <= size:
        rows = [encode(inputs)]
    else:
        rows = [kept(encode, part, over) for part in inputs.split(size)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def kept(encode: Callable[..., Tensor], part: Tensor, over: nn.Module | None) -> Tensor:
    """Encode, keeping only the input."""
    return checkpoint(encode, part, use_reentrant=False, context_fn=lambda: (nullcontext(), counted(over)))  # type: ignore[no-any-return]


def counted(over: nn.Module | None) -> AbstractContextManager[None]:
    """While it lasts, running batch statistics stay as they are: the first pass has counted them."""
    found = [m for m in over.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats] if over is not None else []
    return _still(found) if found else nullcontext()


@contextmanager
def _still(norms: list[_BatchNorm]) -> Iterator[None]:
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count
