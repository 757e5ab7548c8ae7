"""How a module is scored: validation, test and prediction, of what was adapted or of the untouched CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import torch
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.data.batches import Batch
from cliptune.evaluation import Evaluation, Texts
from cliptune.guards import Guards
from cliptune.methods.base import ClassRows, ClassTexts, Method
from cliptune.methods.full import Full
from cliptune.rows import image_rows, text_rows


class Scoring(L.LightningModule):
    """The half of `AdaptModule` that evaluates. What is declared here and not set, that one sets."""

    backbone: Backbone
    method: Method
    classes: ClassTexts
    has_captions: bool
    evaluation: Evaluation
    frozen: dict[str, int]
    chunk_size: int | None
    sharded: bool

    def __init__(self) -> None:
        super().__init__()
        self.guards = Guards([])
        self.untouched = False  # whether what is scored is the untouched CLIP
        self.guards_on_test = False  # whether a pass over the test split scores the guards too, as one over validation does
        self.keep_rows = False  # whether the next pass keeps the images' rows, for those that ask after it
        self.evaluated: dict[str, dict[str, int]] = {}  # by split: images and texts that its metrics are of
        self._eval_class_rows: ClassRows | None = None

    @contextmanager
    def as_untouched(self) -> Iterator[None]:
        """While it lasts, the module's weights are those before training, and passes are of the untouched CLIP."""
        self.untouched = True
        try:
            yield
        finally:
            self.untouched = False

    @property
    def speaker(self) -> Method:
        """What makes rows: the method, or, where that does not start as CLIP, the bare towers while the untouched CLIP is scored."""
        if not self.untouched or self.method.starts_as_clip:
            return self.method
        plain = Full()
        plain.chunk_size = self.method.chunk_size
        return plain

    def on_validation_epoch_start(self) -> None:
        """Compute the class rows once per evaluation, not once per batch."""
        self.prepare_evaluation()

    @torch.no_grad()
    def prepare_evaluation(self) -> None:
        """Compute the class rows."""
        self._eval_class_rows = self.speaker.class_rows(self.backbone, self.classes) if self.classes else None

    on_test_epoch_start = on_validation_epoch_start
    on_predict_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of `EvalView`."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of `EvalView`."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log `val/top1`, `val/recall@...`, as far as the data has classes and captions; and the same of each guard.

        Where there are guards, `val/balanced` is the mean of the score on validation and of the guards' mean score.
        """
        score = self._log_metrics("val")
        if self.guards:
            self.log_dict(self.score_guards(), prog_bar=False)
            self.log("val/balanced", (score + self.guards.mean()) / 2)

    @torch.no_grad()
    def score_guards(self) -> dict[str, float]:
        """Score all guards; `guard/NAME/METRIC`."""
        return self.guards.score(self)

    def on_test_epoch_end(self) -> None:
        """Log `test/...`, and the guards' where they are asked for: a fit has scored them beside validation."""
        self._log_metrics("test")
        if self.guards and self.guards_on_test:
            self.log_dict(self.score_guards())

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Probabilities over the classes [B, C] where there are classes, else the image rows [B, D]; and the row numbers."""
        rows = image_rows(self, batch)
        if self._eval_class_rows is None:
            return {"row": batch["row"], "image_rows": rows}
        logits = self.speaker.logits(self.backbone, rows, self._eval_class_rows)
        return {"row": batch["row"], "probabilities": logits.softmax(dim=-1), "label": batch["label"]}

    def _evaluate(self, batch: Batch) -> None:
        rows = image_rows(self, batch)
        logits = None if self._eval_class_rows is None else self.speaker.logits(self.backbone, rows, self._eval_class_rows)
        texts = Texts(text_rows(self, batch), batch["owner"], batch["text_identity"]) if self.has_captions else None
        self.evaluation.update(rows, logits, batch["label"], batch["row"], texts, batch.get("labels"))

    def _log_metrics(self, split: str) -> float:
        found = self.evaluation.compute()
        score = found.pop("score")
        self.evaluated[split] = self.evaluation.evaluated
        self.log_dict({f"{split}/{name}": value for name, value in found.items()}, prog_bar=False)
        self.log(f"{split}/score", score, prog_bar=split == "val", logger=False)
        return score
