"""Findings, zero-shot scores and configs by hand, for tests of what the doctor says of them."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from cliptune.doctor.distance import Distance
from cliptune.doctor.findings import Duplicates, Findings, ImageFacts, Pair, SplitFacts
from cliptune.doctor.fixed import fixed_config
from cliptune.doctor.places import Kind, Place, Spread
from cliptune.doctor.problems import problems
from cliptune.doctor.recommend import recommend
from cliptune.doctor.report import Report
from cliptune.doctor.scores import score_classes
from cliptune.doctor.text_findings import CaptionFacts, ClassFacts, CutName, FalseNegatives, LanguageFacts, Repeated
from cliptune.doctor.zero_shot import Retrieval, ZeroShot

REAL = 151_000_000  # parameters of ViT-B-32


def spread(*values: float) -> Spread:
    """Of numbers, in ten bins."""
    counts, edges = np.histogram(values, 10)
    quantiles = np.quantile(values, (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0))
    return Spread([float(q) for q in quantiles], float(np.mean(values)), [float(e) for e in edges], [int(c) for c in counts])


def config(**changes: Any) -> dict[str, Any]:
    """A config as `fit` resolves it; changes by keys with `__` for dots."""
    found: dict[str, Any] = {
        "seed_everything": 0,
        "model": {
            "backbone": {"name": "ViT-B-32", "pretrained": "openai", "image_size": None},
            "method": {"class_path": "cliptune.methods.full.Full", "init_args": {"towers": "both"}},
            "objective": {"class_path": "cliptune.objectives.contrastive.Contrastive", "init_args": {"positives": "each"}},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-5, "weight_decay": 0.1}},
        },
        "data": {"path": "images", "batch_size": 64, "templates": "a picture of a {}.", "views": "auto", "workers": 2, "transform": "clip"}
        | {"long_text": "truncate", "sampler": "shuffle", "decoded": False, "max_bad": 0.01, "classes": "all"},
        "run": {"name": None, "root": "runs"},
    }
    for key, value in changes.items():
        *parts, last = key.split("__")
        node = found
        for part in parts:
            node = node[part]
        node[last] = value
    return found


def zero(verdict: str = "partly", parameters: int = REAL, **changes: Any) -> ZeroShot:
    """What a backbone of 224 pixels says."""
    found = ZeroShot("ViT-B-32 openai", parameters, input_side=224, splits=["train", "validation"], images=500, rows=1100)
    found.distance = Distance(verdict=verdict, skill=0.5, neighbours=0.9, neighbour_skill=0.88)
    for key, value in changes.items():
        setattr(found, key, value)
    return found


def by_class(*train: int, validation: tuple[int, ...] = (), **changes: Any) -> Findings:
    """Findings of images in classes, so many in each of train; validation has ten of each where not given."""
    names = [f"class {i}" for i in range(len(train))]
    splits = {
        "train": SplitFacts(sum(train), 0, dict(zip(names, train, strict=True)), bytes=10_000 * sum(train)),
        "validation": SplitFacts(sum(validation) or 10 * len(train), 0, dict(zip(names, validation or [10] * len(train), strict=True))),
        "test": SplitFacts(10 * len(train), 0, dict.fromkeys(names, 10)),
    }
    images = ImageFacts(
        sum(split.rows for split in splits.values()), spread(300, 400), spread(250, 300), spread(250, 300), spread(9000, 10000)
    )
    images.formats, images.modes = {"JPEG": images.readable}, {"RGB": images.readable}
    classes = ClassFacts(names, max(train) / min(train), len(train), max(train) / sum(train))
    found = Findings(
        ["images"], splits, images, classes=classes, captions=CaptionFacts("classes", len(train), len(train), context_length=77)
    )
    for key, value in changes.items():
        setattr(found, key, value)
    return found


def captioned(rows: int, **changes: Any) -> Findings:
    """Findings of images with captions, all different."""
    found = by_class(rows, 1)
    found.classes = ClassFacts()
    found.splits = {name: SplitFacts(n, n) for name, n in (("train", rows), ("validation", 100), ("test", 100))}
    found.captions = CaptionFacts("captions", rows + 200, rows + 200, spread(5, 9, 12), 77, false_negatives=FalseNegatives(64))
    for key, value in changes.items():
        setattr(found.captions, key, value)
    return found


def picture(colour: tuple[int, int, int] = (200, 30, 30)) -> str:
    """A thumbnail."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 96), colour).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


EVIL = '<img src=x onerror="alert(1)">'


def report(name: str = "pets", **changes: Any) -> Report:
    """A report that has something in every section, with markup among the data's own words."""
    places = [Place("train", i, f"images/{EVIL}/{i}.jpg", "0 bytes") for i in range(3)]
    found = by_class(100, 40, 8)
    found.classes.names[2] = EVIL
    for split in found.splits.values():
        split.labels = {EVIL if label == "class 2" else label: count for label, count in split.labels.items()}
    found.classes.cut = [CutName(EVIL, ["<", "img"])]
    found.images.odd = {"empty": Kind(3, places), "cmyk": Kind(1, [Place("test", 4, "images/4.jpg", "four inks")])}
    pairs = [
        Pair("near", Place("test", 1, "images/test/1.jpg"), Place("train", 9, "images/9.jpg"), 0.02, ("class 0", "class 1")),
        Pair("bytes", Place("train", 8, "images/8.jpg"), Place("train", 9, "images/9.jpg"), 0.0, ("class 0", "class 0")),
    ]
    found.duplicates = Duplicates(pairs, {"test in train": 1}, {"train": 1}, 1, 1, 1)
    keys = ["test:1", "train:9", "train:8", "train:5"]
    found.thumbnails = {key: picture((40 * i, 90, 120)) for i, key in enumerate(keys)}
    found.examples = {"class 0": [Place("train", 5, "images/5.jpg")], "class 1": [Place("train", 8, "images/8.jpg")]}
    found.captions = CaptionFacts("captions", 200, 150, spread(5, 40, 90), 77, 20, 0.15, [Repeated(EVIL, 9)], 9)
    found.captions.false_negatives = FalseNegatives(64, 30.0, 0.47, 0.007, {"caption": 0.47})
    found.languages = LanguageFacts({"Latin": 0.7, "Cyrillic": 0.3}, 1.4, 0.06, EVIL, ["xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k"])
    scored = zero()
    truth, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 1, 0])
    scored.classes = score_classes(found.classes.names, truth, said, truth == said, [100, 40, 8])
    ways = ("image_to_text", "text_to_image")
    scored.retrieval = Retrieval(100, 100, {f"recall@{k}_{way}": 0.1 * k for k in (1, 5, 10) for way in ways})
    resolved = config(**changes)
    advice = recommend(found, scored, resolved)
    fixed = fixed_config({"data": {"path": "images"}}, advice, resolved, name)
    return Report(name, found, scored, problems(found, scored, resolved), advice, fixed, {"cliptune": "0"})
