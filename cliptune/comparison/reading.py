"""What a run's summary and config say of it, as far as comparisons ask; older ones say less."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cliptune.comparison.folders import Found
from cliptune.comparison.settings import flat_config, shots_of, told_part
from cliptune.errors import CheckpointError


@dataclass(frozen=True)
class Forgotten:
    """What became of a guard: the metric that stands for it, before and after."""

    metric: str
    change: float
    low: float | None = None
    high: float | None = None


def about_run(one: Found) -> dict[str, Any]:
    """What a summary and its config say beside metrics; older ones say less."""
    summary, settings = one.summary, flat_config(one.folder)
    counts, data, backbone = (summary.get(part) or {} for part in ("counts", "data", "backbone"))
    names = summary.get("class_names") or []
    test = data.get("test_fingerprint") or f"with training {data.get('fingerprint', one.folder)}"
    return {
        "backbone": _backbone(backbone),
        "method": told_part(summary.get("method")),
        "objective": told_part(summary.get("objective")),
        "learns": {part: summary.get(part) or {} for part in ("method", "objective")},
        "shots": shots_of(settings),
        "training_images": counts.get("train"),
        "parameters": counts.get("parameters_learned") if summary.get("command") == "fit" else None,
        "seconds": (summary.get("seconds") or {}).get("fit"),
        "memory": summary.get("peak_memory_mb"),
        "test_data": json.dumps([test, names]),
        "class_names": names,
        "settings": settings,
    }


def _backbone(described: dict[str, Any]) -> str:
    name, pretrained = str(described.get("name") or ""), described.get("pretrained")
    parts = [name, str(pretrained)] if pretrained else [name]
    return " ".join(Path(part).name if "/" in part and not part.startswith("hf-hub:") else part for part in parts)


def numbers_of(metrics: dict[str, Any]) -> dict[str, float]:
    """Those metrics that have a value."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float)) and math.isfinite(value)}


def guard_metrics(summary: dict[str, Any], state: str) -> dict[str, float]:
    """The metrics of the guards, as `guard/NAME/METRIC`."""
    guards = summary.get("guard") or {}
    return {f"guard/{name}/{metric}": value for name, told in guards.items() for metric, value in numbers_of(told.get(state) or {}).items()}


def intervals_of(summary: dict[str, Any], state: str) -> dict[str, tuple[float, float]]:
    """Where metrics lie, those of guards as `guard_metrics` names them."""
    found = (summary.get("intervals") or {}).get(state) or {}
    guards = summary.get("guard") or {}
    inner = {f"guard/{name}/{key}": ends for name, told in guards.items() for key, ends in intervals_of(told, state).items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()} | inner


def forgotten_by(summary: dict[str, Any]) -> dict[str, Forgotten]:
    """What became of each guard."""
    found = {}
    for name, told in (summary.get("guard") or {}).items():
        metric = told.get("metric", "top1")
        before, after = (numbers_of(told.get(state) or {}).get(metric) for state in ("zero_shot", "adapted"))
        change = (told.get("changes") or {}).get(metric) or {}
        if before is not None and after is not None:
            found[name] = Forgotten(metric, after - before, change.get("low"), change.get("high"))
    return found


def mean_forgotten(each: Sequence[dict[str, Forgotten]]) -> dict[str, Forgotten]:
    """The mean over runs, of guards that all of them had."""
    names = dict.fromkeys(name for one in each for name in one)
    shared = [name for name in names if all(name in one for one in each)]
    return {name: Forgotten(each[0][name].metric, statistics.fmean(one[name].change for one in each)) for name in shared}


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of what is known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def summary_of(folder: Path) -> dict[str, Any] | None:
    """A run's summary; None where the folder is no longer there.

    Raises:
        CheckpointError: it is damaged.
    """
    file = folder / "summary.json"
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CheckpointError(f"{file} is not read: {error}. Leave its folder out.") from None
