"""The metrics: which stand for the others, and how they are told."""

import math
from collections.abc import Iterable, Sequence

from cliptune.errors import ConfigError, did_you_mean
from cliptune.metrics import names

MAIN = ("test/top1", "test/map", "test/recall", "val/top1", "val/map", "val/recall")  # what a comparison is on, the first that there is
BESIDE = {  # what is shown beside it
    "top1": ("mean_per_class", "macro_f1"),
    "map": ("auroc", "top1"),
    "recall": ("recall@1_image_to_text", "recall@1_text_to_image"),
}
PLAIN = ("nll", "median_rank")  # what is no share


def choose(wanted: str | None, metrics: Sequence[Iterable[str]]) -> str:
    """The metric that runs are compared on.

    Args:
        wanted: by the user, with or without `test/`; None for the one that most runs have, of `MAIN`.
        metrics: names, of each run.

    Raises:
        ConfigError: none has it.
    """
    counts: dict[str, int] = {}
    for run in metrics:
        for name in run:
            counts[name] = counts.get(name, 0) + 1
    if wanted is not None:
        for name in (wanted, f"test/{wanted}"):
            if name in counts:
                return name
        raise ConfigError(f"--metric {wanted}: none of the runs has it. {did_you_mean(wanted, counts, most=30)}")
    known = [name for name in MAIN if name in counts] or list(counts)
    if not known:
        raise ConfigError("the runs have no metrics, so that there is nothing to compare. Give runs of cliptune fit.")
    return max(known, key=lambda name: (name.startswith("test/"), counts[name]))


def beside(metric: str, known: Iterable[str]) -> list[str]:
    """The metrics that are shown with the main one."""
    split, _, name = metric.rpartition("/")
    there = set(known)
    return [other for other in (f"{split}/{one}" for one in BESIDE.get(name, ("top1", "recall"))) if other in there and other != metric]


def is_share(metric: str) -> bool:
    """Whether it lies in 0..1."""
    return not metric.rpartition("/")[2].startswith(PLAIN)


def short(metric: str) -> str:
    """Its name for people; that of the test split goes without saying."""
    split = metric.rpartition("/")[0]
    return names.short(metric) + (f" ({split})" if split != "test" else "")


def score(value: float | None, metric: str) -> str:
    """A value in the terminal."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if is_share(metric) or abs(value) < 10 else f"{value:,.1f}"
