"""`predictions.csv`, read back."""

import csv
from pathlib import Path

import pytest
import torch

from cliptune.errors import ConfigError
from cliptune.predictions import write_predictions


def test_a_row_for_each_image_with_class_probability_and_truth(tmp_path: Path) -> None:
    names = ["cat", 'dog, "small"', "고양이"]
    batches = [
        {"row": torch.tensor([0, 1]), "probabilities": torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]), "label": torch.tensor([0, -1])},
        {"row": torch.tensor([5]), "probabilities": torch.tensor([[0.25, 0.50004, 0.24996]]), "label": torch.tensor([2])},
    ]
    write_predictions(tmp_path, batches, names)
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as handle:
        rows = [tuple(row.values()) for row in csv.DictReader(handle)]
    assert rows == [("0", "cat", "0.7000", "cat"), ("1", "고양이", "0.6000", ""), ("5", 'dog, "small"', "0.5000", "고양이")]


def test_data_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"predict chooses among classes, and the data has none\. Set data\.class_names"):
        write_predictions(tmp_path, [], [])
    assert not (tmp_path / "predictions.csv").exists()
