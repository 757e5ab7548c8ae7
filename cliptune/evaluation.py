"""What one pass of evaluation measures, as far as the data has classes and captions."""

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from cliptune.distributed import total
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
        self.images = self.texts = 0  # that this process has seen
        self.evaluated: dict[str, int] = {}  # of the last pass, over all processes: labelled images where there are classes; texts

    def update(self, rows: Tensor, logits: Tensor | None, label: Tensor, row: Tensor, texts: tuple[Tensor, Tensor] | None) -> None:
        """Take a batch.

        Args:
            rows: [B, D] of its images.
            logits: [B, C] over the classes, where there are any.
            label: [B]; -1 where it is not known.
            row: [B], the images' numbers; -1 for what only fills the batch.
            texts: rows [N, D] of the captions, and the image [N] that each belongs to, where there are any.
        """
        if self.top1 is not None and logits is not None:
            self.top1.update(logits, label)
        if self.recall is not None and texts is not None:
            self.recall.update(rows, row, *texts)
            self.texts += int((row[texts[1]] >= 0).sum())
        self.images += int(((label if self.top1 is not None else row) >= 0).sum())

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name, over all processes; `score` is the one that stands for all. The next pass starts anew."""
        found: dict[str, Tensor] = {}
        if self.top1 is not None:
            found["top1"] = self.top1.compute()
            self.top1.reset()
        if self.recall is not None:
            found.update(self.recall.compute())
            self.recall.reset()
        device = next(iter(found.values())).device
        images, texts = (int(count) for count in total(torch.tensor([self.images, self.texts], device=device)))
        self.evaluated = {"images": images, "texts": texts}
        self.images = self.texts = 0
        return {**found, "score": found["top1" if "top1" in found else "recall"]}
