"""Data over small tables and pictures, and what its batches say; shared by the tests of `ImageTextData`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
from torch import Tensor

from cliptune.data.images import ImageTextData
from cliptune.preprocess import Preprocess

Picture = Callable[[str], Path]
PREPROCESS = Preprocess({"size": 16}, open_clip.get_tokenizer("ViT-B-32"), trim=True)


def data(path: Any = "digits", **options: Any) -> ImageTextData:
    """Data that is set up, in the main process unless said."""
    made = ImageTextData(path, **{"batch_size": 4, "workers": 0, "preprocess": PREPROCESS, **options})
    made.setup()
    return made


@pytest.fixture
def write(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    """Write a table of JSON lines and its pictures; a row for each of `values`, which are put into `column`."""

    def table(values: list[Any], column: str = "caption", name: str = "a.jsonl", **others: list[Any]) -> Path:
        rows = [{"image": f"pictures/{i}.png", column: value} for i, value in enumerate(values)]
        for i, row in enumerate(rows):
            picture(row["image"])
            row.update({key: listed[i] for key, listed in others.items()})
        (tmp_path / name).write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
        return tmp_path / name

    return table


def texts_of(tokens: Tensor) -> list[str]:
    """The words of tokens, as CLIP's tokenizer spells them."""
    decoder = open_clip.get_tokenizer("ViT-B-32").decode
    return [
        decode_text.replace("<start_of_text>", "").partition("<end_of_text>")[0].strip() for decode_text in map(decoder, tokens.tolist())
    ]


def names_of(made: ImageTextData, split: str) -> list[str]:
    """The image files of a split, in order."""
    rows = made.rows(split)
    return [Path(row.key).name for _, _, row in rows[[(0, i) for i in range(len(rows))]]]
