"""A fixed subset of a data set in memory, to score a model on again and again: decoded once, and rows of frozen towers computed once.

Several processes each hold and encode their share; the metrics are of all.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.chunks import in_chunks
from cliptune.data.batches import FILL, Batch, Place, Rows
from cliptune.data.images import ImageTextData
from cliptune.distributed import rank, sizes_of, world
from cliptune.errors import DataError
from cliptune.evaluation import Evaluation, Texts
from cliptune.methods.base import CLASS_CHUNK, ClassRows, ClassTexts, Method
from cliptune.metrics.answers import Answers
from cliptune.rows import in_pieces

log = logging.getLogger(__name__)

BATCH = 64  # images at a time
EVERY = ("train", "validation", "test")
KEPT_BYTES = 512 * 2**20  # of decoded images, all sets of a process together; what is beyond it is decoded at each pass


class Room:
    """The memory that decoded images may take together.

    Args:
        left: bytes.
    """

    def __init__(self, left: int = KEPT_BYTES) -> None:
        self.left = left

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes; then they are taken."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


class Found(NamedTuple):
    """What a pass measured, of all processes."""

    metrics: dict[str, float]
    metric: str  # the one that stands for all: top1, map or recall
    score: float  # its value
    images: int
    texts: int
    answers: Answers


class Fixed:
    """At most so many images of a data set, always the same ones, with their labels and captions.

    Args:
        data: set up, with `preprocess`.
        splits: whose images, one after another.
        images: at most.
        room: for decoded images.
        name: for messages.
    """

    def __init__(self, data: ImageTextData, splits: Sequence[str], images: int, room: Room, name: str) -> None:
        self.data, self.room, self.name = data, room, name
        self.classes = ClassTexts(data.class_names, data.class_texts, data.sights.preprocess, data.templates)
        self.rows = Rows([split for part in splits for split in data.splits[part]])
        self.view = data.eval_view()
        numbers = chosen(len(self.rows), images)
        self.images = len(numbers)
        share = _share(numbers)
        self.parts = [share[i : i + BATCH] for i in range(0, len(share), BATCH)]
        self.about: dict[int, Batch] = {}  # by part: all but pixels
        self.pixels: dict[int, Tensor] = {}  # by part: uint8, where there is room
        self.kept: dict[tuple[str, int], Tensor] = {}  # by tower and part: the rows of frozen towers
        self.kept_classes: ClassRows | None = None

    @torch.no_grad()
    def score(
        self,
        backbone: Backbone,
        method: Method,
        still: Collection[str] = (),
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Found:
        """Score a model; several processes all call it, and meet in it.

        Args:
            backbone: with what was learned.
            method: how rows come about.
            still: of `image` and `text` the towers that say of images and captions what they said before, as whatever model was scored
                here; of `classes`, where the rows of classes are those of before.
            context: made anew around each call of a tower, for its precision.
        """
        device = backbone.mean.device
        evaluation = Evaluation(len(self.classes), self.data.has_captions, self.data.several).to(device)
        classes = self._class_rows(backbone, method, "classes" in still) if self.classes else None
        for part in range(len(self.parts)):
            rows = self._row(("image", part), "image" in still, lambda: self._images(part, backbone, method, context))  # noqa: B023
            texts = None
            batch = self.about[part]
            if self.data.has_captions:
                said = self._row(("text", part), "text" in still, lambda: self._texts(batch, backbone, method, context))  # noqa: B023
                texts = Texts(said, batch["owner"].to(device), batch["text_identity"].to(device))
            logits = None if classes is None else method.logits(backbone, rows, classes)
            labels = batch["labels"].to(device) if "labels" in batch else None
            evaluation.update(rows, logits, batch["label"].to(device), batch["row"].to(device), texts, labels)
        metrics = evaluation.compute()
        score, counts = metrics.pop("score"), evaluation.evaluated
        if not counts["images"]:
            raise DataError(f"{self.name}: none of its images can be read, or none has a label that counts. Look at the files.")
        metric = "recall" if not self.classes else "map" if self.data.several else "top1"
        return Found(metrics, metric, score, counts["images"], counts["texts"], evaluation.answers)

    def _row(self, key: tuple[str, int], still: bool, compute: Callable[[], Tensor]) -> Tensor:
        """[n, D], computed once where the tower is still; what was decoded for it is then let go."""
        if still and key in self.kept:
            return self.kept[key]
        rows = compute()
        if still:
            self.kept[key] = rows.clone()
            if key[0] == "image" and (freed := self.pixels.pop(key[1], None)) is not None:
                self.room.left += freed.nbytes
        return rows

    def _images(self, part: int, backbone: Backbone, method: Method, context: Callable[[], AbstractContextManager[Any]]) -> Tensor:
        """[n, D]."""
        pixels = self._decoded(part)
        if "image_rows" in self.about[part]:
            return self.about[part]["image_rows"].to(backbone.mean.device)
        with context():
            return method.image_rows(backbone, pixels.to(backbone.mean.device))

    def _decoded(self, part: int) -> Tensor:
        """[n, 3, h, w]; all else of the batch is kept."""
        if part in self.pixels:
            return self.pixels[part]
        batch = self.view(self.rows[self.parts[part]])
        pixels = batch.pop("images", torch.empty(0))
        if part not in self.about:
            self.about[part] = batch
            for bad in batch.get("bad", []):
                log.warning(f"{self.name}: left out: {bad.path}: {bad.reason}")
        if self.room.take(pixels.nbytes):
            self.pixels[part] = pixels
        return pixels

    def _texts(self, batch: Batch, backbone: Backbone, method: Method, context: Callable[[], AbstractContextManager[Any]]) -> Tensor:
        """[m, D]; all processes encode equally many chunks, since a sharded tower runs on all of them at once."""
        tokens = batch["tokens"].to(backbone.mean.device)
        count = len(tokens)
        most = max(sizes_of(count, device=tokens.device)[0])
        filled = torch.cat([tokens, tokens[:1].expand(most - count, -1)])
        with context():
            rows = in_chunks(lambda chunk: method.text_rows(backbone, chunk), filled, None, CLASS_CHUNK)
        return in_pieces(rows[:count], batch)

    def _class_rows(self, backbone: Backbone, method: Method, still: bool) -> ClassRows:
        if still and self.kept_classes is not None:
            return self.kept_classes
        found = method.class_rows(backbone, self.classes)
        self.kept_classes = found if still else None
        return found


def chosen(count: int, most: int) -> np.ndarray:
    """The numbers of at most so many of `count` images, rising; the same at any time, whatever a run's seed."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _share(numbers: np.ndarray) -> list[Place]:
    """This process's places, as many as any other's: what is missing is filled up, and does not count."""
    size = -(-len(numbers) // world())
    own = [(0, int(number)) for number in numbers[rank() * size : (rank() + 1) * size]]
    return own + [(FILL, int(numbers[0]))] * (size - len(own))
