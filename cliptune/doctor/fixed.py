"""The config with what is recommended in it: the user's own keys as they stand, each change with its reason above it."""

import copy
import importlib
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cliptune.doctor.settings import Recommendation, Values, value_at

WIDTH = 120
# what belongs to a config, not to one call
SECTIONS = ("seed_everything", "seeds", "model", "data", "trainer", "run", "watch", "guard", "evaluation")


def merged(configs: Sequence[Values]) -> dict[str, Any]:
    """Several configs as one, later ones winning, as the parser merges them."""
    found: dict[str, Any] = {}
    for config in configs:
        found = _over(found, config)
    return found


def _over(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return copy.deepcopy(above)
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return copy.deepcopy(dict(above))
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def with_keys(config: dict[str, Any], keys: Sequence[str], resolved: Values) -> dict[str, Any]:
    """Add what the command line says, as the parser resolved it; of a class, its name and all arguments.

    Args:
        config: of the files.
        keys: dotted, as they were given.
        resolved: the whole config.
    """
    config = copy.deepcopy(config)
    for key in keys:
        parts = key.split(".")
        if parts[0] in SECTIONS:
            place, value = _resolved_at(resolved, parts)
            set_at(config, place, value, resolved)
    return config


def _resolved_at(resolved: Values, parts: list[str]) -> tuple[list[str], Any]:
    """The value that a key of the command line stands for; the whole class, where it names an argument of one."""
    node: Any = resolved
    for i, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            return parts[:i], node
        node = node[part]
    return parts, node


def set_at(config: dict[str, Any], parts: Sequence[str], value: Any, resolved: Values) -> None:
    """Set a value; what is above it and missing is made, a class with the name and the arguments that it resolves to."""
    node = config
    for i, part in enumerate(parts[:-1]):
        if not isinstance(node.get(part), dict):
            whole = value_at(resolved, ".".join(parts[: i + 1]))
            node[part] = plain(whole) if isinstance(whole, Mapping) and "class_path" in whole else {}
        node = node[part]
    node[parts[-1]] = plain(value)


def plain(value: Any) -> Any:
    """A class as the parser resolves it, without the arguments that it would have anyway."""
    if not isinstance(value, Mapping) or "class_path" not in value:
        return copy.deepcopy(value)
    module, _, name = str(value["class_path"]).rpartition(".")
    try:
        usual = inspect.signature(getattr(importlib.import_module(module or "cliptune"), name)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return copy.deepcopy(dict(value))
    given = value.get("init_args") or {}
    kept = {key: one for key, one in given.items() if key not in usual or _listed(usual[key].default) != one}
    found = {**value, "class_path": name if module.partition(".")[0] == "cliptune" else value["class_path"]}
    return {**found, "init_args": copy.deepcopy(kept)} if kept else {key: one for key, one in found.items() if key != "init_args"}


def _listed(value: Any) -> Any:
    """A default as YAML would have it."""
    return list(value) if isinstance(value, tuple) else value


def fixed_config(config: dict[str, Any], recommendations: Sequence[Recommendation], resolved: Values, name: str) -> str:
    """Write the config with what is recommended.

    Args:
        config: the user's own.
        recommendations: of which those that apply and change something are set; the others stand at the end, as comments.
        resolved: the whole config.
        name: of the config, for the head.
    """
    config = {key: copy.deepcopy(value) for key, value in config.items() if key in SECTIONS and value is not None}
    reasons: dict[str, str] = {}
    for one in recommendations:
        if one.apply and one.changes:
            set_at(config, one.key.split("."), one.value, resolved)
            reasons[one.key] = " ".join(filter(None, (reasons.get(one.key), _reason(one))))
    lines = [f"# {name} with what cliptune doctor recommends, each change with its reason above it. Check them, and run:"]
    lines += ["#   cliptune fit --config THIS_FILE"]
    for key in [key for key in SECTIONS if key in config]:
        lines += _lines(key, config[key], key, 0, reasons)
    judged = [one for one in recommendations if not one.apply and one.changes]
    if judged:
        lines += ["", "# For you to judge:"]
        for one in judged:
            lines += _comment(f"{one.key}: {_flow(one.value)}", 0) + _comment(_reason(one), 2)
    return "\n".join(lines) + "\n"


def _reason(one: Recommendation) -> str:
    return one.reason + (f" ({one.source})" if one.source else "")


def _lines(key: str, value: Any, path: str, indent: int, reasons: Mapping[str, str]) -> list[str]:
    """A key and its value; in a block where a reason stands below it or it is a section, else in one line."""
    found = _comment(reasons[path], indent) if path in reasons else []
    start = f"{' ' * indent}{_flow(key)}:"
    deeper = any(other.startswith(f"{path}.") for other in reasons)
    if isinstance(value, Mapping) and value and (indent == 0 or deeper):
        found.append(start)
        for name, inner in value.items():
            found += _lines(str(name), inner, f"{path}.{name}", indent + 2, reasons)
        return found
    return [*found, f"{start} {_flow(value)}"]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _comment(text: str, indent: int) -> list[str]:
    text = " ".join(text.split())
    space = " " * indent
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{space}# ", subsequent_indent=f"{space}# ", break_long_words=False, break_on_hyphens=False
    )
