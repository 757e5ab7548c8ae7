"""What was forgotten: held-out sets on which the untouched CLIP is scored once, and the adapted one at every evaluation.

A model that was adapted to new data may lose on what it knew (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.data.formats.sources import name_splits, open_source
from cliptune.data.images import ImageTextData
from cliptune.errors import CliptuneError, ConfigError, DataError
from cliptune.fixed import EVERY, Fixed, Found, Room
from cliptune.frozen import check_vectors
from cliptune.guard_sets import GuardSet
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.metrics.answers import Answers

if TYPE_CHECKING:
    from cliptune.module import AdaptModule
    from cliptune.scoring import Scoring


@dataclass
class GuardResult:
    """What is known of a guard at the end.

    Args:
        path: of the data.
        images: that were scored.
        texts: captions that were searched and searched for.
        metric: the one that stands for all: `top1`, `map` or `recall`.
        unchanged: whether no evaluation was needed to know that the adapted model says what the untouched one says.
        zero_shot: metrics by name, of the untouched CLIP.
        adapted: of the model that was scored last.
        zero_shot_answers: that those are of; None where it was not scored.
        adapted_answers: likewise.
    """

    path: str
    images: int
    texts: int
    metric: str
    unchanged: bool
    zero_shot: dict[str, float] = field(default_factory=dict)
    adapted: dict[str, float] = field(default_factory=dict)
    zero_shot_answers: Answers | None = None
    adapted_answers: Answers | None = None


class Guards:
    """All guards of a run.

    Args:
        sets: named, see `guard_sets`.
    """

    def __init__(self, sets: Sequence[GuardSet]) -> None:
        self.sets = {str(one.name): one for one in sets}
        self.room = Room()
        self.fixed: dict[str, Fixed] = {}
        self.zero_shot: dict[str, Found] = {}
        self.adapted: dict[str, Found] = {}
        self.unchanged: set[str] = set()
        self.last: dict[str, Found] = {}  # by name what the last pass found

    def __bool__(self) -> bool:
        return bool(self.sets)

    def open(self, module: AdaptModule, data: Any) -> None:
        """Open the data, once, before anything is trained.

        Args:
            module: its method attached.
            data: that is adapted to; what a choice may look at must not be its test split.

        Raises:
            DataError: a set cannot be read, or holds nothing to score.
            ConfigError: a set holds rows where images are needed, or the images that the run is tested on.
        """
        for name, one in self.sets.items():
            if name not in self.fixed:
                _check_is_other(name, one, data)
                self.fixed[name] = opened(name, one, module.backbone, self.room)
                if self.fixed[name].data.vectors:
                    check_vectors(module, self.fixed[name].data, "image" in _still(module))

    def score(self, module: Scoring) -> dict[str, float]:
        """Score the module as it stands, on all sets.

        Returns:
            `guard/NAME/METRIC`.
        """
        still, context = _still(module), module.trainer.precision_plugin.forward_context
        found = self.last = self.zero_shot if module.untouched else self.adapted
        for name, fixed in self.fixed.items():
            if module.untouched:
                found[name] = plain_score(fixed, module.method, module.backbone, still, context)
                continue
            learned = speaks_of(module.method, fixed.classes.names)
            known = still if learned or "text" not in still else {*still, "classes"}
            if not learned and still == {"image", "text"} and name in self.zero_shot:
                found[name] = self.zero_shot[name]
                self.unchanged.add(name)
                continue
            found[name] = fixed.score(module.backbone, module.method, known, context)
        return {f"guard/{name}/{metric}": value for name, one in found.items() for metric, value in one.metrics.items()}

    def mean(self) -> float:
        """The mean of the sets' scores in the last pass."""
        return sum(one.score for one in self.last.values()) / len(self.last)

    def progress(self) -> dict[str, str]:
        """By name the score of the last pass, and how far it is from zero-shot, such as `0.412 (-0.021)`."""
        return {name: told(one.score, self.zero_shot[name].score if name in self.zero_shot else None) for name, one in self.last.items()}

    def results(self) -> dict[str, GuardResult]:
        """By name what is known: of the untouched CLIP, and of the model that was scored last."""
        found = {}
        for name, one in self.sets.items():
            before, after = self.zero_shot.get(name), self.adapted.get(name)
            some = before or after
            if some is None:
                continue
            found[name] = GuardResult(one.path, some.images, some.texts, some.metric, name in self.unchanged)
            if before is not None:
                found[name].zero_shot, found[name].zero_shot_answers = before.metrics, before.answers
            if after is not None:
                found[name].adapted, found[name].adapted_answers = after.metrics, after.answers
        return found


def opened(name: str, one: GuardSet, backbone: Backbone, room: Room) -> Fixed:
    """Open a set.

    Args:
        name: for messages.
        one: what it is.
        backbone: that is to see it.
        room: for decoded images.

    Raises:
        DataError: it cannot be read, or holds nothing to score.
    """
    columns = {key: getattr(one, key) for key in ("image_column", "caption_column", "label_column", "split_column")}
    try:
        data = ImageTextData(
            one.path,
            batch_size=1,
            workers=0,
            class_names=one.class_names,
            classes=one.classes,
            templates=one.templates,
            allow_outside=one.allow_outside,
            **columns,
        )
        data.setup()
        splits = _splits(one)
    except CliptuneError as error:
        raise type(error)(f"guard {name}: {error}") from None
    data.preprocess = backbone.preprocess  # only now, so that nothing is told of how training would see it
    if not data.class_names and not data.has_captions:
        raise DataError(f"guard {name}: {one.path} has neither labels nor captions to score. Set label_column or caption_column.")
    return Fixed(data, splits, one.images, room, f"guard {name}")


def plain_score(
    fixed: Fixed, method: Method, backbone: Backbone, still: set[str], context: Callable[[], AbstractContextManager[Any]]
) -> Found:
    """Score the CLIP that a method is attached to, as it is without the method: images and the set's own words, compared."""
    with method.untouched(backbone):
        return fixed.score(backbone, Full(), {*still, "classes"} if "text" in still else still, context)


def told(score: float, before: float | None, digits: int = 3) -> str:
    """A score and its change, such as `0.412 (-0.021)`."""
    return f"{score:.{digits}f}" + (f" ({score - before:+.{digits}f})" if before is not None else "")


def _still(module: Scoring) -> set[str]:
    """The towers whose rows no training changes: of images, and of captions.

    Words that learn go into prompts of class names only; captions are then read as ever.
    """
    blocks = {name: len(T.blocks(tower)) for name, tower in module.backbone.towers().items()}
    captions = Method.frozen(module.method, module.backbone)["text"] if type(module.method).text_rows is Method.text_rows else 0
    counts = {"image": module.frozen["image"], "text": captions}
    return {name for name, count in counts.items() if count > blocks[name]}


def speaks_of(method: Method, names: Sequence[str]) -> bool:
    """Whether what was learned goes into the rows of classes of these names beside what the text tower gives."""
    known: list[str] = getattr(method, "class_names", [])
    return bool(known) and bool(names) and (not method.bound_to_classes or set(names) <= set(known))


def _splits(one: GuardSet) -> tuple[str, ...]:
    """Those of our splits that hold the wanted images; where the data has no split of that name, nobody trains on any of it."""
    if one.split == "all":
        return EVERY
    named, _ = name_splits(open_source(one.path).tables, one.split_column, {}, one.path)
    return (one.split,) if one.split in named and len(named) > 1 else EVERY


def _check_is_other(name: str, one: GuardSet, data: Any) -> None:
    """Refuse the images that the run is tested on: what is chosen by them has no honest score on them."""
    if not isinstance(data, ImageTextData) or one.split not in ("test", "all"):
        return
    tested = [data.eval_path] if data.eval_path else data.paths
    if one.path in tested and one.classes == data.options.classes:
        raise ConfigError(
            f"guard {name}: {one.path} is what the run is adapted to, and its {one.split} images are what it is tested on. "
            "Give other data, split: validation, or the other half of the classes."
        )
