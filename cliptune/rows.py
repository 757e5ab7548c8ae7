"""From a batch to rows: as much of the towers as is not frozen and known already, in chunks where the module says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.chunks import in_chunks
from cliptune.data.batches import Batch
from cliptune.data.texts.long_text import mean_of_pieces
from cliptune.distributed import gather_rows, sizes_of
from cliptune.methods.base import LabelledRows
from cliptune.objectives.base import StepRows

if TYPE_CHECKING:
    from cliptune.module import AdaptModule
    from cliptune.scoring import Scoring


def image_rows(module: Scoring, batch: Batch) -> Tensor:
    """[B, D], from as much as a frozen tower has given before."""
    if "image_rows" in batch:
        return batch["image_rows"]
    return encoded_images(module, batch, module.backbone, lambda images: module.speaker.image_rows(module.backbone, images))


def encoded_images(module: Scoring, batch: Batch, backbone: Backbone, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """[B, D], of the batch's pixels, or of what enters the first block that learns."""
    over = backbone.towers()["image"]
    if "image_inner" in batch:
        leave = lambda inner: backbone.leave_image(inner, module.frozen["image"])  # noqa: E731
        return in_chunks(leave, batch["image_inner"], module.chunk_size, over=over)
    return in_chunks(encode, batch["images"], module.chunk_size, over=over)


def text_rows(module: Scoring, batch: Batch) -> Tensor:
    """[U, D], of the batch's distinct texts."""
    if "text_rows" in batch:
        return batch["text_rows"]
    return encoded_texts(module, batch, lambda tokens: module.speaker.text_rows(module.backbone, tokens))


def encoded_texts(module: Scoring, batch: Batch, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """[U, D], of the batch's texts, in chunks. A sharded tower runs on all devices at once, so all need equally many chunks."""
    tokens, count = batch["tokens"], len(batch["tokens"])
    if module.sharded and module.chunk_size:
        most = max(sizes_of(count, device=tokens.device)[0])
        tokens = torch.cat([tokens, tokens[:1].expand(most - count, -1)])
    rows = in_chunks(encode, tokens, module.chunk_size)[:count]
    return in_pieces(rows, batch)


def in_pieces(rows: Tensor, batch: Batch) -> Tensor:
    """[U, D], of texts of which long ones were seen in pieces."""
    return mean_of_pieces(rows, batch["piece"], int(batch["piece"].max()) + 1) if "piece" in batch else rows


def step_rows(module: AdaptModule, batch: Batch) -> StepRows:
    """What the objective sees of a batch of `TrainView`."""
    objective, teacher = module.objective, module.teacher
    rows: dict[str, Any] = {"images": image_rows(module, batch), "label": batch["label"], "labels": batch.get("labels")}
    if "pairs" in objective.needs:
        texts = text_rows(module, batch)
        rows |= {"texts": texts[batch["text"]], "identity": batch["identity"]}
        if "negative" in batch:
            rows |= {"negatives": texts[batch["negative"]], "negative_identity": batch["negative_identity"]}
    if "classes" in objective.needs:
        rows["classes"], rows["class_bias"] = module.train_class_rows()
    if objective.needs_drift and teacher is not None:
        rows["drift"] = teacher.drift(module)
    found = StepRows(scale=module.backbone.logit_scale, bias=module.backbone.logit_bias, **rows)
    if objective.needs_teacher and teacher is not None:
        found = replace(found, teacher=teacher.rows(module, batch, found))
    return found


class Epoch:
    """The rows of an epoch, for a method that solves for what it learns, on all processes' rows at once."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def add(self, module: AdaptModule, batch: Batch) -> None:
        """Take a batch."""
        self.parts.append((image_rows(module, batch), batch["label"]))

    def solve(self, module: AdaptModule, batch: Batch) -> None:
        """Take a batch of training; at the epoch's end let the method solve for what it learns, and stop."""
        self.add(module, batch)
        trainer: Any = module.trainer
        if not trainer.is_last_batch:
            return
        held_out = Epoch()
        for other in trainer.datamodule.val_dataloader():
            held_out.add(module, module.transfer_batch_to_device(other, module.device, 0))
        train = self.rows()
        loss = module.method.solve(module.backbone, module.objective, train, held_out.rows())
        module.log("train/loss", loss, batch_size=len(train.rows))
        module.optimizers().step()  # type: ignore[union-attr]  # of nothing: the step that checkpoints are counted by
        trainer.should_stop = True

    def rows(self) -> LabelledRows:
        """The labelled rows of all processes; none is kept."""
        rows, labels = (torch.cat(parts) for parts in zip(*self.parts, strict=True))
        self.parts.clear()
        rows, labels = rows[labels >= 0], labels[labels >= 0]
        (sizes,) = sizes_of(len(rows), device=rows.device)
        return LabelledRows(gather_rows(rows, sizes), gather_rows(labels, sizes))
