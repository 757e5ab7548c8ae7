"""What the scan found in the data, as plain values: the page, the terminal, the JSON and the recommendations read nothing else.

Lists are bounded, counts are not: where there are more of something than are listed, the count says so.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from cliptune.doctor.places import UNREADABLE, Kind, Place, Spread
from cliptune.doctor.text_findings import CaptionFacts, ClassFacts, LanguageFacts


@dataclass
class SplitFacts:
    """One split.

    Args:
        rows: that can be used.
        captions: texts of these rows, all of each image.
        labels: rows by label; of rows with several labels, by each.
        unlabelled: rows without a label, where the data has a column of labels.
        left_out: rows that were dropped when the data was opened, by reason.
        bytes: of all image files.
    """

    rows: int = 0
    captions: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    bytes: int = 0


@dataclass
class ImageFacts:
    """All images of all splits; of those that can be read where sizes and modes are meant.

    Args:
        readable: how many could be decoded.
        widths: in pixels, upright.
        heights: likewise.
        short_sides: the smaller of both, which the model's input is made from.
        bytes: of a file.
        modes: images by Pillow's mode (`RGB`, `L`, `P`, `CMYK`, `I;16`, ...).
        formats: images by format (`JPEG`, `PNG`, ...).
        sizes: the most frequent sizes, `96x96`, with counts.
        below_input: images whose short side is smaller than the model's input, and so are enlarged.
        grey: images whose three channels are the same, though the file may hold colour.
        odd: rows by kind, see `UNREADABLE` and `ODD`; only kinds that there are.
    """

    readable: int = 0
    widths: Spread = field(default_factory=Spread)
    heights: Spread = field(default_factory=Spread)
    short_sides: Spread = field(default_factory=Spread)
    bytes: Spread = field(default_factory=Spread)
    modes: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    below_input: int = 0
    grey: int = 0
    odd: dict[str, Kind] = field(default_factory=dict)

    @property
    def unreadable(self) -> int:
        """Rows whose image cannot be used."""
        return sum(self.odd[kind].count for kind in UNREADABLE if kind in self.odd)


@dataclass(frozen=True)
class Pair:
    """Two rows with the same image, or nearly.

    Args:
        kind: `bytes` for the same file, `near` for the same picture resized, recompressed or slightly cropped.
        first: one of the rows; that of test, else of validation, where the pair is across splits.
        second: the other.
        distance: of the pictures' signatures; 0 for the same.
        labels: of both, None where not known.
    """

    kind: str
    first: Place
    second: Place
    distance: float
    labels: tuple[str | None, str | None]

    @property
    def across(self) -> bool:
        """Whether the rows are of different splits."""
        return self.first.split != self.second.split

    @property
    def conflict(self) -> bool:
        """Whether the rows say different classes."""
        return None not in self.labels and self.labels[0] != self.labels[1]


@dataclass
class Duplicates:
    """Images that are there several times. Rows that name the same path, as one row per caption does, count as one image.

    Args:
        pairs: across splits first (train and test before all), then those whose labels differ, then the nearest; at most `LISTED`.
        across: images of one split that are in another too, by `test in train`, `validation in train`, `test in validation`.
        inside: images that are superfluous in their split (all but one of each group), by split.
        bytes: pairs of the same file: each row beyond the first of its group counts once.
        near: pairs of nearly the same picture; of files that are the same, the first stands for all.
        conflicts: pairs whose labels differ.
    """

    pairs: list[Pair] = field(default_factory=list)
    across: dict[str, int] = field(default_factory=dict)
    inside: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    near: int = 0
    conflicts: int = 0


@dataclass
class Findings:
    """All that one reading of the data says.

    Args:
        paths: the sources.
        splits: train, validation and test.
        notes: what opening the data noted.
        thumbnails: small JPEGs in base64 of some rows, by `Place.key`: of odd files, pairs, and a few of each class.
        examples: places of a few rows of each class (or of train, without classes) that have a thumbnail, by label.
        seconds: that the reading took.
        images_per_second: likewise.
        workers: processes that decoded.
    """

    paths: list[str] = field(default_factory=list)
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    images: ImageFacts = field(default_factory=ImageFacts)
    duplicates: Duplicates = field(default_factory=Duplicates)
    captions: CaptionFacts = field(default_factory=CaptionFacts)
    classes: ClassFacts = field(default_factory=ClassFacts)
    languages: LanguageFacts = field(default_factory=LanguageFacts)
    notes: list[str] = field(default_factory=list)
    thumbnails: dict[str, str] = field(default_factory=dict)
    examples: dict[str, list[Place]] = field(default_factory=dict)
    seconds: float = 0.0
    images_per_second: float = 0.0
    workers: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values that `json` writes; what is derived (`unreadable`, `truncated_share`) is added."""
        found = asdict(self)
        found["images"]["unreadable"] = self.images.unreadable
        found["captions"]["truncated_share"] = self.captions.truncated_share
        for pair, given in zip(found["duplicates"]["pairs"], self.duplicates.pairs, strict=True):
            pair.update(across=given.across, conflict=given.conflict, labels=list(given.labels))
        return found
