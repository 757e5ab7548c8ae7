"""`predictions.csv`: what the model says of each image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cliptune.errors import ConfigError


def write_predictions(folder: Path, batches: Sequence[Any], class_names: list[str]) -> Path:
    """Write a row for each image: its number in the split, the class said, its probability, and the class in truth.

    Raises:
        ConfigError: the data has no classes to choose from.
    """
    if not class_names:
        raise ConfigError("predict chooses among classes, and the data has none. Set data.class_names and a label column.")
    file = folder / "predictions.csv"
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["row", "predicted", "probability", "label"])
        for batch in batches:
            best = torch.max(batch["probabilities"], dim=1)
            for row, chance, said, label in zip(batch["row"], best.values, best.indices, batch["label"], strict=True):
                truth = class_names[int(label)] if int(label) >= 0 else ""
                writer.writerow([int(row), class_names[int(said)], f"{float(chance):.4f}", truth])
    print(f"predictions: {file}")
    return file
