"""Objects that remember the arguments they were made with, as plain data, so that a checkpoint can rebuild them."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from cliptune.errors import CheckpointError


class Described:
    """Mixin: records its constructor's arguments, defaults included."""

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Described:
        """Bind the arguments to the constructor's names, and keep them."""
        self = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
        object.__setattr__(self, "_arguments", arguments)
        return self

    def describe(self) -> dict[str, Any]:
        """The class and its arguments."""
        return {"class": f"{type(self).__module__}.{type(self).__qualname__}", "arguments": plain(self._arguments)}


def build(description: dict[str, Any]) -> Any:
    """Make the object again.

    Raises:
        CheckpointError: the class is not one of cliptune's own; a class path is code, and a checkpoint must not bring any.
    """
    module, _, name = str(description["class"]).rpartition(".")
    if module.split(".")[0] != "cliptune":
        raise CheckpointError(
            f"the checkpoint names the class {description['class']}; only cliptune's own are built from a checkpoint. "
            "Make the model in code, and load with AdaptModule.load_learned."
        )
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise CheckpointError(f"this version of cliptune has no {description['class']}. The checkpoint is of another version.") from None
    if not (isinstance(kind, type) and issubclass(kind, Described)):
        raise CheckpointError(f"the checkpoint names {description['class']}, which is no part of a model.")
    arguments = {key: _built(value) for key, value in description["arguments"].items()}
    try:
        inspect.signature(kind.__init__).bind(None, **arguments)
    except TypeError as error:
        raise CheckpointError(f"this version's {name} does not fit: {error}. The checkpoint is of another version.") from None
    return kind(**arguments)


def _built(value: Any) -> Any:
    """An argument, made again where it is described."""
    if isinstance(value, list):
        return [_built(item) for item in value]
    return build(value) if isinstance(value, dict) and value.keys() == {"class", "arguments"} else value


def plain(value: Any) -> Any:
    """Copy as dicts, lists and scalars, which `torch.load(weights_only=True)` reads."""
    if isinstance(value, Described):
        return value.describe()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if callable(getattr(value, "item", None)):  # a scalar of numpy or torch, which np.float64 is though it is a float too
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
