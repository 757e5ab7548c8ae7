"""L2-SP: what learns is drawn towards where it started, which for a pretrained model is a better place than zero."""

from torch import Tensor

from cliptune.errors import ConfigError
from cliptune.objectives.base import Objective, StepRows, zero


class L2SP(Objective):
    """Half the strength times the squared distance of the weights from the pretrained ones (Li et al. 2018, "L2-SP", eq. 2).

    With LoRA it is the distance of the adapted layers' weights, not of the thin matrices. Set the optimizer's weight_decay to 0 beside it:
    that draws towards zero.

    Args:
        strength: what is right depends on how far the weights would go; the log says train/l2sp.
    """

    needs_drift = True

    def __init__(self, strength: float = 0.1) -> None:
        super().__init__()
        if strength <= 0:
            raise ConfigError(f"L2SP: strength {strength} is not positive. Take 0.1.")
        self.strength = strength

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss; see `Objective.forward`."""
        assert rows.drift is not None
        return zero(rows) + self.strength / 2 * rows.drift
