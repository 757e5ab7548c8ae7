"""What one pass of evaluation measures, as far as the data has classes and captions; and the answers that it is measured from."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cliptune.distributed import gather_rows, sizes_of, total, world
from cliptune.metrics.answers import MOST_PROBABILITIES, TOP, Answers, ClassAnswers
from cliptune.metrics.classes import class_metrics
from cliptune.metrics.retrieval import Retrieval


class Texts(NamedTuple):
    """The captions of a batch."""

    rows: Tensor  # [N, D]
    owner: Tensor  # [N], the image of the batch that each belongs to
    identity: Tensor  # [N], the same for the same words


class Evaluation(nn.Module):
    """Metrics over the classes, and of retrieval between images and captions.

    Args:
        classes: how many; 0 for none.
        captions: whether there are any.
        several: whether images may have several classes.
        keep_rows: whether the rows of labelled images are wanted later.
    """

    def __init__(self, classes: int, captions: bool, several: bool = False, keep_rows: bool = False) -> None:
        super().__init__()
        self.said = Said(classes, several, keep_rows) if classes else None
        self.retrieval = Retrieval() if captions else None
        self.images = self.texts = 0  # that this process has seen
        self.evaluated: dict[str, int] = {}  # of the last pass, over all processes: labelled images where there are classes; texts
        self.answers = Answers(None, None)  # of the last pass

    def update(
        self, rows: Tensor, logits: Tensor | None, label: Tensor, row: Tensor, texts: Texts | None, labels: Tensor | None = None
    ) -> None:
        """Take a batch.

        Args:
            rows: [B, D] of its images.
            logits: [B, C] over the classes, where there are any.
            label: [B]; -1 where it is not known.
            row: [B], the images' numbers; -1 for what only fills the batch.
            texts: its captions, where there are any.
            labels: [B, C], 1 for each class of an image, where images may have several.
        """
        if self.said is not None and logits is not None:
            self.said.add(rows, logits, label, row, labels)
        if self.retrieval is not None and texts is not None:
            self.retrieval.update(rows, row, *texts)
            self.texts += int((row[texts.owner] >= 0).sum())
        self.images += int(((row if self.said is None else label) >= 0).sum())

    def compute(self) -> dict[str, float]:
        """The metrics by name, over all processes; `score` is the one that stands for all. The next pass starts anew."""
        found: dict[str, float] = {}
        classes, rows = self.said.everyone() if self.said is not None else (None, None)
        if classes is not None:
            found.update(class_metrics(classes))
        retrieval, device = None, torch.device("cpu") if self.said is None else self.said.device
        if self.retrieval is not None:
            found.update({name: float(value) for name, value in self.retrieval.compute().items()})
            retrieval, device = self.retrieval.answers, self.retrieval.device
            self.retrieval.reset()
        images, texts = (int(count) for count in total(torch.tensor([self.images, self.texts], device=device)))
        self.evaluated, self.answers = {"images": images, "texts": texts}, Answers(classes, retrieval, rows)
        self.images = self.texts = 0
        main = "map" if classes is not None and classes.several is not None else "top1" if classes is not None else "recall"
        return {**found, "score": found.get(main, 0.0)}


class Said:
    """Collects what is said of labelled images, batch by batch, and puts the processes' parts together.

    Args:
        classes: C.
        several: whether images may have several.
        keep_rows: whether the images' rows are wanted later.
    """

    def __init__(self, classes: int, several: bool, keep_rows: bool = False) -> None:
        self.classes, self.several, self.keep_rows = classes, several, keep_rows
        self.parts: list[tuple[Tensor, ...]] = []
        self.kept = 0  # probabilities
        self.device = torch.device("cpu")

    def add(self, rows: Tensor, logits: Tensor, label: Tensor, row: Tensor, labels: Tensor | None) -> None:
        """Take a batch; see `Evaluation.update`."""
        counts, self.device = label >= 0, logits.device
        label, row = label[counts], row[counts]
        logits = logits[counts].float()
        chances, first = logits.softmax(dim=-1), logits.argmax(dim=-1, keepdim=True)  # of equals the first, as for torchmetrics
        top = logits.scatter(1, first, torch.inf).topk(min(TOP, self.classes), dim=-1).indices
        several = labels[counts].bool() if self.several and labels is not None else torch.empty(len(row), 0)
        self.kept += chances.numel()
        kept = rows[counts].float() if self.keep_rows else rows[counts, :0]
        whole = chances if self.kept * world() <= MOST_PROBABILITIES else chances[:, :0]
        part = (row, label, several, top, chances.gather(1, top), chances.gather(1, label[:, None])[:, 0], kept, whole)
        self.parts.append(tuple(tensor.cpu() for tensor in part))

    def everyone(self) -> tuple[ClassAnswers, Tensor | None]:
        """What all processes have collected, in the order of the split, and the rows where they are wanted; nothing is kept."""
        whole = all(part[-1].shape[1] for part in self.parts) and self.kept * world() <= MOST_PROBABILITIES
        sizes, wholes = sizes_of(sum(len(part[0]) for part in self.parts), int(whole), device=self.device)
        if not all(wholes):
            self.parts = [(*part[:-1], part[-1][:, :0]) for part in self.parts]
        parts = self.parts or [self._nothing(all(wholes))]
        columns = [self._gathered(torch.cat(column), sizes) for column in zip(*parts, strict=True)]
        order = columns[0].argsort()
        number, label, several, top, chance, own, rows, chances = (column[order] for column in columns)
        self.parts, self.kept = [], 0
        known, every = several if self.several else None, chances if all(wholes) else None
        found = ClassAnswers(number, label, known, top, chance, own, every, self.classes)
        return found, rows if self.keep_rows else None

    def _gathered(self, column: Tensor, sizes: list[int]) -> Tensor:
        """All processes' rows; where rows hold nothing, nobody is asked."""
        return gather_rows(column.to(self.device), sizes).cpu() if column.shape[1:] != (0,) else column.new_empty(sum(sizes), 0)

    def _nothing(self, whole: bool) -> tuple[Tensor, ...]:
        """The part of a process that saw no labelled image."""
        long, wide = torch.empty(0, dtype=torch.long), min(TOP, self.classes)
        several = torch.empty(0, self.classes, dtype=torch.bool) if self.several else torch.empty(0, 0)
        chances = torch.empty(0, self.classes if whole else 0)
        return long, long, several, torch.empty(0, wide, dtype=torch.long), torch.empty(0, wide), torch.empty(0), torch.empty(0, 0), chances
