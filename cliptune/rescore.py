"""A run's data again, and a model scored on it without a trainer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from cliptune.adapted import AdaptedCLIP
from cliptune.data.images import ImageTextData
from cliptune.data.texts.templates import TEMPLATE
from cliptune.described import build
from cliptune.errors import CliptuneError, DataError
from cliptune.evaluation import Evaluation, Texts
from cliptune.methods.base import ClassTexts
from cliptune.rows import in_pieces

BATCH = 64  # images at a time
FEW = 2_000  # images, below which decoding takes less than starting processes for it


class Score(NamedTuple):
    """What one pass over a split measured."""

    metrics: dict[str, float]  # top1, recall@1_image_to_text, ...
    score: float  # the metric that stands for all
    evaluated: dict[str, int]  # images, with a label where there are classes; and texts


def data_of(run: Path, model: AdaptedCLIP) -> ImageTextData:
    """The data that a run was adapted to, as its `config.yaml` says.

    Raises:
        DataError: the config or the data is not at hand any more.
    """
    file = run / "config.yaml"
    if not file.is_file():
        raise DataError(f"{run} has no config.yaml, so the run's data is not known.")
    config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    objective = build(model.about["objective"]) if model.about.get("objective") else None
    needs = sorted(objective.needs) if objective is not None else ["pairs"]
    known = {**config["data"], "seed": int(config["seed_everything"])}
    try:
        return _opened(ImageTextData(**known, preprocess=model.backbone.preprocess, needs=needs))
    except (CliptuneError, TypeError) as error:
        raise DataError(f"the run's data is not at hand: {error}") from None


def other_data(path: str, model: AdaptedCLIP, templates: list[str] | None = None) -> ImageTextData:
    """Any data set with classes or captions, to score a model on.

    Raises:
        DataError: it cannot be read.
    """
    chosen = templates or TEMPLATE
    return _opened(ImageTextData(path, templates=chosen, preprocess=model.backbone.preprocess, batch_size=1, allow_outside=True))


def score(model: AdaptedCLIP, data: ImageTextData, split: str) -> Score:
    """Score a model on the validation or the test split: the metrics that `cliptune test` gives."""
    return scores(model, data, split, [lambda: None])[0]


@torch.no_grad()
def scores(model: AdaptedCLIP, data: ImageTextData, split: str, states: Sequence[Callable[[], None]]) -> list[Score]:
    """Score a model in several states, such as blends; each image is decoded once, whatever their number.

    Args:
        model: to score.
        data: set up.
        split: `validation` or `test`.
        states: each puts the model into one; the last one stays.
    """
    classes = ClassTexts(data.class_names, data.class_texts, model.backbone.preprocess, data.templates)
    measured = [Evaluation(len(data.class_names), data.has_captions, data.several) for _ in states]
    class_rows = []
    for put in states:
        put()
        class_rows.append(model.method.class_rows(model.backbone, classes) if classes else None)
    for batch in data.val_dataloader() if split == "validation" else data.test_dataloader():
        for put, evaluation, of_classes in zip(states, measured, class_rows, strict=True):
            put()
            rows = batch["image_rows"] if "image_rows" in batch else model.encode_pixels(batch["images"])
            logits = None if of_classes is None else model.logits(rows, of_classes)
            texts = None
            if data.has_captions:
                said = in_pieces(model.method.text_rows(model.backbone, batch["tokens"].to(model.device)).cpu(), batch)
                texts = Texts(said, batch["owner"], batch["text_identity"])
            evaluation.update(rows, logits, batch["label"], batch["row"], texts, batch.get("labels"))
    found = [evaluation.compute() for evaluation in measured]
    return [Score(each, each.pop("score"), evaluation.evaluated) for each, evaluation in zip(found, measured, strict=True)]


def _opened(data: ImageTextData) -> ImageTextData:
    data.setup()
    data.batch_size = BATCH
    if max(len(data.rows(split, images=False)) for split in ("validation", "test")) < FEW:
        data.workers = 0
    return data
