"""`predictions.csv`: what the model says of each image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from cliptune.distributed import gathered
from cliptune.errors import ConfigError
from cliptune.processes import is_main


def write_predictions(folder: Path, batches: Sequence[Any], class_names: list[str]) -> None:
    """Write a row for each image of all processes: its number in the split, the class said, its probability, and the class in truth.

    Raises:
        ConfigError: the data has no classes to choose from.
    """
    if not class_names:
        raise ConfigError("predict chooses among classes, and the data has none. Set data.class_names and a label column.")
    own: list[tuple[int, float, int, int]] = []
    for batch in batches:
        best = torch.max(batch["probabilities"], dim=1)
        own += zip(batch["row"].tolist(), best.values.tolist(), best.indices.tolist(), batch["label"].tolist(), strict=True)
    everyone = sorted(gathered(own))  # processes take turns
    if not is_main():
        return
    file = folder / "predictions.csv"
    with file.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["row", "predicted", "probability", "label"])
        for row, chance, said, label in everyone:
            if row >= 0:
                writer.writerow([row, class_names[said], f"{chance:.4f}", class_names[label] if label >= 0 else ""])
    print(f"predictions: {file}")
