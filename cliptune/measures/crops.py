"""What fine detail is worth: evaluation at several crops of each image, whose unit rows are averaged, beside the model's own view.

CLIP sees images small and whole, and misses what is small in them. The metrics of both, on the same decoded images; what it wins, image by
image; and what it costs.

`told`: {"how": "5" or "grid", "views": n (of each image, whose rows are averaged), "images": n, "plain": {METRIC: x}, "crops": {METRIC: x},
"gain": {METRIC: crops - plain}, "flips": {NAME: {"won": n, "lost": n, "p"}} (which answers became right and wrong, exact McNemar; NAME as
in `items`), "seconds": {"plain", "crops"} (of decoding, resizing and encoding images), "cost": crops / plain}.
`items`: by "top1", "recall@1_image_to_text", "recall@1_text_to_image", as far as there are classes and captions: of each image or text what
was won, 1, 0 or -1. `units`: the image of each.
"""

import time
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.batches import Batch
from cliptune.data.images import ImageTextData
from cliptune.data.seen import Seen
from cliptune.distributed import alone
from cliptune.errors import DataError
from cliptune.evaluation import Evaluation, Texts
from cliptune.measures.base import Measured
from cliptune.measures.crop_views import WAYS, CropView
from cliptune.measures.seeing import split_batches
from cliptune.methods.base import ClassTexts
from cliptune.metrics.answers import Answers
from cliptune.metrics.bootstrap import mcnemar
from cliptune.metrics.classes import right_of
from cliptune.rows import in_pieces

BATCH = 64  # images decoded at a time, each at all its crops


class Both(NamedTuple):
    """Metrics and answers of the two ways."""

    plain: Evaluation
    crops: Evaluation


@torch.no_grad()
def measure_crops(model: AdaptedCLIP, data: ImageTextData, how: str) -> Measured:
    """Measure one state of a model.

    Args:
        model: in that state.
        data: set up.
        how: of `WAYS`.

    Raises:
        DataError: the data holds no images.
    """
    check_images(data)
    way = WAYS[how]
    both = Both(*(_evaluation(data) for _ in range(2)))
    classes = ClassTexts(data.class_names, data.class_texts, model.backbone.preprocess, data.templates)
    class_rows = model.method.class_rows(model.backbone, classes) if classes else None
    seconds, views = {"plain": 0.0, "crops": 0.0}, 0
    size = min(data.batch_size, BATCH)
    with alone():
        for batch, cost in split_batches(data, _view(data, how), views=1 + way.views, batch_size=size):
            parts = batch["images"].split(len(batch["row"]))
            times = [time.perf_counter()]
            plain = model.encode_pixels(parts[0])
            times.append(time.perf_counter())
            rows = torch.stack([*([plain] if way.whole else []), *(model.encode_pixels(part) for part in parts[1:])])  # [V, B, D]
            times.append(time.perf_counter())
            first, others, views = times[1] - times[0], times[2] - times[1], len(rows)
            seconds["plain"] += cost.plain + first
            seconds["crops"] += cost.crops + others + first * way.whole
            texts = _texts(model, batch) if data.has_captions else None
            for evaluation, own in zip(both, (plain, F.normalize(rows.mean(dim=0), dim=-1)), strict=True):
                logits = None if class_rows is None else model.method.logits(model.backbone, own.to(model.device), class_rows).cpu()
                evaluation.update(own, logits, batch["label"], batch["row"], texts, batch.get("labels"))
        metrics = [{name: value for name, value in evaluation.compute().items() if name != "score"} for evaluation in both]
    return _measured(how, views, both, metrics, seconds)


def check_images(data: ImageTextData) -> None:
    """Refuse data that holds none.

    Raises:
        DataError: it holds rows.
    """
    if data.vectors:
        raise DataError("evaluation.crops sees images at several crops, and the data holds rows. Leave it out, or give images.")


def _evaluation(data: ImageTextData) -> Evaluation:
    found = Evaluation(len(data.class_names), data.has_captions, data.several)
    if found.retrieval is not None:
        found.retrieval.distributed_available_fn = lambda: False  # other processes wait, and would not answer
    return found


def _view(data: ImageTextData, how: str) -> CropView:
    seen = data.sights.seen.get("test")
    texts = Seen(texts=seen.texts) if seen is not None and seen.texts is not None else None
    return CropView(how, data.sights.preprocess, data.class_number, data.has_captions, texts, data.sights.long_text, data.several)


def _texts(model: AdaptedCLIP, batch: Batch) -> Texts:
    if "text_rows" in batch:
        rows = batch["text_rows"].cpu()
    else:
        rows = in_pieces(model.method.text_rows(model.backbone, batch["tokens"].to(model.device)).cpu(), batch)
    return Texts(rows, batch["owner"], batch["text_identity"])


def _measured(how: str, views: int, both: Both, metrics: list[dict[str, float]], seconds: dict[str, float]) -> Measured:
    plain, crops = (_right(evaluation.answers) for evaluation in both)
    gain = {name: metrics[1][name] - metrics[0][name] for name in metrics[0]}
    told: dict[str, Any] = {"how": how, "views": views, "images": both.plain.evaluated["images"], "plain": metrics[0], "crops": metrics[1]}
    told |= {"gain": gain, "flips": {name: mcnemar(plain[name][0], crops[name][0])._asdict() for name in plain}}
    told |= {"seconds": seconds, "cost": seconds["crops"] / max(seconds["plain"], 1e-9)}
    items = {name: crops[name][0].float() - plain[name][0].float() for name in plain}
    return Measured(told, items, {name: unit for name, (_, unit) in plain.items()})


def _right(answers: Answers) -> dict[str, tuple[Tensor, Tensor]]:
    """By name which answers are right, bool, and the image of each."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    if (said := answers.classes) is not None and len(said):
        found["top1"] = (right_of(said), said.number)
    if (heard := answers.retrieval) is not None and len(heard):
        found["recall@1_image_to_text"] = (heard.image_rank == 0, heard.number)
        found["recall@1_text_to_image"] = (heard.text_rank == 0, heard.owner)
    return found
