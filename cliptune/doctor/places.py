"""The pieces that findings are made of: a row of the data, rows of a kind, and how numbers are spread."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

LISTED = 1000  # places, pairs or texts of a kind that are listed
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

UNREADABLE = ("missing", "empty", "not_image", "truncated", "broken", "bomb")  # kinds of files that training cannot use
ODD = (
    *(
        "wrong_suffix",
        "cmyk",
        "16_bit",
        "palette",
        "alpha",
        "exif_rotated",
        "animated",
        "tiny",
        "extreme_aspect",
        "blank",
        "dicom",
        "odd_end",
    ),
)  # kinds of files that can be read, of which the user should know
TEXT_KINDS = ("number", "url", "file_name", "html", "single_token")  # what a caption should not be


@dataclass(frozen=True)
class Place:
    """One row of the data.

    Args:
        split: train, validation or test.
        row: its number in `data.rows(split)`.
        path: of its image file; for an image in a table, the source and the row.
        detail: what is special about it, such as the error, or the size.
    """

    split: str
    row: int
    path: str
    detail: str = ""

    @property
    def key(self) -> str:
        """The name of its picture among the thumbnails."""
        return f"{self.split}:{self.row}"


@dataclass
class Kind:
    """Rows of one kind.

    Args:
        count: how many there are.
        places: the first of them, at most `LISTED`.
    """

    count: int = 0
    places: list[Place] = field(default_factory=list)

    def add(self, place: Place) -> None:
        """Count one more, and list it while there is room."""
        self.count += 1
        if len(self.places) < LISTED:
            self.places.append(place)


@dataclass
class Spread:
    """How numbers are spread.

    Args:
        quantiles: least, 5 %, quarter, median, three quarters, 95 %, most (see `QUANTILES`); empty where there are no numbers.
        mean: of all.
        edges: of the histogram's bins, one more than there are bins.
        counts: in each bin.
    """

    quantiles: list[float] = field(default_factory=list)
    mean: float = 0.0
    edges: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The number in the middle; 0 where there is none."""
        return self.quantiles[3] if self.quantiles else 0.0


def spread_of(values: npt.NDArray[Any], bins: int = 20) -> Spread:
    """How numbers are spread, with a histogram of equally wide bins."""
    if not len(values):
        return Spread()
    quantiles = [float(value) for value in np.quantile(values, QUANTILES)]
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=min(bins, max(int(high - low), 1)), range=(low, max(high, low + 1)))
    return Spread(quantiles, float(values.mean()), edges.tolist(), counts.tolist())
