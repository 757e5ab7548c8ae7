"""Leaves torch's compiler out of a command that compiles nothing.

Importing it takes as long as importing Lightning, and torch does so for each function that is to be kept away from it: all that
`torch.compiler.disable` decorates, in Lightning and torchvision, and most methods of any optimizer.
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

    optimizers = [one for one in vars(torch.optim).values() if isinstance(one, type) and issubclass(one, Optimizer)]
    for owner, name, method in [(one, name, method) for one in optimizers for name, method in vars(one).items()]:
        origin, plain = getattr(method, "__globals__", {}).get("__name__"), getattr(method, "__wrapped__", None)
        if plain is not None and origin == "torch._compile":
            setattr(owner, name, _kept_away(plain, method))
        elif plain is not None and origin == "torch.optim.optimizer" and name == "step":
            setattr(owner, name, _kept_away(_step(plain), method))
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


def _step(plain: Callable[..., Any]) -> Callable[..., Any]:
    """An optimizer's step as `torch.optim.optimizer._use_grad_for_differentiable` has it, without breaks of the compiler's graph."""

    @wraps(plain)
    def step(self: Any, *arguments: Any, **named: Any) -> Any:
        import torch

        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return plain(self, *arguments, **named)

    return step
