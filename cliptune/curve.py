"""The way from zero-shot to adapted, scored: what a share of what was learned wins on validation, and what it costs on the guards.

WiSE-FT (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", sec. 3), for every method that has a straight way back.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cliptune.adapted import AdaptedCLIP
from cliptune.audit import evaluating
from cliptune.backbone import SCALES
from cliptune.blend import Blend, Point, explored, folds, way_of
from cliptune.data.images import ImageTextData
from cliptune.errors import ExportError
from cliptune.fixed import Fixed, Room
from cliptune.guards import Guards, speaks_of
from cliptune.metrics.names import higher

NEAREST = "; of equals the one nearest to zero-shot"


def alpha_curve(
    model: AdaptedCLIP,
    data: ImageTextData,
    guards: Guards | None = None,
    images: int = 1000,
    balanced: bool = False,
    monitor: str | None = None,
    keep: float | None = None,
) -> tuple[dict[str, Any] | None, str]:
    """Score the blends of a model with the CLIP that it was; the model is then as it was before.

    Several processes all call it, each with the whole model, and meet in it.

    Args:
        model: adapted.
        data: set up, that it was adapted to.
        guards: open, to be scored too.
        images: of validation at most, always the same ones; guards have their own number.
        balanced: whether the guards have a say in which share is chosen.
        monitor: the metric of validation that chooses, such as `mean_per_class`; the one that stands for all where this is no such
            metric, or one of which less is better.
        keep: the least share of each guard's zero-shot score that the chosen share may have.

    Returns:
        Plain data: `shares` from 0 to 1, more of them where `keep` ends; `validation`, the score at each, and `monitor`, the metric that
        it is; `guards`, their scores by name; `images` that were scored, by name; `chosen`, a share, by the `rule`. Or None, and why
        there is no such curve.
    """
    try:
        way = way_of(model)
    except ExportError as error:
        return None, str(error).removesuffix(" Leave --blend out.")
    fixed = {"validation": Fixed(data, ("validation",), images, Room(), "validation"), **(guards.fixed if guards else {})}
    still = _still(way)
    metrics, counts = {}, {}

    def measure(shares: Sequence[float]) -> list[Point]:
        points = []
        for share in shares:
            way.set(share)
            found = {}
            for name, one in fixed.items():
                known = {*still, "classes"} if "text" in still and not speaks_of(way.model.method, one.classes.names) else still
                said = one.score(way.model.backbone, way.model.method, known)
                own = name == "validation" and monitor in said.metrics and higher(str(monitor))
                metrics[name], counts[name] = str(monitor) if own else said.metric, said.images
                found[name] = said.metrics[metrics[name]] if own else said.score
            points.append(Point(share, found.pop("validation"), tuple(found.values())))
        return points

    with evaluating(way.model.backbone):
        points, share = explored(measure, keep, balanced)
    way.set(1.0)
    names = [name for name in fixed if name != "validation"]
    rule = f"best {metrics['validation']} on validation"
    if balanced and names:
        rule = f"best mean of {metrics['validation']} on validation and the guards' mean score"
    rule += f", of those that keep {keep:.0%} of each guard" if keep is not None and names else ""
    return {
        "shares": [point.share for point in points],
        "validation": [point.validation for point in points],
        "monitor": metrics["validation"],
        "guards": {name: [point.guards[i] for point in points] for i, name in enumerate(names)},
        "images": counts,
        "chosen": share,
        "rule": f"{rule}{NEAREST}",
    }, ""


def lines_of(told: dict[str, Any], run: Path, form: str = "open_clip") -> list[str]:
    """Say which share is chosen, what it has that the adapted model has not, and how to get it.

    Args:
        told: by `alpha_curve`.
        run: the run's folder.
        form: that the model can be exported to.
    """
    share, shares = told["chosen"], told["shares"]
    parts = {f"validation {told['monitor']}": told["validation"], **{f"guard {name}": scores for name, scores in told["guards"].items()}}
    there = ", ".join(f"{name} {_at(scores, shares, share):.4f} ({scores[-1]:.4f} adapted)" for name, scores in parts.items())
    lines = [f"of {len(shares)} blends of zero-shot and adapted, share {share:g} is chosen ({told['rule']}): {there}"]
    if 0 < share < 1:
        lines.append(f"export it:  cliptune export {run} --format {form} --blend {share:g}")
    return lines


def format_of(model: AdaptedCLIP) -> str:
    """The name of an export that can be made of a blend."""
    return "open_clip" if folds(model.method) else "classifier"


def _at(scores: Sequence[float], shares: Sequence[float], share: float) -> float:
    return scores[list(shares).index(share)]


def _still(way: Blend) -> set[str]:
    """The towers that are the same at every share."""
    changed = [name for name in way.before if name.startswith("backbone.") and not name.endswith(SCALES)]
    images = [name for name in changed if name.startswith("backbone.model.visual.")]
    return ({"image"} if not images else set()) | ({"text"} if len(images) == len(changed) else set())
