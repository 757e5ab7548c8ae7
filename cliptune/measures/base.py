"""What an extra measure gives back."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Measured:
    """What one state of a model, untouched or adapted, came to.

    Args:
        told: plain data for `summary.json`, of this state.
        items: by metric name a value for each thing that was asked, [n] in the same order for every state; the metric is their mean, and
            its interval and the change between two states are computed from them.
        units: by metric name the number [n] of what each was drawn from, where several were drawn from one: those stand or fall together.
        shared: plain data that is the same for every state.
    """

    told: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Tensor] = field(default_factory=dict)
    units: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
