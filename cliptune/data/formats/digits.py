"""The handwritten digits that come with scikit-learn, as a source like any other: the bundled example of a domain CLIP knows badly.

Radford et al. 2021, sec. 3.1.5: zero-shot CLIP does worse on MNIST than logistic regression on raw pixels.
"""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits() -> DatasetDict:
    """1,797 pictures of 8 x 8 pixels: of every five, three are for training, one for validation, one for the test."""
    from PIL.Image import fromarray

    table, pngs = np.loadtxt(_file(), delimiter=",", dtype=np.int64), []
    for picture in table[:, :-1].reshape(-1, 8, 8):
        buffer = io.BytesIO()
        fromarray((picture * 255 / 16).round().astype("uint8")).save(buffer, format="PNG")
        pngs.append({"bytes": buffer.getvalue(), "path": None})
    features = Features({"image": Image(decode=False), "label": ClassLabel(names=list(NAMES))})
    rows = Dataset.from_dict({"image": pngs, "label": table[:, -1].tolist()}, features=features)
    parts = {"train": (0, 1, 2), "validation": (3,), "test": (4,)}
    return DatasetDict({name: rows.select([i for i in range(len(rows)) if i % 5 in part]) for name, part in parts.items()})


def _file() -> Path:
    """What `sklearn.datasets.load_digits` reads; importing that takes longer than all else that opens the data."""
    found = find_spec("sklearn")
    assert found is not None  # we depend on it
    assert found.origin is not None
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
