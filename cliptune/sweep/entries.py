"""What a sweep compares: entries, each a name and a few keys that are laid over the recipe.

The built-in ones differ in method and objective alone; learning rates follow by the methods' own factors on the recipe's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cliptune.doctor.fixed import merged
from cliptune.errors import ConfigError, did_you_mean

Values = dict[str, Any]


class Kind(NamedTuple):
    """A built-in entry.

    Args:
        method: its class.
        objective: its class.
        usual: arguments of the method, where the recipe gives it none.
        fixed: arguments that make the entry what it is.
    """

    method: str
    objective: str
    usual: Values = {}
    fixed: Values = {}


PARTS = ("method", "objective")  # of the model, that entries differ in
PROBE = {"solver": "lbfgs"}
BUILT_IN = {
    "full": Kind("Full", "CrossEntropy"),
    "flyp": Kind("Full", "Contrastive"),  # Goyal et al. 2023, "Finetune like you pretrain"
    "lora": Kind("LoRA", "CrossEntropy"),
    "linear_probe": Kind("LinearProbe", "CrossEntropy", PROBE, {"start": "text"}),
    "linear_probe_zero": Kind("LinearProbe", "CrossEntropy", PROBE, {"start": "zero", "penalty": "rows"}),  # as scikit-learn on rows
    "prompt_tuning": Kind("PromptTuning", "CrossEntropy"),
    "lora_contrastive": Kind("LoRA", "Contrastive"),
}
ALL = tuple(name for name in BUILT_IN if name != "lora_contrastive")


class Entry(NamedTuple):
    """What is compared under a name."""

    name: str
    over: Values  # a config over the recipe


def entries_of(asked: str, configs: Sequence[Values]) -> list[Entry]:
    """Read `--methods`.

    Args:
        asked: names, `all`, and YAML files, with commas between them.
        configs: the recipe's, in order.

    Returns:
        Entries, each name once.

    Raises:
        ConfigError: a name that there is not, a file that is no map of entries, or nothing at all.
    """
    recipe = merged([{key: value for key, value in config.items() if value is not None} for config in configs])
    found: dict[str, Entry] = {}
    for word in filter(None, (part.strip() for part in asked.strip("[]").split(","))):
        for entry in _entries(word, recipe.get("model") or {}):
            if entry.name in found:
                raise ConfigError(f"sweep --methods names {entry.name} twice, and results go by the name. Name each once.")
            found[entry.name] = entry
    if not found:
        raise ConfigError(f"sweep --methods names nothing. Take all, or of {', '.join(BUILT_IN)}, or a YAML file of entries.")
    return list(found.values())


def _entries(word: str, model: Mapping[str, Any]) -> Iterator[Entry]:
    if word.endswith((".yaml", ".yml")):
        yield from _of_file(Path(word), model)
    elif word.lower() == "all":
        yield from (Entry(name, over(BUILT_IN[name], model)) for name in ALL)
    else:
        name = _named(word)
        yield Entry(name, over(BUILT_IN[name], model))


def _named(word: str) -> str:
    """A built-in entry's name, whether it is written as here or as the class."""
    plain = {name.replace("_", ""): name for name in BUILT_IN}
    name = plain.get(re.sub(r"[_\-\s]", "", word).lower())
    if name is None:
        raise ConfigError(f"sweep --methods: there is no {word}. {did_you_mean(word, ['all', *BUILT_IN])} Or a YAML file of entries.")
    return name


def _of_file(file: Path, model: Mapping[str, Any]) -> Iterator[Entry]:
    """Entries of one's own: a name, and keys of a config; method and objective are those of the built-in name, or the recipe's."""
    if not file.is_file():
        near = did_you_mean(str(file), map(str, file.parent.glob("*.y*ml"))) if file.parent.is_dir() else ""
        raise ConfigError(f"sweep --methods: there is no file {file}. {near}".rstrip())
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"sweep --methods: {file} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict) or not values:
        raise ConfigError(f"sweep --methods: {file} is no map of entries. Write NAME: {{model: {{method: ...}}}} for each.")
    for key, own in values.items():
        name = str(key)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise ConfigError(f"sweep --methods: {file}: the entry {name!r} names folders. Take letters, digits, _ and -.")
        if own is not None and not isinstance(own, dict):
            raise ConfigError(f"sweep --methods: {file}: {name} is {own!r}, but must be keys of a config, such as model: {{method: LoRA}}.")
        if not own and name not in BUILT_IN:
            raise ConfigError(f"sweep --methods: {file}: {name} says nothing. {did_you_mean(name, BUILT_IN)}")
        below = over(BUILT_IN[name], model) if name in BUILT_IN and "method" not in ((own or {}).get("model") or {}) else _parts(model)
        yield Entry(name, merged([below, own or {}]))


def over(kind: Kind, model: Mapping[str, Any]) -> Values:
    """The keys of a built-in entry, which keeps what the recipe says of the same method and objective.

    Args:
        kind: of the entry.
        model: that section of the recipe.
    """
    objective: Any = {"class_path": kind.objective}
    if kind.objective in _classes(model.get("objective")):  # alone, or in a Sum with what keeps old knowledge
        objective = model["objective"]
    arguments = dict(kind.usual)
    if kind.usual and _class(objective) != kind.objective:
        arguments["solver"] = "sgd"  # lbfgs minimises cross-entropy alone
    if _class(model.get("method")) == kind.method:
        arguments |= _arguments(model["method"])
    return {"model": {"method": {"class_path": kind.method, "init_args": {**arguments, **kind.fixed}}, "objective": objective}}


def _parts(model: Mapping[str, Any]) -> Values:
    found = {key: model[key] for key in PARTS if key in model}
    return {"model": found} if found else {}


def bare(config: Mapping[str, Any]) -> Values:
    """A config of the recipe without its method and objective.

    Of those the parser would hand on such arguments as an entry's own class has too, `towers` for one.
    """
    model = {key: value for key, value in (config.get("model") or {}).items() if key not in PARTS}
    rest = {key: value for key, value in config.items() if key != "model"}
    return {**rest, "model": model} if model else rest


def _class(value: Any) -> str:
    path = value.get("class_path", "") if isinstance(value, Mapping) else value or ""
    return str(path).rpartition(".")[2]


def _arguments(value: Any) -> Values:
    return {k: v for k, v in (value.get("init_args") or {}).items() if v is not None} if isinstance(value, Mapping) else {}


def _classes(value: Any) -> Iterable[str]:
    """A class, and those of the parts of a Sum."""
    return [_class(value), *(_class(part) for part in _arguments(value).get("parts") or [])]
