"""What one pass of evaluation measures, as far as the data has classes and captions."""

from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from cliptune.metrics import Recall


class Evaluation(nn.Module):
    """Top-1 over the classes, and recall between images and captions.

    Args:
        classes: how many; 0 for none.
        captions: whether there are any.
    """

    def __init__(self, classes: int, captions: bool) -> None:
        super().__init__()
        self.top1 = MulticlassAccuracy(classes, average="micro", ignore_index=-1) if classes else None
        self.recall = Recall() if captions else None

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, over all processes; `score` is the one that stands for all. The next pass starts anew."""
        found: dict[str, Tensor] = {}
        if self.top1 is not None:
            found["top1"] = self.top1.compute()
            self.top1.reset()
        if self.recall is not None:
            found.update(self.recall.compute())
            self.recall.reset()
        return {**found, "score": found["top1" if "top1" in found else "recall"]}
