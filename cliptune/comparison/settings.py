"""What runs were told: their configs, flat, and which keys differ."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

OWN = ("run.", "seeds", "trainer.logger")  # of one run by nature
BRIEF = 60  # letters of a value


def flat_config(folder: Path) -> dict[str, str]:
    """The keys of a run's config.yaml, `model.method.rank` and so on, and their values as text; empty without one."""
    file = folder / "config.yaml"
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return dict(_flat("", values)) if isinstance(values, dict) else {}


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        if "class_path" in value:
            yield key, str(value["class_path"]).rpartition(".")[2]
        for name, inner in value.items():
            if name != "class_path":
                yield from _flat(key if name == "init_args" else f"{key}.{name}".lstrip("."), inner)
    else:
        text = "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        yield key, text if len(text) <= BRIEF else f"{text[: BRIEF - 1]}\N{HORIZONTAL ELLIPSIS}"


def differing(configs: Sequence[dict[str, str]]) -> list[str]:
    """The keys whose values are not the same in all that have them, in the order of a config."""
    known = [config for config in configs if config]
    keys = dict.fromkeys(key for config in known for key in config if not key.startswith(OWN))
    return [key for key in keys if len({config[key] for config in known if key in config}) > 1]


def shots_of(settings: Mapping[str, str]) -> str:
    """Images of each class that training saw."""
    listed = any(settings.get(f"data.shots_{by}", "-") != "-" for by in ("column", "file"))
    shots = settings.get("data.shots", "-" if settings else "")
    return "listed" if listed else "all" if shots == "-" else shots


def told_part(described: Mapping[str, Any] | None) -> str:
    """A method or an objective by its class; of a sum its parts."""
    if not described:
        return ""
    name = _class(described)
    inner = [_class(part) for part in _parts(described.get("arguments") or {})]
    return " + ".join(inner) if name == "Sum" and inner else name


def tell_apart(described: Sequence[Mapping[str, Any]]) -> list[str]:
    """What `told_part` leaves out: for each, the arguments that others of its class were given otherwise."""
    found = []
    for one in described:
        same = [other.get("arguments") or {} for other in described if other.get("class") == one.get("class")]
        own = one.get("arguments") or {}
        keys = [key for key, value in own.items() if any(other.get(key, value) != value for other in same)]
        found.append(", ".join(f"{key} {_value(own[key])}" for key in keys))
    return found


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(_value, value))
    return _class(value) if isinstance(value, Mapping) else f"{value:g}" if isinstance(value, float) else str(value)


def _class(described: Mapping[str, Any]) -> str:
    return str(described.get("class") or described.get("class_path") or "").rpartition(".")[2]


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if "class" in value or "class_path" in value:
            yield value
        else:
            for inner in value.values():
                yield from _parts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _parts(inner)
