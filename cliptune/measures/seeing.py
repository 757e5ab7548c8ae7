"""How extra measures see things: the test split's image rows, rows of pictures from elsewhere, and rows of texts.

One process does all of it, whatever the number of those that trained. What a frozen tower has given for the test split is taken from there.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cliptune.adapted import AdaptedCLIP
from cliptune.data.batches import Order
from cliptune.data.collate import EvalView
from cliptune.data.images import ImageTextData
from cliptune.data.seen import Seen
from cliptune.data.texts.long_text import mean_of_pieces
from cliptune.data.workers import Marks, WatchedLoader
from cliptune.errors import DataError
from cliptune.preprocess import Preprocess

FEW = 2_000  # views of images, below which decoding takes less than starting processes for it


class SplitRows(NamedTuple):
    """The images of the test split that could be read, in order."""

    rows: Tensor  # [N, D]
    number: Tensor  # [N], of the row in the split
    label: Tensor  # [N], the class; -1 where it is not known
    labels: Tensor | None  # [N, C], 1 for each class, where images may have several


class Marking(Protocol):
    """A view that tells which image it is at."""

    mark: Any

    def __call__(self, items: list[Any]) -> Any:
        """Collate a batch."""


def seen_before(data: ImageTextData) -> Seen | None:
    """What frozen towers gave for the test split, where image rows are among it."""
    seen = data.sights.seen.get("test")
    return seen if seen is not None and seen.tables and seen.key == "image_rows" else None


def split_batches(data: ImageTextData, view: Marking, views: int = 1, batch_size: int | None = None) -> DataLoader[Any]:
    """The whole test split in order, in this process's hands alone.

    Args:
        data: set up.
        view: that makes batches.
        views: of each image; 0 where nothing is decoded.
        batch_size: the data's where not given.
    """
    rows = data.rows("test", images=views > 0)
    workers = data.workers if len(rows) * views >= FEW else 0
    view.mark = (marks := Marks(workers)).at if workers else None
    return WatchedLoader(
        rows,
        marks=marks if workers else None,
        describe=lambda number: rows[[(0, number)]][0][2].key,
        batch_size=None,
        sampler=Order(len(rows), batch_size or data.batch_size, shuffle=False, seed=0),
        collate_fn=view,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # or the loader would move the global state
    )


def split_rows(model: AdaptedCLIP, data: ImageTextData) -> SplitRows:
    """The rows of the test split's images.

    Raises:
        DataError: no image can be read.
    """
    seen = seen_before(data)
    view = EvalView(data.sights.preprocess, data.class_number, captions=False, seen=seen, several=data.several)
    found: list[tuple[Tensor, ...]] = []
    for batch in split_batches(data, view, views=0 if seen else 1):
        rows = batch["image_rows"].cpu() if "image_rows" in batch else model.encode_pixels(batch["images"])
        there = batch["row"] >= 0
        found.append(tuple(part[there] for part in (rows, batch["row"], batch["label"], batch.get("labels", batch["label"]))))
    rows, number, label, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    if not len(rows):
        raise DataError("none of the test split's images can be read. See bad_samples.csv in the run's folder.")
    return SplitRows(rows, number, label, labels if data.several else None)


class Pictures(Dataset[tuple[int, Tensor | None]]):
    """Pictures that are not of the data, under the model's own view; None for what cannot be read.

    Args:
        places: the bytes of each file, or its path.
        preprocess: the backbone's.
    """

    def __init__(self, places: Sequence[bytes | str], preprocess: Preprocess) -> None:
        self.places, self.preprocess = places, preprocess

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> tuple[int, Tensor | None]:
        try:
            return number, self.preprocess.eval(self.preprocess.decode(self.places[number]))
        except DataError:
            return number, None


def picture_rows(model: AdaptedCLIP, places: Sequence[bytes | str], workers: int) -> tuple[Tensor, Tensor]:
    """Encode pictures from elsewhere.

    Args:
        model: that sees them.
        places: the bytes of each file, or its path.
        workers: processes that decode, where there are many.

    Returns:
        [N, D], zeros for what cannot be read; and [N], bool, what could be.
    """
    rows = torch.zeros(len(places), model.backbone.config["embed_dim"])
    there = torch.zeros(len(places), dtype=torch.bool)
    loaded: DataLoader[Any] = DataLoader(
        Pictures(places, model.backbone.preprocess),
        batch_size=model.batch_size,
        num_workers=workers if len(places) >= FEW else 0,
        collate_fn=_pictures,
        generator=torch.Generator().manual_seed(0),
    )
    for numbers, pixels in loaded:
        if len(numbers):
            rows[numbers], there[numbers] = model.encode_pixels(pixels), True
    return rows, there


def _pictures(batch: list[tuple[int, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Collate; here so that it can go to worker processes."""
    read = [(number, pixels) for number, pixels in batch if pixels is not None]
    if not read:
        return torch.empty(0, dtype=torch.long), torch.empty(0)
    return torch.tensor([number for number, _ in read]), torch.stack([pixels for _, pixels in read])


def text_rows(model: AdaptedCLIP, data: ImageTextData, texts: Sequence[str]) -> Tensor:
    """[N, D] of texts, long ones in pieces where the data has them so. What the model cannot tell apart has equal rows.

    Where texts are cut off, two may be the same to the model; seen in different batches they would differ by rounding.
    """
    cut = data.sights.long_text
    split = [cut.choices(text) for text in texts] if cut is not None and cut.how == "split_mean" else [[text] for text in texts]
    flat = [piece for pieces in split for piece in pieces]
    distinct: dict[bytes, int] = {}
    place: list[int] = []
    spoken: list[str] = []
    for start in range(0, len(flat), 4096):  # rows of tokens are as long as the longest text of a call, and zeros at the end are padding
        for text, tokens in zip(flat[start : start + 4096], model.backbone.preprocess.tokenize(flat[start : start + 4096]), strict=True):
            key = tokens.numpy().tobytes().rstrip(b"\0")
            if key not in distinct:
                distinct[key] = len(spoken)
                spoken.append(text)
            place.append(distinct[key])
    rows = model.encode_texts(spoken)[torch.tensor(place, dtype=torch.long)]
    if len(flat) == len(texts):
        return rows
    return mean_of_pieces(rows, torch.tensor([i for i, pieces in enumerate(split) for _ in pieces]), len(texts))
