"""How an image is seen: decoded, and under a view of training or the one of evaluation.

All randomness is a function of (seed, epoch, row), so a run that was killed and resumed sees what it would have seen.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cliptune.data.batches import Batch
from cliptune.data.split import Row
from cliptune.errors import DataError
from cliptune.preprocess import Preprocess
from cliptune.retries import retried


class ImageView:
    """What is done to an image before a tower sees it.

    Args:
        preprocess: the backbone's.
        views: how many; `fresh` for a new one each epoch, 0 for the one of evaluation, K for that many, drawn once by the image's content.
        scale: see `Preprocess.train`.
        flip: see `Preprocess.train`.
        seed: of every draw.
        preset: see `Preprocess.train`.
        decoded: where training images are kept decoded, or None.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        views: int | str,
        scale: tuple[float, float] | None,
        flip: float | None,
        seed: int,
        preset: str = "clip",
        decoded: Any = None,
    ) -> None:
        self.preprocess, self.views, self.scale, self.flip, self.seed, self.preset = preprocess, views, scale, flip, seed, preset
        self.decoded = decoded if views == "fresh" else None

    def __call__(self, epoch: int, number: int, row: Row, rng: np.random.Generator) -> Tensor:
        """[3, h, w], uint8; only a fresh view draws from `rng`.

        Raises:
            DataError: the image cannot be read.
        """
        if self.decoded is not None:
            cut = self.decoded.cut(number, lambda height, width: self.preprocess.draw_box(height, width, rng, self.scale, self.preset))
            return self.preprocess.finish(cut, rng, self.scale, self.flip, self.preset)
        data = content(row)
        image = self.preprocess.decode(data, row.key)
        if self.views == 0:
            return self.preprocess.eval(image)
        if self.views != "fresh":
            draw = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
            rng = np.random.default_rng((self.seed, epoch % int(self.views), draw))
        return self.preprocess.train(image, rng, self.scale, self.flip, self.preset)

    def about(self, k: int) -> dict[str, Any]:
        """What view k depends on beside the image, as plain data."""
        if self.views == 0:
            return {"view": "evaluation"}
        scale = None if self.scale is None else list(self.scale)
        return {"view": k, "seed": self.seed, "crop_scale": scale, "flip": self.flip, "transform": self.preset}


def with_bad(batch: Batch, bad: list[Any]) -> Batch:
    """The batch, with what could not be read where there is any."""
    if bad:
        batch["bad"] = bad
    return batch


def content(row: Row) -> bytes:
    """The bytes of the row's image file, or of its vector.

    Raises:
        DataError: it is missing.
    """
    if isinstance(row.image, (bytes, np.ndarray)):
        return bytes(row.image)
    file = Path(row.image)
    try:
        return retried(file.read_bytes, f"reading {row.image}")
    except OSError as error:
        raise DataError(f"cannot read the image {row.image}: {error.strerror}.") from None
