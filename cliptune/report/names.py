"""Metrics and configs in words: what a metric is called, in which unit it is told, and which way is better."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from cliptune.page.numbers import percent, points, signed

WAYS = {"image_to_text": "image to text", "text_to_image": "text to image"}
KNOWN: dict[str, tuple[str, Literal["share", "number"], bool]] = {  # in words, unit, whether more is better
    "top1": ("top-1", "share", True),
    "top5": ("top-5", "share", True),
    "mean_per_class": ("mean per class", "share", True),
    "macro_f1": ("macro F1", "share", True),
    "auroc": ("AUROC", "share", True),
    "map": ("mean average precision", "share", True),
    "ece": ("calibration error", "share", False),
    "nll": ("negative log-likelihood", "number", False),
    "recall": ("recall, mean of six", "share", True),
}
SPELLED = {"ece_calibrated": "calibration error, tempered", "nll_calibrated": "negative log-likelihood, tempered"}


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
    base = name.removesuffix("_calibrated")
    if base in KNOWN:
        words, unit, more = KNOWN[base]
        return Metric(key, SPELLED.get(name, words), unit, more)
    for way, spelled in WAYS.items():
        if name.endswith(f"_{way}"):
            what = name.removesuffix(f"_{way}")
            if what.startswith("recall@"):
                return Metric(key, f"{spelled} R@{what[7:]}", "share", True)
            if what == "median_rank":
                return Metric(key, f"{spelled} median rank", "number", False)
            return Metric(key, f"{spelled} {what.replace('map@', 'mAP@')}", "share", True)
    return Metric(key, name.replace("_", " "), "number" if "loss" in name or "rank" in name else "share", "loss" not in name)


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
