"""The table at the end of a run: what chose the checkpoint comes first."""

from typing import Any

import pytest

from cliptune.tables import metrics_table


@pytest.mark.parametrize(
    ("monitor", "first"),
    [("val/mean_per_class", "test/mean_per_class"), ("val/score", "test/top1"), ("val/balanced", "test/top1"), (None, "test/top1")],
)
def test_the_metric_that_chose_the_checkpoint_is_told_first(monitor: str | None, first: str) -> None:
    scores = {"val/top1": 0.5, "test/top1": 0.6, "test/auroc": 0.7, "test/mean_per_class": 0.4}
    summary: dict[str, Any] = {"zero_shot": scores, "adapted": scores, **({"best": {"monitor": monitor}} if monitor else {})}
    names = list(metrics_table(summary).columns[0].cells)
    assert names == [first, *(name for name in scores if name.startswith("test/") and name != first)]
