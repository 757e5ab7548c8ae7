"""What the untouched backbone says of a sample of train and validation. Test is never looked at here: it is for the end."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.data.texts.long_text import mean_of_pieces
from cliptune.doctor.distance import VERDICTS, Distance, explain, measure_captions, measure_classes
from cliptune.doctor.looks import Looks, look
from cliptune.doctor.sample import BATCH, SPLITS, Sample, batches, choose, labels_of, pixels
from cliptune.doctor.scores import ClassScores, score_classes
from cliptune.errors import DataError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.metrics import retrieval
from cliptune.similarity import exact

IMAGES = 2000  # of the sample
RETRIEVED = 1000  # images of it whose captions are searched among each other: recall falls with their number
Progress = Callable[[int, int], None]  # images done, and of how many


@dataclass
class Retrieval:
    """Searching captions by images, and images by captions, among `images` and `texts`; `recall` is by the metrics' names."""

    images: int = 0
    texts: int = 0
    recall: dict[str, float] = field(default_factory=dict)


@dataclass
class ZeroShot:
    """What the untouched backbone says.

    Args:
        backbone: its name, with what it was pretrained on.
        parameters: how many it has.
        sigmoid: whether it was pretrained with the sigmoid loss.
        input_side: the shorter side of its input, in pixels.
        splits: that the sample is of.
        images: in the sample that could be read.
        rows: of these splits, of which it was drawn.
        unreadable: images of the sample that could not be read.
        classes: None without classes.
        retrieval: None without captions.
        distance: how far the data lies from what the backbone knows.
        looks: what kind of pictures these are.
        vectors: whether the data holds rows instead of images.
        seconds: that it took.
    """

    backbone: str = ""
    parameters: int = 0
    sigmoid: bool = False
    input_side: int = 0
    splits: list[str] = field(default_factory=list)
    images: int = 0
    rows: int = 0
    unreadable: int = 0
    classes: ClassScores | None = None
    retrieval: Retrieval | None = None
    distance: Distance = field(default_factory=Distance)
    looks: Looks = field(default_factory=Looks)
    vectors: bool = False
    seconds: float = 0.0

    @property
    def small(self) -> bool:
        """Whether the backbone is a toy beside a real CLIP, whose smallest (RN50) has 102 million parameters."""
        return self.parameters < 50_000_000

    def to_json(self) -> dict[str, Any]:
        """Plain values that `json` writes, with what is derived of them."""
        found = asdict(self)
        found["distance"] |= {"says": VERDICTS[self.distance.verdict], "in_words": explain(self.distance)}
        if self.classes is not None:
            found["classes"] |= {"chance": self.classes.chance, "skill": self.classes.skill}
            for one, score in zip(found["classes"]["classes"], self.classes.classes, strict=True):
                one["accuracy"] = score.accuracy
        return found


class Seen(NamedTuple):
    """The rows of the sample that could be read."""

    rows: Tensor  # [N, D]
    labels: list[tuple[int, ...]]  # of each image, the first one first; () where not known
    texts: Tensor  # [T, D]
    owner: Tensor  # [T], in 0..N-1
    retrieved: int  # the first of the images, whose texts these are
    unreadable: int


@torch.no_grad()
def zero_shot(backbone: Backbone, data: ImageTextData, images: int = IMAGES, progress: Progress | None = None) -> ZeroShot:
    """Score the untouched backbone on a sample that has the classes evenly, as far as they have images.

    Args:
        backbone: left on the device and in the mode that it came in.
        data: set up.
        images: of the sample at most.
        progress: is told of each batch.

    Raises:
        DataError: the data holds rows of another width than the backbone gives.
    """
    wide, own = data.vectors, backbone.config["embed_dim"]
    if wide and wide != own:
        raise DataError(f"the data holds rows of {wide} numbers, and {backbone.name} gives {own}. Take the backbone that gave them.")
    began, training, device = time.perf_counter(), backbone.training, backbone.mean.device
    backbone.eval().to("cuda" if torch.cuda.is_available() else device)
    try:
        sample = choose(data, images)
        seen = _see(backbone, data, sample, progress or (lambda done, whole: None))
        class_rows = _class_rows(backbone, data)
    finally:
        backbone.train(training).to(device)
    found = ZeroShot(
        " ".join(filter(None, (backbone.name, backbone.pretrained))),
        sum(p.numel() for p in backbone.parameters()),
        backbone.logit_bias is not None,
        min(backbone.preprocess.size),
        [split for split in SPLITS if any(split == name for name, _ in sample.places)],
        len(seen.rows),
        sample.rows,
        seen.unreadable,
        looks=look(pixels(data, sample)),
        vectors=bool(data.vectors),
    )
    labelled = [i for i, labels in enumerate(seen.labels) if labels]
    if class_rows is not None and labelled:
        _score_classes(found, seen, labelled, class_rows, data.class_names, sample.counts, float(backbone.logit_scale))
    if len(seen.texts) and seen.retrieved > 1:
        found.retrieval = _retrieve(seen)
        if found.classes is None:
            found.distance = measure_captions(seen.rows[: seen.retrieved], seen.texts, seen.owner)
    found.seconds = time.perf_counter() - began
    return found


def _see(backbone: Backbone, data: ImageTextData, sample: Sample, progress: Progress) -> Seen:
    device = backbone.mean.device
    rows, texts, owners, done, retrieved = [], [], [], 0, 0
    labels: list[tuple[int, ...]] = []
    for items, batch in batches(data, sample):
        row = batch.get("row", torch.full((len(items),), -1))
        good = (row >= 0).nonzero().flatten()
        if len(good):
            given = batch["image_rows"] if "image_rows" in batch else backbone.encode_image(batch["images"].to(device))
            if "owner" in batch and retrieved < RETRIEVED:
                place = torch.full((len(items),), -1)
                place[good] = torch.arange(len(good)) + len(labels)
                said = batch["text_rows"] if "text_rows" in batch else backbone.encode_text(batch["tokens"].to(device))
                if "piece" in batch:
                    said = mean_of_pieces(said, batch["piece"].to(said.device), len(batch["owner"]))
                kept = place[batch["owner"]] >= 0
                texts.append(said.cpu()[kept])
                owners.append(place[batch["owner"]][kept])
                retrieved += len(good)
            rows.append(given.cpu()[good])
            labels += [labels_of(items[int(i)][2], data) for i in good]
        done = min(done + BATCH, len(sample.places))
        progress(done, len(sample.places))
    empty = torch.zeros(0, 1)
    owner = torch.cat(owners) if owners else torch.zeros(0, dtype=torch.long)
    return Seen(
        torch.cat(rows) if rows else empty, labels, torch.cat(texts) if texts else empty, owner, retrieved, len(sample.places) - len(labels)
    )


def _class_rows(backbone: Backbone, data: ImageTextData) -> Tensor | None:
    """[C, D], on the CPU; None without classes."""
    if not data.class_names:
        return None
    classes = ClassTexts(data.class_names, data.class_texts, backbone.preprocess)
    return Full().class_rows(backbone, classes).rows.cpu()


def _score_classes(
    found: ZeroShot, seen: Seen, labelled: list[int], class_rows: Tensor, names: list[str], counts: list[int], scale: float
) -> None:
    rows, truth = seen.rows[labelled], torch.tensor([seen.labels[i][0] for i in labelled])
    with exact(rows.device):
        said = (rows @ class_rows.T).argmax(dim=1)
    right = np.array([int(answer) in seen.labels[i] for i, answer in zip(labelled, said, strict=True)])
    found.classes = score_classes(names, truth.numpy(), said.numpy(), right, counts)
    found.distance = measure_classes(rows, truth, class_rows, names, scale, found.classes.skill)


def _retrieve(seen: Seen) -> Retrieval:
    recall, count = retrieval.Retrieval(), seen.retrieved
    recall.update(seen.rows[:count], torch.arange(count), seen.texts, seen.owner)
    found = {name: float(value) for name, value in recall.compute().items() if name.startswith("recall")}
    return Retrieval(count, len(seen.texts), found)
