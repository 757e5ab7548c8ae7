"""What recipes.py has measured, as the tables and sentences of the cards in recipes/."""

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cliptune.metrics.names import short

GAIN, KEPT = 0.8, 0.9  # what LoRA, blended with zero-shot, is to have of the gain on test, and to keep of each guard
STATES = "zero_shot", "adapted"
CALIBRATION = "ece", "ece_calibrated"
NOTHING = ""

Recipe = dict[str, Any]


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table(rows: list[Recipe], lacking: list[str]) -> str:
    """The card's tables of one data set, one for each set of metrics, and what follows from them.

    Args:
        rows: what its recipes came to.
        lacking: names of recipes that have not been measured.
    """
    if not rows:
        return "Not measured yet."
    parts: list[str] = []
    for group in dict.fromkeys(tuple(one["scores"]) for one in rows):
        same = [one for one in rows if tuple(one["scores"]) == group]
        parts += ["\n".join(_lines(same, group)), *_sentences(same)]
    if lacking:
        parts += [f"Not measured yet: {', '.join(f'`{name}`' for name in lacking)}."]
    return "\n\n".join(parts)


def _lines(rows: list[Recipe], group: tuple[str, ...]) -> Iterable[str]:
    """A table: zero-shot, and a row for each recipe and for the share of it that fit chose."""
    start, calibrated = rows[0], sum(bool(_known(one["calibration"], "adapted")) for one in rows) > 1
    heads = ["recipe", "seeds", *map(short, group), *(["ECE, calibrated"] if calibrated else [])]
    heads += [*(f"{guard} kept" for guard in start["guards"]), "CPU seconds", "MB"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    held = [f"score {guard['zero_shot'][0]:.3f}" for guard in start["guards"].values()]
    yield _row("zero-shot", NOTHING, rows, [spread(start["scores"][metric]["zero_shot"][:1]) for metric in group], held, calibrated)
    for one in rows:
        kept = [f"{mean(a / z for a, z in zip(g['adapted'], g['zero_shot'], strict=True)):.0%}" for g in one["guards"].values()]
        yield _row(_name(one), str(one["seeds"]), [one], [spread(one["scores"][metric]["adapted"]) for metric in group], kept, calibrated)
        if any(found["share"] < 1 for found in one["blends"]):
            scores = [spread([found["test"][f"test/{metric}"] for found in one["blends"]]) for metric in group]
            cells = [*scores, *([NOTHING] if calibrated else []), *(f"{_held(one, guard):.0%}" for guard in one["guards"])]
            yield f"| {_name(one)}, {_shares(one)} of it | {len(one['blends'])} | {' | '.join(cells)} |  |  |"


def _row(name: str, seeds: str, known: list[Recipe], scores: list[str], kept: list[str], calibrated: bool) -> str:
    """A row of one recipe, or, of several, of the zero-shot that they share."""
    state = STATES[bool(seeds)]
    interval = next((one["intervals"][state] for one in known if one["intervals"][state]), None)
    first = f"{scores[0]} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else scores[0]
    sure = next((found for one in known if (found := _known(one["calibration"], state))), NOTHING)
    cost = [f"{known[0]['cpu_seconds']:.0f}" if known[0]["cpu_seconds"] else NOTHING, f"{known[0]['peak_memory_mb']:,.0f}"]
    cells = [name, seeds, first, *scores[1:], *([sure] if calibrated else []), *kept, *(cost if seeds else [NOTHING, NOTHING])]
    return f"| {' | '.join(cells)} |"


def _known(calibration: dict[str, list[float | None]], state: str) -> str:
    """Calibration errors before and after the temperature that was fitted on validation."""
    place = STATES.index(state)
    found = [value for name in CALIBRATION if name in calibration and (value := calibration[name][place]) is not None]
    return ", ".join(f"{value:.3f}" for value in found)


def _sentences(rows: list[Recipe]) -> Iterable[str]:
    """Which recipe to take, of which no gain can be told, and what the blends came to."""
    metric = next(iter(rows[0]["scores"]))
    lost = [one for one in rows if _low(one) <= mean(one["scores"][metric]["zero_shot"])]
    if lost:
        names, images = " and ".join(map(_name, lost)), lost[0]["test_images"]
        yield f"Of {names} no gain can be told from chance: on {images:,} test images the 95 % interval holds zero-shot's score."
    if len(lost) < len(rows) > 1:
        yield _verdict([one for one in rows if one not in lost], short(metric))
    yield from (_goal(one, metric) for one in rows if one["blends"])


def _verdict(rows: list[Recipe], metric: str) -> str:
    """The one that costs least of those within the 95 % interval of the best."""
    best = max(rows, key=_score)
    near = [one for one in rows if _score(one) >= _low(best)]
    taken = min(near, key=lambda one: (one["cpu_seconds"] or 0, -_score(one)))
    kept = min(mean(a / z for a, z in zip(g["adapted"], g["zero_shot"], strict=True)) for g in taken["guards"].values())
    what = (
        f"has the best {metric}"
        if taken is best
        else f"is within the 95 % interval of the best {metric} ({_name(best)}, {_score(best):.3f})"
    )
    forgets = "forgets nothing" if kept >= 0.995 else f"keeps {kept:.0%} of the guard that it harms most"
    cheapest = taken["cpu_seconds"] == min(one["cpu_seconds"] for one in rows)
    return f"**Take {_name(taken)}** with nano: it {what}, {'costs least' if cheapest else 'costs less'}, and {forgets}."


def _goal(one: Recipe, metric: str) -> str:
    """How much of the gain on test the chosen blend has, and what it keeps of the guard that lost most."""
    before, after = mean(one["scores"][metric]["zero_shot"]), _score(one)
    least = min(one["guards"], key=lambda guard: _held(one, guard))
    said = f"Of {_name(one)} fit chose " + ("all" if _shares(one) == "1" else f"the share {_shares(one)}")
    if _low(one) <= before:
        return f"{said}, which keeps {_held(one, least):.1%} of {least}; where no gain can be told, no share of it can either."
    gain = (mean(found["test"][f"test/{metric}"] for found in one["blends"]) - before) / (after - before)
    met = "met" if gain >= GAIN and _held(one, least) >= KEPT else "**missed**"
    found = f"{said}, which has {gain:.1%} of the gain on test and keeps {_held(one, least):.1%} of {least}"
    return f"{found}: the goal, {GAIN:.0%} and {KEPT:.0%} of each guard, is {met}."


def _name(one: Recipe) -> str:
    return f"`{Path(one['recipe']).name}`"


def _score(one: Recipe) -> float:
    return mean(next(iter(one["scores"].values()))["adapted"])


def _shares(one: Recipe) -> str:
    return " or ".join(sorted({f"{found['share']:g}" for found in one["blends"]}))


def _held(one: Recipe, guard: str) -> float:
    return mean(found["guards"][guard]["blend"] / found["guards"][guard]["zero_shot"] for found in one["blends"])


def _low(one: Recipe) -> float:
    """The lower end of what the score may be: by the seeds, and by the test images, whichever is lower."""
    scores = next(iter(one["scores"].values()))["adapted"]
    interval = one["intervals"]["adapted"]
    ends = [mean(scores) - stdev(scores)] if len(scores) > 1 else []
    return float(min([*ends, *(interval[:1] if interval else []), mean(scores)]))
