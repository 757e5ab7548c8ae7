"""Metrics and configs in words: what a metric is called, in which unit it is told, and which way is better."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from cliptune.metrics.names import higher, short
from cliptune.page.numbers import percent, points, signed

NUMBERS = ("nll", "median_rank")  # how the names begin of what is no share
SPELLED = {  # where a report has more room for words than a table
    "map": "mean average precision",
    "ece": "calibration error",
    "ece_calibrated": "calibration error, tempered",
    "nll": "negative log-likelihood",
    "nll_calibrated": "negative log-likelihood, tempered",
    "recall": "recall, mean of six",
}


@dataclass(frozen=True)
class Metric:
    """How a metric is told.

    Args:
        key: as in `summary.json`.
        name: in words.
        unit: a share is told in percent, its changes in points.
        more: whether more is better.
    """

    key: str
    name: str
    unit: Literal["share", "number"]
    more: bool

    def told(self, value: float) -> str:
        """A value in words."""
        if not math.isfinite(value):
            return "unknown"
        return percent(value) if self.unit == "share" else f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"

    def change(self, value: float) -> str:
        """A change in words."""
        return points(value) if self.unit == "share" else signed(value)


def metric(key: str) -> Metric:
    """What is known of a metric, by its key with or without the split; of others the key stands for itself."""
    name = key.rpartition("/")[2]
    number = name.startswith(NUMBERS) or "loss" in name
    return Metric(key, SPELLED.get(name, short(name)), "number" if number else "share", higher(name) and "loss" not in name)


def short_name(described: Any) -> str:
    """The class of a described part of the model, such as `LoRA`."""
    return str(described.get("class", "unknown")).rpartition(".")[2] if isinstance(described, dict) else str(described)


def arguments(described: Any) -> str:
    """The arguments of a described part: `rank 8, alpha 16`; those that are off or not given are left out."""
    given = described.get("arguments", {}) if isinstance(described, dict) else {}
    return ", ".join(f"{key} {_value(value)}" for key, value in given.items() if value not in (None, False, [], {}))


def _value(value: Any) -> str:
    if isinstance(value, dict) and "class" in value:
        inner = arguments(value)
        return short_name(value) + (f" ({inner})" if inner else "")
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def backbone_name(run_backbone: Any) -> str:
    """The architecture and its weights: `ViT-B-32 (openai)`."""
    known = run_backbone if isinstance(run_backbone, dict) else {}
    name, weights = str(known.get("name", "unknown")), known.get("pretrained")
    return f"{name} ({weights})" if weights else name
