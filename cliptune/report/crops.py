"""What fine detail is worth: scores over several crops of each image beside the model's own view, and what that costs."""

from cliptune.page.markup import Markup, el, join, table
from cliptune.page.pictures import Pictures
from cliptune.report.judging import STATES, chip
from cliptune.report.names import metric
from cliptune.report.reading import RunRead


def crops(run: RunRead, pictures: Pictures) -> Markup | None:
    """A table for each state of the model."""
    states = [state for state in STATES if run.part("crops", state, "plain")]
    if not states:
        return None
    known = run.part("crops", states[-1])
    said = f"The mean of {known['views']} views of each image (crops: {known['how']}), on {known['images']:,} images"
    said += f"; it takes {known['cost']:.1f} times as long." if known.get("cost") else "."
    rows = []
    for state in states:
        found = run.part("crops", state)
        for key, plain in found["plain"].items():
            one, flips = metric(key), found.get("flips", {}).get(key)
            gain = found.get("gain", {}).get(key, found["crops"][key] - plain)
            flipped = f"{flips['won']:,} won, {flips['lost']:,} lost" if flips else ""
            sure = (
                (
                    chip("more than chance", "good" if gain > 0 else "stop", flips["p"])
                    if flips["p"] < 0.05
                    else chip("may be chance", "", flips["p"])
                )
                if flips
                else ""
            )
            rows.append([STATES[state], one.name, one.told(plain), one.told(found["crops"][key]), (gain, one.change(gain)), flipped, sure])
    head = ("model", "metric", "one view", "crops", "gain", "answers", "")
    return join([el("p", said, class_="pale"), table(head, rows, sortable=True, numeric=(2, 3, 4))])
