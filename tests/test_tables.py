"""The table at the end of a run, and of several: what chooses the checkpoint comes first."""

from pathlib import Path
from typing import Any

import pytest

from cliptune.tables import metrics_table, print_spreads


@pytest.mark.parametrize(
    ("monitor", "first"),
    [("val/mean_per_class", "test/mean_per_class"), ("val/score", "test/top1"), ("val/balanced", "test/top1"), (None, "test/top1")],
)
def test_the_metric_that_chooses_the_checkpoint_is_told_first(monitor: str | None, first: str) -> None:
    scores = {"val/top1": 0.5, "test/top1": 0.6, "test/auroc": 0.7, "test/mean_per_class": 0.4}
    summary: dict[str, Any] = {"zero_shot": scores, "adapted": scores, **({"monitor": monitor} if monitor else {})}
    names = list(metrics_table(summary).columns[0].cells)
    assert names == [first, *(name for name in scores if name.startswith("test/") and name != first)]


def test_of_several_seeds_too(capsys: pytest.CaptureFixture[str]) -> None:
    spreads = {name: {"mean": 0.5, "std": 0.1, "n": 2} for name in ("test/top1", "test/mean_per_class")}
    print_spreads({"zero_shot": {}, "adapted": spreads, "monitor": "val/mean_per_class", "runs": {}}, Path("runs/x-seeds"))
    told = capsys.readouterr().out
    assert told.index("test/mean_per_class") < told.index("test/top1")
