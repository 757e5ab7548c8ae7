"""Leaves torch's compiler out of a command that compiles nothing.

Importing it takes as long as importing Lightning, and torch does so for each function that is to be kept away from it: all that
`torch.compiler.disable` decorates, in Lightning and torchvision, and four methods of any optimizer.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

COMPILER = "torch._dynamo"


@contextmanager
def uncompiled() -> Iterator[None]:
    """What is decorated meanwhile, and all optimizers, are kept away from the compiler from when it is imported on."""
    import torch
    from torch._compile import _disable_dynamo
    from torch.optim import Optimizer

    for name, method in [*vars(Optimizer).items()]:
        if getattr(method, "__globals__", {}).get("__name__") == "torch._compile":  # torch's own, which imports it at the first call
            setattr(Optimizer, name, _kept_away(method.__wrapped__, method))
    disable = torch.compiler.disable

    def later(fn: Any = None, recursive: bool = True, **more: Any) -> Any:
        """As `torch.compiler.disable`."""
        if fn is None or isinstance(fn, type):
            return disable(fn, recursive, **more)
        return _kept_away(fn, _disable_dynamo(fn, recursive))

    torch.compiler.disable = later
    try:
        yield
    finally:
        torch.compiler.disable = disable


def _kept_away(plain: Callable[..., Any], disabled: Callable[..., Any]) -> Callable[..., Any]:
    """Of two forms of a function the plain one, while there is no compiler that could look into it."""

    @wraps(plain)
    def either(*arguments: Any, **named: Any) -> Any:
        return (disabled if COMPILER in sys.modules else plain)(*arguments, **named)

    return either
