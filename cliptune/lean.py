"""Imports Lightning without what comes with it by torchmetrics and no command uses: scipy.signal for audio, matplotlib for its plots.

Both are a fifth of all imports, 1.1 of 5.4 s (`python -X importtime`). A metric's `plot()` still draws: matplotlib
is imported when it is asked for.
"""

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import Any

UNUSED = ("scipy", "matplotlib")


def import_lightning() -> None:
    """Import Lightning, unless somebody has."""
    if "torchmetrics" in sys.modules:
        return
    with _uncollected(), _said_to_be_absent():
        import lightning  # noqa: F401
    flags, plot = (importlib.import_module(f"torchmetrics.utilities.{name}") for name in ("imports", "plot"))
    for flag in vars(flags).values():  # asked again by who asks from here on
        if getattr(flag, "requirement", None) and flag.requirement.startswith(UNUSED) and hasattr(flag, "available"):
            del flag.available
    vars(plot).update(matplotlib=_Later("matplotlib"), plt=_Later("matplotlib.pyplot"))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Nothing that imports make is garbage: looking for some costs time, then and in all of training."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


@contextmanager
def _said_to_be_absent() -> Iterator[None]:
    """Answers that way who asks lightning_utilities whether the unused ones are there."""
    imports: Any = importlib.import_module("lightning_utilities.core.imports")
    version, find_spec = imports._version, imports.find_spec

    def no_version(name: str) -> str:
        if name in UNUSED:
            raise PackageNotFoundError(name)
        return str(version(name))

    def no_spec(name: str, package: str | None = None) -> Any:
        return None if name in UNUSED else find_spec(name, package)

    imports._version, imports.find_spec = no_version, no_spec
    try:
        yield
    finally:
        imports._version, imports.find_spec = version, find_spec
        for cached in (imports.package_available, imports.module_available):
            cached.cache_clear()


class _Later(ModuleType):
    """Stands for a module that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
