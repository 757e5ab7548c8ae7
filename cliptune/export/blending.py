"""Which blend of zero-shot and adapted is exported: the one that scores best on the run's validation split."""

from collections.abc import Sequence
from pathlib import Path

from cliptune.adapted import AdaptedCLIP
from cliptune.blend import Blend, Point, explored
from cliptune.data.images import ImageTextData
from cliptune.rescore import scores


def pick(
    model: AdaptedCLIP, way: Blend, data: ImageTextData, guard: ImageTextData | None = None, keep: float | None = None
) -> tuple[list[Point], float]:
    """Score blends, say so, and choose one.

    Args:
        model: that is blended.
        way: its way to zero-shot.
        data: that it was adapted to.
        guard: other data, scored too.
        keep: the least share of zero-shot's score on it that the chosen blend has.

    Returns:
        The curve, and the share that is chosen.
    """

    def measure(shares: Sequence[float]) -> list[Point]:
        print(f"scoring {len(shares)} blends ...", flush=True)
        states = way.states(shares)
        guards = [(one.score,) for one in scores(model, guard, "test", states)] if guard is not None else [()] * len(shares)
        found = [one.score for one in scores(model, data, "validation", states)]
        points = [Point(*point) for point in zip(shares, found, guards, strict=True)]
        for point in points:
            kept = "".join(f"  guard {one:.4f}" for one in point.guards)
            print(f"blend {point.share:<5g}  validation {point.validation:.4f}{kept}")
        return points

    points, share = explored(measure, keep)
    condition = f" of those that keep {keep:.0%} of the guard" if keep is not None else ""
    print(f"blend {share:g} is best on validation{condition}")
    return points, share


def draw_curve(curve: Sequence[Point], share: float, validation: str, guard: str, file: Path) -> None:
    """Draw the scores of all blends, and the share that is exported, into a PNG."""
    from cliptune.pictures import draw_blends

    series = {validation: [point.validation for point in curve]}
    if all(point.guards for point in curve):
        series[guard] = [point.guards[0] for point in curve]
    draw_blends([point.share for point in curve], series, {f"exported: {share:g}": share}, file)
