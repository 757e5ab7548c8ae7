"""Cross-entropy over class rows: classification with words."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.distributed import total, world
from cliptune.errors import ConfigError
from cliptune.objectives.base import Objective, StepRows, check_smoothing
from cliptune.similarity import similarity


class CrossEntropy(Objective):
    """Cross-entropy over class rows, a mean over the labelled images of all processes, by weight as `torch.nn.CrossEntropyLoss` has it.

    Where an image has several labels, the target is spread evenly over them.

    Args:
        label_smoothing: share of the target that is spread over all classes.
        class_weights: `balanced` weighs a class by images / (classes x its images) (King and Zeng 2001; scikit-learn's formula), so that
            rare classes count as much as frequent ones; or a weight for each class.

    Raises:
        ConfigError: a value out of range; weights that are not as many as the classes.
    """

    needs = frozenset(["classes"])
    weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Literal["balanced"] | list[float] | None = None) -> None:
        super().__init__()
        check_smoothing("CrossEntropy", label_smoothing)
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise ConfigError(f"CrossEntropy: class_weights {class_weights!r} is not known. Take balanced, a list, or null for none.")
        if isinstance(class_weights, list) and (min(class_weights, default=0) < 0 or not any(class_weights)):
            raise ConfigError(f"CrossEntropy: class_weights {class_weights} has a negative weight, or none above 0.")
        self.label_smoothing, self.given = label_smoothing, class_weights
        self.register_buffer("weights", None, persistent=False)

    def attach(self, backbone: Backbone, counts: list[int] | None = None) -> None:
        """Make the weights from the training images of each class."""
        if self.given is None:
            return
        if self.given == "balanced":
            if counts is None:
                raise ConfigError(
                    "CrossEntropy: class_weights balanced needs the data's counts, and there are none. Give a list of weights."
                )
            found = [sum(counts) / (len(counts) * count) if count else 0.0 for count in counts]
        else:
            found = [float(weight) for weight in self.given]
        if counts is not None and len(found) != len(counts):
            raise ConfigError(f"CrossEntropy: {len(found)} class_weights for {len(counts)} classes. Give one for each.")
        self.weights = torch.tensor(found, device=backbone.mean.device)

    def forward(self, rows: StepRows) -> Tensor:
        """Give the loss of a batch of labelled images; see `Objective.forward`."""
        assert rows.classes is not None
        assert rows.label is not None
        return self.of(similarity(rows.images, rows.classes, rows.scale, rows.class_bias), rows.label, rows.labels)

    def of(self, logits: Tensor, label: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss of logits [B, C], of the label of each image, or of several; see `StepRows`."""
        if labels is None:
            target, weight = label, self.weight(label)
        else:  # images of several classes: the target is spread evenly over them
            known = label >= 0
            logits, labels = logits[known], labels[known].to(logits.dtype)
            target = labels / labels.sum(dim=1, keepdim=True)  # [b, C]
            weight = target if self.weights is None else target * self.weights
        summed = F.cross_entropy(logits, target, self.weights, label_smoothing=self.label_smoothing, ignore_index=-1, reduction="sum")
        whole = total(weight.sum().float())
        return summed * world() / torch.where(whole > 0, whole, 1)  # a batch in which no label is known is no loss

    def weight(self, label: Tensor) -> Tensor:
        """[B], what each image counts, of its class number; -1 counts nothing."""
        known = (label >= 0).float()
        return known if self.weights is None else known * self.weights[label.clamp(min=0)]

    def targets(self, label: Tensor, classes: int) -> Tensor:
        """[B, C], so that the loss is - (targets * log softmax of the logits), summed, by the sum of `weight`."""
        told = F.one_hot(label.clamp(min=0), classes).float()
        spread = (1 - self.label_smoothing) * told + self.label_smoothing / classes
        return (label >= 0)[:, None] * (spread if self.weights is None else spread * self.weights)
