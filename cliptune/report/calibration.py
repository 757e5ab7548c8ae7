"""Whether the model is as often right as it says: the reliability diagram before and after, with intervals."""

from cliptune.export.intervals import wilson
from cliptune.metrics.calibration import Reliability, reliability
from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, el, join
from cliptune.page.numbers import percent
from cliptune.page.pictures import Pictures
from cliptune.report.reading import RunRead


def calibration(run: RunRead, pictures: Pictures) -> Markup | None:
    """Reliability, how sure the answers are, and the temperatures that validation asks for."""
    both = [("zero-shot", run.before.classes, 0), ("adapted", run.after.classes, 1)]
    known = [(name, answers, tone) for name, answers, tone in both if answers is not None and len(answers) and answers.several is None]
    if not known:
        return None
    found = {name: reliability(answers) for name, answers, _ in known}
    curves = [Series(name, _reliable(found[name]), tone) for name, _, tone in known]
    share = [Series(name, _sure(name, found[name]), tone) for name, _, tone in known]
    unit = Axis("confidence", "share", low=0, high=1)
    says = "On the line, answers are as often right as the model says; below it the model is too sure. Bars are 95% intervals."
    return join(
        [
            el("p", _said(run), class_="pale"),
            el(
                "div",
                chart("Reliability", curves, unit, Axis("right", "share", low=0, high=1), says, diagonal=True),
                chart("How sure the answers are", share, unit, Axis("share of test images", "share", low=0)),
                class_="charts",
            ),
        ]
    )


def _said(run: RunRead) -> str:
    said = []
    for state, name in (("zero_shot", "zero-shot"), ("adapted", "adapted")):
        error, after = run.part(state).get("test/ece"), run.part(state).get("test/ece_calibrated")
        temperature = run.part("temperature").get(state)
        if error is None:
            continue
        line = f"{name}: calibration error {percent(error)}"
        if after is not None and temperature is not None:
            line += f", and {percent(after)} with the temperature {temperature:.2f} that suits validation best"
        said.append(line)
    return "; ".join(said) + "." if said else "Calibration on the test split."


def _reliable(found: Reliability) -> list[Point]:
    made = []
    for images, mean, share in zip(found.images.tolist(), found.confidence.tolist(), found.accuracy.tolist(), strict=True):
        if images:
            low, high = wilson(share, images)
            made.append(Point(mean, share, low, high, f"says {percent(mean)}, right {percent(share)}\nof {images:,} images"))
    return made


def _sure(name: str, found: Reliability) -> list[Point]:
    whole, bins = max(int(found.images.sum()), 1), len(found.images)
    return [Point((i + 0.5) / bins, n / whole, name=f"{name}: {n:,} images") for i, n in enumerate(found.images.tolist())]
