"""Run folders made by hand, with something in every part of a report, and markup among the data's own words."""

import base64
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report_answers import class_answers, retrieval_answers
from report_measures import EVIL, bias_of, composition_of, crops_of, guard_of

from cliptune.metrics.answers import Answers
from cliptune.metrics.classes import right_of
from cliptune.outcomes import write_answers
from cliptune.report.collect import wanted

LESIONS = [
    "actinic keratoses",
    "basal cell carcinoma",
    "benign keratosis",
    "dermatofibroma",
    "melanoma",
    "melanocytic nevi",
    "vascular lesions",
]


def picture(number: int, side: int = 128) -> str:
    """A thumbnail that looks like something."""
    y, x = np.mgrid[0:side, 0:side] / side
    rng = np.random.default_rng(number)
    a, b, phase = rng.uniform(2, 9), rng.uniform(2, 9), rng.uniform(0, 6, 3)
    pixels = np.stack([127 + 90 * np.sin(a * x + b * y * y + p) for p in phase], axis=-1) + rng.normal(0, 6, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def make_run(folder: Path, images: int = 400, classes: int = 7, captions: int = 0, names: list[str] | None = None, **changes: Any) -> Path:
    """Write a run folder.

    Args:
        folder: to write; its parents exist.
        images: of the test split.
        classes: 0 for none.
        captions: of each image; 0 for none.
        names: of the classes.
        **changes: of keys of the summary.
    """
    folder.mkdir(exist_ok=True)
    known = names or (LESIONS if classes == len(LESIONS) else [f"species {i:03d}" for i in range(classes)])
    before = Answers(
        class_answers(images, classes, 1.6, noise=1) if classes else None, retrieval_answers(images, captions, 0.35) if captions else None
    )
    after = Answers(
        class_answers(images, classes, 3.4, noise=2) if classes else None,
        retrieval_answers(images, captions, 0.6, 1) if captions else None,
    )
    for name, answers in (("zero_shot", before), ("adapted", after)):
        write_answers(folder / "evaluation" / f"{name}.safetensors", answers)
    write_examples(folder, before, after, known[:classes])
    summary = summary_of(before, after, classes, images, captions)
    (folder / "summary.json").write_text(json.dumps(summary | changes, ensure_ascii=False), encoding="utf-8")
    write_metrics(folder / "metrics.csv", summary)
    (folder / "config.yaml").write_text(f"seed_everything: 1\ndata:\n  path: ham10000  # {EVIL}\n", encoding="utf-8")
    return folder


def write_examples(folder: Path, before: Answers, after: Answers, names: list[str]) -> None:
    """Write what `collect_examples` would, with made pictures and texts."""
    numbers, texts = wanted(before, after)
    words = [
        "a dog runs over a wet field",
        EVIL,
        "two people on a bench by the sea, seen from behind, with a bird above the water",
        "a red car",
    ]
    found = {
        "classes": names,
        "train_counts": [int(900 / math.sqrt(i + 1)) for i in range(len(names))],
        "pictures": {str(number): picture(number) for number in numbers},
        "names": {str(number): f"ISIC_{number:07d}.jpg" for number in numbers},
        "captions": {str(number): [words[number % 4]] for number in numbers} if after.retrieval is not None else {},
        "texts": {str(place): f"{words[place % 4]} ({place})" for place in texts},
    }
    (folder / "evaluation" / "examples.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def summary_of(before: Answers, after: Answers, classes: int, images: int, captions: int) -> dict[str, Any]:
    """A summary with all keys; its metrics are those of the answers where they are quickly had."""
    main = "top1" if classes else "recall"
    zero_shot, adapted = scores(before), scores(after)
    shares = [round(i / 10, 1) for i in range(11)]
    low, high = zero_shot[f"test/{main}"], adapted[f"test/{main}"]
    ranges = {name: _ranges(found, images) for name, found in (("zero_shot", zero_shot), ("adapted", adapted))}
    guards = {
        name: guard_of(path, metric, first, last)
        for name, path, metric, first, last in (
            ("caltech101", "guards/caltech101", "top1", 0.912, 0.874),
            (f"flickr8k {EVIL}", "guards/flickr8k", "recall", 0.871, 0.869),
        )
    }
    return {
        "command": "fit",
        "command_line": "cliptune fit --config clip_lora --data.path ham10000 --guard '[guards/caltech101, guards/flickr8k]'",
        "backbone": {"name": "ViT-B-32", "pretrained": "openai", "image_size": None},
        "method": {"class": "cliptune.methods.lora.LoRA", "arguments": {"rank": 8, "alpha": 16.0, "towers": "both", "dropout": 0.0}},
        "objective": {"class": "cliptune.objectives.cross_entropy.CrossEntropy", "arguments": {"label_smoothing": 0.1}},
        "devices": 1,
        "batch_size": {"each": 64, "global": 64},
        "precision": "bf16-mixed",
        "zero_shot": {f"val/{main}": low - 0.01} | zero_shot,
        "adapted": {f"val/{main}": high + 0.01} | adapted,
        "intervals": {"level": 0.95, "resamples": 1000, **ranges},
        "changes": {name: _change(name, zero_shot, adapted, images) for name in zero_shot},
        "temperature": {"zero_shot": 1.31, "adapted": 1.18},
        "templates": [
            {"template": "a photo of a {}.", "zero_shot": low - 0.03, "adapted": high - 0.02},
            {"template": "a dermatoscopic image of {}.", "zero_shot": low + 0.01, "adapted": high},
            {"template": f"{EVIL} {{}}", "zero_shot": low - 0.09, "adapted": high - 0.05},
            {"template": None, "zero_shot": low, "adapted": high + 0.004},
        ],
        "guard": guards,
        "curve": {
            "shares": shares,
            "validation": [low + (high - low) * (1.45 * s - 0.45 * s * s) for s in shares],
            "monitor": main,
            "guards": {
                name: [guard["zero_shot"][guard["metric"]] - s * s * (0.002 + 0.036 * (i == 0)) for s in shares]
                for i, (name, guard) in enumerate(guards.items())
            },
            "images": {"validation": 500, **dict.fromkeys(guards, 400)},
            "chosen": 0.8,
            "rule": "the share with the greatest mean of the target's and the guards' change",
        },
        "phases": [
            {"name": "start", "seconds": 6.2, "peak_memory_mb": 812.0},
            {"name": "zero-shot on validation", "seconds": 11.8, "peak_memory_mb": 1911.2},
            {"name": "training", "seconds": 412.5, "peak_memory_mb": 4312.7},
            {"name": "zero-shot on test", "seconds": 12.4, "peak_memory_mb": 1915.0},
            {"name": "adapted on validation and test", "seconds": 24.9, "peak_memory_mb": 1919.9},
            {"name": "intervals", "seconds": 1.1, "peak_memory_mb": 1921.3},
        ],
        "composition": composition_of(),
        "bias": bias_of(),
        "crops": crops_of(main),
        "learned": {
            "lora_norms": [
                {"tower": tower, "layer": i, "norm": 0.4 + 0.12 * i + 0.3 * (tower == "image"), "relative": 0.004 + 0.0011 * i}
                for tower in ("image", "text")
                for i in range(12)
            ],
            "words": [
                {
                    "template": "a photo of a {}.",
                    "class_name": None,
                    "place": i,
                    "nearest": [["photo", 0.12 + i], ["image", 0.35 + i], [EVIL, 0.4 + i]],
                }
                for i in range(3)
            ],
        },
        "evaluated": {"val": {"images": images, "texts": images * captions}, "test": {"images": images, "texts": images * captions}},
        "left_out": {"train": 2, "test": 0},
        "counts": {
            "train": 7010,
            "validation": 1003,
            "test": images,
            "classes": classes,
            "parameters_all": 151_277_313,
            "parameters_learned": 1_179_648,
        },
        "seconds": {"fit": 412.5, "total": 471.2},
        "peak_memory_mb": 4312.7,
        "seed": 1,
        "data": {"path": ["ham10000"], "eval_path": None, "fingerprint": "9f2c11d0a7e3", "notes": [f"a note {EVIL}"]},
        "versions": {"cliptune": "0.1.0", "python": "3.11.2", "torch": "2.15.0"},
        "best": {"monitor": f"val/{main}", "score": high + 0.01},
        "epochs": 5,
        "images_per_second": 85.0,
        "waiting_for_data": 0.031,
    }


def scores(answers: Answers) -> dict[str, float]:
    """A few metrics."""
    found: dict[str, float] = {}
    if (said := answers.classes) is not None:
        good = right_of(said)
        each = [float(good[said.label == label].float().mean()) for label in said.label.unique()]
        found |= {"test/top1": float(good.float().mean()), "test/mean_per_class": sum(each) / len(each)}
        if said.classes > 5:
            found["test/top5"] = float((said.top == said.label[:, None]).any(dim=1).float().mean())
        found["test/ece"] = abs(float(said.top_probability[:, 0].mean()) - found["test/top1"])
        found["test/nll"] = float(-said.label_probability.clamp(min=1e-9).log().mean())
        found["test/ece_calibrated"], found["test/nll_calibrated"] = 0.4 * found["test/ece"], 0.95 * found["test/nll"]
    if (seen := answers.retrieval) is not None:
        for way, rank in (("image_to_text", seen.image_rank), ("text_to_image", seen.text_rank)):
            found |= {f"test/recall@{k}_{way}": float((rank < k).float().mean()) for k in (1, 5, 10)}
            found[f"test/median_rank_{way}"] = float(rank.median()) + 1
            found[f"test/map@10_{way}"] = float((1 / (rank + 1.0)).mean())
        found["test/recall"] = sum(value for name, value in found.items() if "recall@" in name) / 6
    return found


def _ranges(found: dict[str, float], images: int) -> dict[str, list[float]]:
    return {name: [value - _half(value, images), value + _half(value, images)] for name, value in found.items()}


def _half(value: float, images: int) -> float:
    return 1.96 * math.sqrt(max(value * (1 - value), 0.01) / images)


def _change(name: str, before: dict[str, float], after: dict[str, float], images: int) -> dict[str, float]:
    change, half = after[name] - before[name], 1.2 * _half(after[name], images)
    return {"change": change, "low": change - half, "high": change + half, "p": 0.0002 if abs(change) > half else 0.31}


def write_metrics(file: Path, summary: dict[str, Any]) -> None:
    """Write learning curves such as a fit logs."""
    main = next(name for name in summary["zero_shot"] if name.startswith("val/"))
    low, high = summary["zero_shot"][main], summary["adapted"][main]
    rng = np.random.default_rng(0)
    names = [
        "step",
        "epoch",
        "train/loss",
        "lr-AdamW",
        main,
        *(f"guard/{name}/{guard['metric']}" for name, guard in summary["guard"].items()),
    ]
    with file.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, names)
        writer.writeheader()
        for step in range(0, 551, 5):
            writer.writerow({"step": step, "epoch": step // 110, "train/loss": 1.9 * math.exp(-step / 180) + 0.3 + 0.1 * rng.random()})
            if step % 110 == 0:
                guards = {f"guard/{n}/{g['metric']}": g["zero_shot"][g["metric"]] - 0.00007 * step for n, g in summary["guard"].items()}
                writer.writerow({"step": step, "epoch": step // 110, main: low + (high - low) * (1 - math.exp(-step / 140))} | guards)
