"""The optimizer over groups of parameters, and the schedule of its learning rate."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from lightning.pytorch.cli import OptimizerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cliptune.errors import ConfigError


class Group(dict[str, object]):
    """Parameters with their `lr_factor` and whether they decay: an optimizer's group before it has a learning rate."""


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine down to `final`.

    Args:
        warmup: share of all steps over which the learning rate rises.
        decay: `cosine`, or `constant` for none.
        final: share of the learning rate that is left at the end.
    """

    warmup: float = 0.1
    decay: Literal["cosine", "constant"] = "cosine"
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"schedule: warmup {self.warmup} is not in 0..1. It is a share of all steps: take 0.1.")
        if self.decay not in ("cosine", "constant"):
            raise ConfigError(f"schedule: decay {self.decay!r} is not known. Take cosine or constant.")
        if not 0 <= self.final <= 1:
            raise ConfigError(f"schedule: final {self.final} is not in 0..1. It is a share of the learning rate: take 0.")

    def factor(self, step: int, steps: int) -> float:
        """The factor on the learning rate at a step of `steps`."""
        rise = round(self.warmup * steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        if self.decay == "constant":
            return 1.0
        done = min((step - rise) / max(steps - rise, 1), 1.0)
        return self.final + (1 - self.final) * (1 + cos(pi * done)) / 2


def build_optimizer(optimizer: OptimizerCallable, groups: list[Group]) -> Optimizer:
    """Make the optimizer; each group gets the base learning rate times its factor, and weight decay only where it is right."""
    built = optimizer([dict(group) for group in groups])
    for group in built.param_groups:
        group["lr"] *= group.pop("lr_factor")
        if not group.pop("decay"):
            group["weight_decay"] = 0.0
    return built


def build_schedule(optimizer: Optimizer, schedule: Schedule, steps: int, start: int = 0) -> LambdaLR:
    """Make the schedule, stepped once per optimizer step.

    Args:
        optimizer: whose learning rates it sets.
        schedule: its shape.
        steps: all of training.
        start: the step that it begins at, where an ended run was extended.
    """
    return LambdaLR(optimizer, lambda step: schedule.factor(max(step - start, 0), steps - start))
