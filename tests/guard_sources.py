"""Guards for tests: the validation images of the digits, and a table of colours."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import pixels
from PIL import Image

TEMPLATE = "the number {}."
DIGITS = {"path": "digits", "split": "validation", "templates": [TEMPLATE]}
COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures of three colours with captions, two for some; no splits."""
    folder = tmp_path_factory.mktemp("colours")
    rows = []
    for i in range(9):
        Image.fromarray(pixels(40, 40, seed=i)).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "caption": [f"a {COLOURS[i % 3]} thing {i}"] + [f"thing {i}"] * (i % 2), "label": COLOURS[i % 3]})
    pd.DataFrame(rows).to_json(folder / "colours.jsonl", orient="records", lines=True)
    return folder / "colours.jsonl"
