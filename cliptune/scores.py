"""What a run measures of a model, in the two states that it knows it in: untouched, and adapted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from cliptune.measures.base import Measured
from cliptune.metrics.answers import Answers

NOTHING = Answers(None, None)


@dataclass
class State:
    """One state of a model.

    Args:
        metrics: by name, such as `test/top1`; empty where it was not scored.
        validation: its answers on that split.
        test: likewise.
        measured: what else was measured, by name of the measure.
        templates: top-1 of each template alone and of all, on validation.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    validation: Answers = NOTHING
    test: Answers = NOTHING
    measured: dict[str, Measured] = field(default_factory=dict)
    templates: list[dict[str, Any]] | None = None


@dataclass
class Scores:
    """Before, after, how long the work took, and what lies between; and what of the backbone learned, as it was before.

    `best` is what the kept model has of the metric that chose it.
    """

    zero_shot: State = field(default_factory=State)
    adapted: State = field(default_factory=State)
    seconds: float = 0.0
    best: float | None = None
    curve: dict[str, Any] | None = None
    start: dict[str, Tensor] | None = None  # by its name in the backbone's state dict

    @property
    def states(self) -> dict[str, State]:
        """Both by name, as files and summaries call them."""
        return {"zero_shot": self.zero_shot, "adapted": self.adapted}
