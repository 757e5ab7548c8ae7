"""What a config says, by dotted keys, and what is recommended instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Recommendation:
    """A value of the config, and why.

    Args:
        topic: what it is about, in a word or two.
        key: of the config, dotted.
        value: to be set.
        current: that the config has now.
        reason: for people.
        source: the paper, or where it was measured; "" where it follows from the data alone.
        apply: whether it is set in the config that is written; False for what the user must judge, or fetch.
    """

    topic: str
    key: str
    value: Any
    current: Any
    reason: str
    source: str = ""
    apply: bool = True

    @property
    def changes(self) -> bool:
        """Whether the config says otherwise now."""
        return bool(self.value != self.current)


def value_at(config: Values, key: str, default: Any = None) -> Any:
    """The value of a dotted key."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def known(config: Values, key: str) -> bool:
    """Whether there is such a key."""
    missing = object()
    return value_at(config, key, missing) is not missing


def class_of(value: Any) -> str:
    """The short name of a class that a config names, as a word or with arguments."""
    name = value.get("class_path", "") if isinstance(value, Mapping) else value or ""
    return str(name).rpartition(".")[2]


def arguments_of(value: Any) -> dict[str, Any]:
    """Its arguments."""
    return dict(value.get("init_args") or {}) if isinstance(value, Mapping) else {}
