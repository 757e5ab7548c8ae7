"""Run folders made by hand, with answers of a known quality, for the tests of comparisons."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from cliptune.metrics.answers import Answers, ClassAnswers, RetrievalAnswers
from cliptune.outcomes import write_answers

NANO = {"name": "nano", "pretrained": None}


def class_answers(said: Tensor, label: Tensor, classes: int, several: Tensor | None = None) -> ClassAnswers:
    """Answers that name these classes first, each with a probability of 0.6."""
    top = torch.stack([said, *((said + step) % classes for step in range(1, min(5, classes)))], dim=1)
    chance = torch.tensor([0.6, 0.2, 0.1, 0.06, 0.04][: top.shape[1]]).expand(len(said), -1).contiguous()
    own = torch.where(top[:, 0] == label, 0.6, 0.1)
    return ClassAnswers(torch.arange(len(said)), label, several, top, chance, own, None, classes)


def retrieval_answers(image_rank: Tensor, texts: int = 2) -> RetrievalAnswers:
    """Images with some texts each, found at these ranks both ways."""
    count = len(image_rank)
    owner = torch.arange(count).repeat_interleave(texts)
    text_rank = image_rank.repeat_interleave(texts)
    top, score = torch.zeros(count, 5, dtype=torch.long), torch.zeros(count, 5)
    return RetrievalAnswers(
        torch.arange(count),
        image_rank,
        1 / (1 + image_rank.float()),
        top,
        score,
        owner,
        text_rank,
        1 / (1 + text_rank.float()),
        top.repeat_interleave(texts, 0),
        score.repeat_interleave(texts, 0),
    )


def made(
    folder: Path,
    adapted: Answers | None = None,
    zero_shot: Answers | None = None,
    metrics: dict[str, float] | None = None,
    before: dict[str, float] | None = None,
    method: str = "LoRA",
    config: dict[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """A run folder; keys of its summary are given by their names."""
    folder.mkdir(parents=True)
    found = {"zero_shot": zero_shot, "adapted": adapted}
    told: dict[str, Any] = {
        "command": "fit",
        "backbone": NANO,
        "method": {"class": f"cliptune.methods.x.{method}", "arguments": {}},
        "objective": {"class": "cliptune.objectives.cross_entropy.CrossEntropy", "arguments": {}},
        "zero_shot": before or {"test/top1": 0.1},
        "adapted": metrics or {},
        "counts": {"train": 160, "test": 100, "parameters_learned": 1000},
        "seconds": {"fit": 12.0, "total": 20.0},
        "peak_memory_mb": 800.0,
        "seed": 0,
        "data": {"path": ["digits"], "eval_path": None, "fingerprint": "f0", "test_fingerprint": "t0"},
        "base_fingerprint": "b0",
        "class_names": [],
    }
    (folder / "summary.json").write_text(json.dumps({**told, **summary}), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"data": {"shots": 16}}), encoding="utf-8")
    for state, answers in found.items():
        if answers is not None:
            write_answers(folder / "evaluation" / f"{state}.safetensors", answers)
    return folder


def by_accuracy(accuracy: Tensor, each: int, seed: int) -> tuple[ClassAnswers, float]:
    """Answers of which this share of each class is right, `each` images of every class, and their top-1; what is hard is hard for all."""
    classes = len(accuracy)
    label = torch.arange(classes).repeat_interleave(each)
    hard = torch.rand(len(label), generator=torch.Generator().manual_seed(0))
    luck = torch.rand(len(label), generator=torch.Generator().manual_seed(seed))
    right = 0.8 * hard + 0.2 * luck < accuracy.repeat_interleave(each)
    said = torch.where(right, label, (label + 1) % classes)
    return class_answers(said, label, classes), float(right.float().mean())
