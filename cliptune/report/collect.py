"""What a report shows of the data itself, kept in the run folder at the end of a fit: class names, and a few images and texts.

`evaluation/examples.json` holds `classes`, `train_counts` (images of each class that training had; empty where nobody counted), `pictures`
(JPEGs in base64), `names` and `captions` by the image's row of the test split, and `texts` by their place in the answers.
"""

import json
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from cliptune.data.images import ImageTextData
from cliptune.data.split import Row
from cliptune.metrics.answers import Answers, RetrievalAnswers
from cliptune.outcomes import FOLDER
from cliptune.page.thumbnails import thumbnail
from cliptune.report.choosing import choose_classes, choose_retrieval
from cliptune.report.reading import EXAMPLES
from cliptune.whole import write_whole

SIDE = 128  # pixels of a thumbnail
CAPTIONS, LETTERS = 5, 400  # of an image, of a caption


def collect_examples(folder: Path, data: ImageTextData, before: Answers, after: Answers) -> Path:
    """Write `evaluation/examples.json`: what the report will show.

    Args:
        folder: of the run.
        data: set up; whose test split the answers are of.
        before: of the untouched model; its parts are None where it was not scored.
        after: of the adapted one.

    Returns:
        The file.
    """
    images, texts = wanted(before, after)
    rows = {number: row for _, number, row in data.rows("test")[[(0, number) for number in images]]} if images else {}
    found: dict[str, Any] = {
        "classes": list(data.class_names),
        "train_counts": list(data.class_counts or []),
        "pictures": {},
        "names": {str(number): _name(row, number) for number, row in rows.items()},
        "captions": {str(number): [_short(text) for text in row.captions[:CAPTIONS]] for number, row in rows.items() if row.captions},
        "texts": _texts(data, after.retrieval, texts) if after.retrieval is not None else {},
    }
    if not data.vectors:
        drawn = {str(number): thumbnail(row.image, row.key, SIDE) for number, row in rows.items()}  # type: ignore[arg-type]
        found["pictures"] = {number: picture for number, picture in drawn.items() if picture}
    file = folder / FOLDER / EXAMPLES
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False) + "\n"
    write_whole(file, lambda handle: handle.write(text.encode("utf-8", "replace")))
    return file


def wanted(before: Answers, after: Answers) -> tuple[list[int], list[int]]:
    """The rows of the test split whose images are shown, and the places of the texts that are."""
    images: list[int] = []
    texts: list[int] = []
    if after.classes is not None:
        chosen = choose_classes(before.classes, after.classes)
        images += after.classes.number[[*chosen.mistakes, *chosen.newly_right, *chosen.newly_wrong]].tolist()
    if (found := after.retrieval) is not None:
        chosen = choose_retrieval(before.retrieval, found)
        places = [*chosen.images, *found.text_top[chosen.texts].flatten().tolist(), *found.owner[chosen.texts].tolist()]
        images += found.number[[place for place in places if place >= 0]].tolist()
        texts = [*chosen.texts, *(place for place in found.image_top[chosen.images].flatten().tolist() if place >= 0)]
    return list(dict.fromkeys(images)), list(dict.fromkeys(texts))


def _texts(data: ImageTextData, answers: RetrievalAnswers, places: Iterable[int]) -> dict[str, str]:
    """The words of texts, by their places: an image's own stand in the order of its captions."""
    owners = {place: int(answers.owner[place]) for place in places}
    numbers = {owner: int(answers.number[owner]) for owner in dict.fromkeys(owners.values())}
    rows = data.rows("test", images=False)[[(0, number) for number in numbers.values()]] if numbers else []
    captions = {number: row.captions for _, number, row in rows}
    found = {}
    for place, owner in owners.items():
        own = captions[numbers[owner]]
        nth = int((answers.owner[:place] == owner).sum())
        if nth < len(own):
            found[str(place)] = _short(own[nth])
    return found


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else text[: LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _name(row: Row, number: int) -> str:
    """The file's name where it has one, else its place."""
    name = PurePath(row.key).name if isinstance(row.image, str) else ""
    return name or f"test image {number}"
