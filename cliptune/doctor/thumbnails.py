"""Small pictures of a few rows, for the page."""

from collections.abc import Iterable

from cliptune.data.images import ImageTextData
from cliptune.doctor.findings import Findings
from cliptune.doctor.gathered import SplitRows
from cliptune.doctor.places import UNREADABLE, Place
from cliptune.page.thumbnails import thumbnail

MOST = 60  # in all
OF_KIND, OF_PAIRS, OF_CLASS = 2, 24, 3
SIDE = 96  # pixels at most


def choose_examples(train: SplitRows, classes: int) -> dict[str, list[Place]]:
    """A few rows of each class, the first of it and some on; of train, where there are no classes."""
    by_label: dict[str, list[int]] = {}
    for row, labels in enumerate(train.labels):
        for label in labels:
            by_label.setdefault(label, []).append(row)
    if not by_label:
        step = max(len(train) // (OF_CLASS * 4), 1)
        return {"": [train.place(row) for row in range(0, len(train), step)[: OF_CLASS * 4]]}
    each = OF_CLASS if classes <= 10 else 1
    return {label: [train.place(row) for row in rows[:: max(len(rows) // each, 1)][:each]] for label, rows in sorted(by_label.items())}


def draw_thumbnails(found: Findings, data: ImageTextData) -> dict[str, str]:
    """Draw the pictures of odd files, pairs and examples, by `Place.key`, as far as they can be read and there is room."""
    odd = [place for name, kind in found.images.odd.items() if name not in UNREADABLE for place in kind.places[:OF_KIND]]
    pairs = [place for pair in found.duplicates.pairs[: OF_PAIRS // 2] for place in (pair.first, pair.second)]
    shown: dict[str, str] = {}
    for place in _each_once([*pairs, *odd, *(place for places in found.examples.values() for place in places)]):
        if len(shown) == MOST:
            break
        picture = _thumbnail(place, data)
        if picture:
            shown[place.key] = picture
    return shown


def _each_once(places: Iterable[Place]) -> Iterable[Place]:
    return {place.key: place for place in places}.values()


def _thumbnail(place: Place, data: ImageTextData) -> str:
    row = data.rows(place.split)[[(0, place.row)]][0][2]
    return thumbnail(row.image, row.key, SIDE)  # type: ignore[arg-type]
