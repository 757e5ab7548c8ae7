"""Learning curves: the loss, the target's score and the guards' over the steps."""

from collections.abc import Sequence

import numpy as np

from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, el
from cliptune.page.pictures import Pictures
from cliptune.report.names import metric
from cliptune.report.overview import first_metrics
from cliptune.report.reading import RunRead

DRAWN = 300  # points of a line at most
SMOOTH = 20  # parts of training that a mean is taken over
GUARDS = 7  # drawn; the table of guards has all


def learning(run: RunRead, pictures: Pictures) -> Markup | None:
    """The charts there is something for; none without training."""
    if len({step for row in run.metrics if (step := row.get("step"))}) < 2:
        return None
    made = [_losses(run), _scores(run), _rate(run)]
    return el("div", made, class_="charts") if any(one is not None for one in made) else None


def _losses(run: RunRead) -> Markup | None:
    found = run.series("train/loss")
    series = [Series("each step", _points(found), 0, "line")]
    if len(found) >= 2 * SMOOTH:
        width = max(len(found) // SMOOTH, 2)
        smooth = np.convolve([value for _, value in found], np.ones(width) / width, mode="valid")
        series.append(Series("smoothed", _points([(found[i + width - 1][0], float(value)) for i, value in enumerate(smooth)]), 1, "line"))
    val = run.series("val/loss")
    series += [Series("validation", _points(val), 2)] if val else []
    return chart("Training loss", series, Axis("step"), Axis("loss")) if found else None


def _scores(run: RunRead) -> Markup | None:
    """Target and guards together, since the one is paid with the other."""
    watched = [(name, found) for key in (*first_metrics(run)[:2], "mean_per_class") if (found := run.series(name := f"val/{key}"))]
    series = [
        Series(f"target {metric(name).name}", _points(found), (1, 0)[i], ("both", "dashed")[i])
        for i, (name, found) in enumerate(watched[:2])
    ]
    names = dict.fromkeys(name for row in run.metrics for name in row if name.startswith("guard/"))
    standing = {guard: str(known.get("metric", "top1")) for guard, known in run.part("guard").items()}
    shown = 0
    for name in names:
        guard, _, key = name.removeprefix("guard/").rpartition("/")
        if standing.get(guard, key) == key and shown < GUARDS and (found := run.series(name)):
            series.append(Series(f"guard {guard} {metric(key).name}", _points(found), 2 + shown))
            shown += 1
    return chart("Score", series, Axis("step"), Axis("score", "share")) if series else None


def _rate(run: RunRead) -> Markup | None:
    """The learning rate of the first group."""
    name = next((name for row in run.metrics for name in row if name.startswith("lr")), "")
    found = run.series(name) if name else []
    return chart("Learning rate", [Series("", _points(found), 3, "line")], Axis("step"), Axis("rate")) if len(found) > 1 else None


def _points(found: Sequence[tuple[int, float]]) -> list[Point]:
    """At most `DRAWN` points: the mean of neighbours where there are more."""
    if len(found) <= DRAWN:
        return [Point(step, value) for step, value in found]
    parts = np.array_split(np.asarray(found, dtype=np.float64), DRAWN)
    return [Point(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]
