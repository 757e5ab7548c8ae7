"""Models that are built to be loaded: what a file is about to give is not drawn at random before.

torch and open_clip fill each weight when they make it, in a second for a ViT-B-32, and all of that is overwritten by the file.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

DRAWS = {Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, init.normal_, init.uniform_, init.kaiming_normal_, init.kaiming_uniform_}


class _NoDraws(TorchFunctionMode):
    """Leaves a tensor as it is where it would be filled with random numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        return (args[0] if args else kwargs["tensor"]) if func in DRAWS else func(*args, **kwargs)


def unfilled() -> AbstractContextManager[Any]:
    """While it lasts no tensor is filled with random numbers; for models all of whose weights are loaded next, strictly."""
    return _NoDraws()
