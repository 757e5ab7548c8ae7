"""Objects that remember the arguments they were made with, as plain data, so that a checkpoint can rebuild them."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from cliptune.errors import CheckpointError

PARTS = ("cliptune.backbone.", "cliptune.methods.", "cliptune.objectives.")  # where classes of a model are
MOST = 10_000  # of an argument that counts something, and so makes memory: ranks, words, pixels of a side, parts of a sum


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


def build(description: Any) -> Any:
    """Make the object again, of a description that anybody may have written.

    Raises:
        CheckpointError: the class is not one of cliptune's own, since a class path is code, and a checkpoint must not bring any; or it
            is not known here, or not with these arguments.
        ConfigError: the class refuses an argument.
    """
    kind = _kind(description)
    arguments = {key: _built(key, value) for key, value in description["arguments"].items()}
    try:
        inspect.signature(kind.__init__).bind(None, **arguments)
    except TypeError as error:
        raise CheckpointError(f"this version's {kind.__name__} does not fit: {error}. The checkpoint is of another version.") from None
    return kind(**arguments)


def completed(description: dict[str, Any]) -> dict[str, Any]:
    """A description with this version's defaults, where it was written before there was an argument; errors as for `build`."""
    parameters = inspect.signature(_kind(description).__init__).parameters.values()
    defaults = {p.name: plain(p.default) for p in parameters if p.default is not p.empty}
    return {"class": description["class"], "arguments": {**defaults, **{k: _completed(v) for k, v in description["arguments"].items()}}}


def is_description(value: Any) -> bool:
    """Whether it looks like one."""
    return isinstance(value, dict) and value.keys() == {"class", "arguments"} and isinstance(value["arguments"], dict)


def _kind(description: Any) -> type[Described]:
    if not is_description(description):
        raise CheckpointError("the checkpoint does not say what a part of the model is. Give one that cliptune wrote.")
    path = str(description["class"])
    module, _, name = path.rpartition(".")
    if module.split(".")[0] != "cliptune":
        raise CheckpointError(
            f"the checkpoint names the class {path}; only cliptune's own are built from a checkpoint. "
            "Make the model in code, and load with AdaptModule.load_learned."
        )
    if not f"{module}.".startswith(PARTS):  # other modules do things when they are imported
        raise CheckpointError(f"the checkpoint names {path}, which is no part of a model.")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise CheckpointError(f"this version of cliptune has no {path}. The checkpoint is of another version.") from None
    if not (isinstance(kind, type) and issubclass(kind, Described)):
        raise CheckpointError(f"the checkpoint names {path}, which is no part of a model.")
    return kind


def _built(key: str, value: Any) -> Any:
    """An argument, made again where it is described."""
    parts = len(value) if isinstance(value, list) and any(map(is_description, value)) else 0  # plain numbers take what the file does
    size = value if isinstance(value, int) else parts
    if size > MOST:
        raise CheckpointError(f"the checkpoint has {key} {size:,}, and cliptune counts to {MOST:,} there. Give one that cliptune wrote.")
    if isinstance(value, list):
        return [_built(key, item) for item in value]
    if isinstance(value, dict) and not is_description(value):
        return {inner: _built(inner, item) for inner, item in value.items()}
    return build(value) if is_description(value) else value


def _completed(value: Any) -> Any:
    """An argument, completed where it is described."""
    if isinstance(value, list):
        return [_completed(item) for item in value]
    return completed(value) if is_description(value) else value


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
