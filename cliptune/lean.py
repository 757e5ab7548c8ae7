"""Imports Lightning, open_clip and peft without what they import for uses that a command rarely has.

Stand-ins take the places of those modules meanwhile; what was taken from them is imported, and is itself, when it is used.
"""

import atexit
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from cliptune.uncompiled import COMPILER, uncompiled

LATER = ("transformers", "timm", "scipy", "matplotlib", "triton", COMPILER)
# what peft brings; transformers it has classes of, and `datasets` may have imported scipy, though little in it
PEFTS = ("scipy", "scipy.optimize", "sklearn", "matplotlib", "triton", "torch.fx.experimental.symbolic_shapes", COMPILER)
_began: list[bool] = []  # whether this is a command's process


def import_lean() -> None:
    """Import both, and torchvision's transforms, which are kept away from the compiler too, unless somebody has imported one of them."""
    if "torchmetrics" in sys.modules or "open_clip" in sys.modules:
        return
    import torch  # noqa: F401

    _began.append(True)
    with _uncollected(), _deferred(LATER), uncompiled():
        import lightning  # noqa: F401
        import open_clip  # noqa: F401
        import torchvision.transforms.v2  # noqa: F401


def import_peft() -> None:
    """Import peft; in a process that `import_lean` began, likewise."""
    if "peft" in sys.modules:
        return
    if not _began:
        import peft.tuners.lora

        return
    with _uncollected(), _deferred(PEFTS), uncompiled():
        import peft.tuners.lora  # noqa: F401


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that imports make is garbage: looking for some costs time, then, in all of training, and at the end of the process."""
    before = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


@contextmanager
def _deferred(names: tuple[str, ...]) -> Iterator[None]:
    """While it lasts, these modules are stand-ins for who imports them; those that are imported already, or are absent, are not."""
    names = tuple(name for name in names if name not in sys.modules and find_spec(name.partition(".")[0]) is not None)
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    _Later.open = True
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, module in [*sys.modules.items()]:
            if isinstance(module, _Module):
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                if vars(sys.modules.get(parent, module)).get(child) is module:
                    delattr(sys.modules[parent], child)
        _Later.open = False


class _Finder(MetaPathFinder, Loader):
    """Gives stand-ins for some modules and all that is in them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Python's question."""
        wanted = any(f"{name}.".startswith(f"{one}.") for one in self.names)
        return ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A stand-in."""
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


class _Module(ModuleType):
    """Stands for a module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_Later(self.__name__, lambda: importlib.import_module(self.__name__)), name)


class _Later:
    """An expression, which is evaluated when it is used after the imports."""

    open = False  # whether they still go on

    def __init__(self, module: str, value: Callable[[], Any]) -> None:
        self._module, self._value = module, cache(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._then(lambda value: _part(value, name))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._then(lambda value: value(*arguments, **named))

    def __instancecheck__(self, instance: Any) -> bool:
        """Nothing is of a class that nobody has imported."""
        return not _Later.open and self._module in sys.modules and isinstance(instance, self._value())

    def _then(self, step: Callable[[Any], Any]) -> Any:
        return _Later(self._module, lambda: step(self._value())) if _Later.open else step(self._value())


def _part(value: Any, name: str) -> Any:
    """An attribute, or a module's module, which not every package imports."""
    if isinstance(value, ModuleType) and not hasattr(value, name):
        return importlib.import_module(f"{value.__name__}.{name}")
    return getattr(value, name)
