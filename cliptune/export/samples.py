"""The images and texts on which an export is compared with the model that it was made of."""

import json
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.formats.digits import digits
from cliptune.data.images import ImageTextData
from cliptune.images import decode
from cliptune.methods.base import ClassRows, mean_rows
from cliptune.preprocess import normalize

MOST_TEXTS = 512  # of the classes that are compared; a thousand classes with eighty templates would take minutes


class Samples(NamedTuple):
    """Images, the texts that they are compared with, and what is right."""

    images: list[Tensor]  # [3, H, W], uint8, as decoded
    classes: list[int]  # of the model's classes, those that are compared
    texts: list[list[str]]  # [C][T], each with as many as it has: of these classes; or the images' captions, each a class of its own
    answers: list[int]  # for each image the right one of the texts; -1 where that is not known
    source: str  # for people

    def write(self, folder: Path, model: AdaptedCLIP) -> None:
        """Write what the other library reads: the images as PNGs, as the model's own pixels, and as its rows; the texts."""
        for i, image in enumerate(self.images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")
        pixels = self.pixels(model)
        save_file({"pixels": pixels, "rows": model.encode_pixels(pixels).contiguous()}, folder / "pixels.safetensors")
        (folder / "texts.json").write_text(json.dumps([text for texts in self.texts for text in texts]), encoding="utf-8")

    def pixels(self, model: AdaptedCLIP) -> Tensor:
        """[N, 3, h, w], float32, normalised."""
        seen = torch.stack([model.backbone.preprocess.eval(image) for image in self.images])
        return normalize(seen, model.backbone.mean.cpu(), model.backbone.std.cpu()).contiguous()

    def expected(self, model: AdaptedCLIP) -> dict[str, Tensor]:
        """What the model itself says.

        Returns:
            `image_rows` [N, D], `text_rows` [M, D] of all texts, `similarity` [N, M] of these, and `logits` [N, C] where it has classes.
        """
        image_rows = model.encode_pixels(self.pixels(model))
        text_rows = model.encode_texts([text for texts in self.texts for text in texts])
        found = {"image_rows": image_rows, "text_rows": text_rows}
        found["similarity"] = model.logits(image_rows, ClassRows(text_rows.to(model.device), model.backbone.logit_bias))
        if self.classes:
            found["logits"] = model.logits(image_rows, model.class_rows()[1])[:, self.classes]
        return found

    def chosen(self, found: dict[str, Tensor], by_logits: bool) -> Tensor:
        """[N]: of the texts the one that an image is most like, by `logits`, or by rows."""
        if by_logits:
            return found["logits"].argmax(dim=1)
        return (found["image_rows"] @ mean_rows(found["text_rows"], [len(texts) for texts in self.texts]).T).argmax(dim=1)

    def accuracy(self, chosen: Tensor) -> float | None:
        """Share of the images whose choice is right; None where that is not known."""
        answers = torch.tensor(self.answers)
        known = answers >= 0
        return float((chosen == answers)[known].float().mean()) if known.any() else None


def of_data(model: AdaptedCLIP, data: ImageTextData, count: int) -> Samples:
    """Evenly spaced images of the data's test split, with the classes or the captions."""
    rows = data.rows("test")
    picked = list(dict.fromkeys(int(i) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))))
    found = [row for _, _, row in rows[[(0, i) for i in picked]]]
    images = [model.backbone.preprocess.decode(row.image, row.key) for row in found]  # type: ignore[arg-type]
    source = f"{len(images)} images of the run's test split"
    if not model.class_names:
        return Samples(images, [], [row.captions[:1] for row in found], list(range(len(found))), source)
    labels = [data.class_number.get(str(row.label), -1) for row in found]
    classes = _compared(model, [label for label in labels if label >= 0])
    place = {number: i for i, number in enumerate(classes)}
    return Samples(images, classes, [model.class_texts[i] for i in classes], [place.get(label, -1) for label in labels], source)


def of_digits(model: AdaptedCLIP, count: int, why: str) -> Samples:
    """The bundled digits, where a run's own data is not at hand: rows can be compared, right and wrong cannot."""
    table = digits()["test"]
    images = [decode(table[int(i)]["image"]["bytes"]) for i in np.linspace(0, len(table) - 1, count)]
    classes = _compared(model, [])
    texts = [model.class_texts[i] for i in classes] or [[f"a photo of the number {i}."] for i in range(10)]
    return Samples(images, classes, texts, [-1] * count, f"{count} bundled digits ({why})")


def _compared(model: AdaptedCLIP, first: list[int]) -> list[int]:
    """The classes to compare: those of the images, then others, as many as `MOST_TEXTS` allows."""
    listed = list(dict.fromkeys([*first, *range(len(model.class_names))]))
    texts = accumulate(len(model.class_texts[i]) for i in listed)
    most = max(sum(count <= MOST_TEXTS for count in texts), 2)
    return sorted(listed[:most])
