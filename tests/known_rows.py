"""A model whose rows are known: an image's are its mean colour, a text's are given; and tables of plain pictures for it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from made_data import PREPROCESS, data, texts_of
from PIL import Image
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.images import ImageTextData
from cliptune.methods.base import ClassRows, ClassTexts

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class KnownRows:
    """Gives an image the row (red, green, blue), each 0..1, and a text the row that is given for it, or the one of all others.

    The score of a class is 10 times the product of the rows; its text is its name.
    """

    def __init__(self, texts: Mapping[str, Sequence[float]], other: Sequence[float] = (0.0, 0.0, 0.0)) -> None:
        self.texts, self.other, self.batch_size, self.device = texts, other, 4, torch.device("cpu")
        self.backbone = SimpleNamespace(preprocess=PREPROCESS, config={"embed_dim": 3})
        self.method = SimpleNamespace(class_rows=self._class_rows, logits=self._logits, text_rows=self._text_rows)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        return pixels.float().mean(dim=(2, 3)) / 255

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self.texts.get(text, self.other) for text in texts], dtype=torch.float32)

    def _text_rows(self, backbone: Any, tokens: Tensor) -> Tensor:
        return self.encode_texts(texts_of(tokens))

    def _class_rows(self, backbone: Any, classes: ClassTexts) -> ClassRows:
        return ClassRows(self.encode_texts([texts[0] for texts in classes.texts]))

    def _logits(self, backbone: Any, image_rows: Tensor, class_rows: ClassRows) -> Tensor:
        return 10 * image_rows @ class_rows.rows.T


def known_rows(texts: Mapping[str, Sequence[float]], other: Sequence[float] = (0.0, 0.0, 0.0)) -> AdaptedCLIP:
    """A `KnownRows` in a model's place."""
    return cast(AdaptedCLIP, KnownRows(texts, other))


def plain_picture(file: Path, colour: str | tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> None:
    """Write a picture of one colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS.get(colour, colour) if isinstance(colour, str) else colour).save(file)  # type: ignore[arg-type]


def pictured(folder: Path, rows: list[dict[str, Any]], **options: Any) -> ImageTextData:
    """Data whose test split is these rows, with a picture of each row's `colour`."""
    others = [{**rows[i % len(rows)], "split": "train" if i else "validation"} for i in range(5)]  # all labels are known to train
    listed = [{"split": "test", **row, "image": f"pictures/{i}.png"} for i, row in enumerate([*rows, *others])]
    for row in listed:
        plain_picture(folder / row["image"], row.pop("colour"))
    file = folder / "table.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in listed), encoding="utf-8")
    return data(str(file), batch_size=2, templates="{}", **options)
