"""Several objectives at once, each with its weight and its own line in the log."""

from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.objectives.base import Objective, StepRows, named
from cliptune.optim import Group


class Sum(Objective):
    """The weighted sum of objectives; each is logged unweighted, under its name.

    Args:
        parts: the objectives.
        weights: of each; 1 where not given.

    Raises:
        ConfigError: no parts, or another number of weights.
    """

    def __init__(self, parts: list[Objective], weights: list[float] | None = None) -> None:
        super().__init__()
        if not parts:
            raise ConfigError("Sum: parts is empty. List objectives, such as [Contrastive, FeatureDistillation].")
        self.weights = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
        if len(self.weights) != len(parts):
            raise ConfigError(f"Sum: {len(self.weights)} weights for {len(parts)} parts. Give one for each.")
        self.needs = frozenset().union(*(part.needs for part in parts))  # type: ignore[misc]
        self.needs_teacher = any(part.needs_teacher for part in parts)
        self.needs_drift = any(part.needs_drift for part in parts)
        names = [named(type(part)) for part in parts]
        unique = [name if names.count(name) == 1 else f"{name}_{names[:i].count(name) + 1}" for i, name in enumerate(names)]
        self.summands = nn.ModuleDict(dict(zip(unique, parts, strict=True)))

    def attach(self, backbone: Backbone, counts: list[int] | None = None) -> None:
        """Attach each part."""
        for part in self._each():
            part.attach(backbone, counts)

    def groups(self, backbone: Backbone) -> list[Group]:
        """What any part has learn, once."""
        found: dict[int, Group] = {}
        for part in self._each():
            for group in part.groups(backbone):
                fresh = [p for p in group["params"] if id(p) not in found]  # type: ignore[attr-defined]
                found.update({id(p): Group(group | {"params": [p]}) for p in fresh})
        return list(found.values())

    def learned(self, backbone: Backbone) -> list[str]:
        """What any part has learn."""
        return sorted({name for part in self._each() for name in part.learned(backbone)})

    def parts(self, rows: StepRows) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each part unweighted."""
        found = {name: part(rows) for name, part in self.summands.items()}
        weighted = [weight * loss for weight, loss in zip(self.weights, found.values(), strict=True)]
        return sum(weighted[1:], weighted[0]), found

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss; see `Objective.forward`."""
        return self.parts(rows)[0]

    def _each(self) -> list[Objective]:
        return list(self.summands.values())  # type: ignore[arg-type]
