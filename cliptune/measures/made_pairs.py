"""Pairs of captions that are made of the data: a swap of each caption of the test split, and the data's own negatives."""

import re
from collections import Counter

import numpy as np

from cliptune.data.collate import number_of
from cliptune.data.images import ImageTextData
from cliptune.data.split import Row
from cliptune.data.texts.negatives import swaps
from cliptune.data.texts.words import ATTRIBUTES
from cliptune.errors import DataError
from cliptune.measures.composition_files import KEY, Pairs

SWAP = "swap"  # the source that this is
READ = 4096  # rows at a time
KINDS = ("attributes exchanged", "attribute replaced", "words exchanged", "negatives")
ONE = frozenset(word for words in ATTRIBUTES for word in words.split())  # words of attributes


def made_pairs(data: ImageTextData, most: int | None = None) -> Pairs:
    """Make pairs of the test split's captions: one swap of each, the same every time, and each negative that the data has.

    Args:
        data: set up.
        most: pairs after which to stop.

    Raises:
        DataError: there are no captions, or none that can be swapped.
    """
    if not data.has_captions:
        raise DataError(
            f"{KEY}: swap makes pairs of the data's captions, and it has none. Set data.caption_column, or give files of pairs."
        )
    rows, found = data.rows("test", images=False), Pairs(SWAP, None, [], [], [], [])
    for start in range(0, len(rows), READ):
        for _, number, row in rows[[(0, i) for i in range(start, min(start + READ, len(rows)))]]:
            for right, wrong, kind in (*_swapped(row), *_own(row)):
                found.picture.append(number)
                found.right.append(right)
                found.wrong.append(wrong)
                found.kind.append(kind)
        if most is not None and len(found) >= most:
            break
    if not len(found):
        raise DataError(f"{KEY}: swap finds nothing to swap in any caption of the test split. Give files of pairs instead.")
    return found


def _swapped(row: Row) -> list[tuple[str, str, str]]:
    """A swap of each caption, which is none of the image's other captions."""
    own, found = {_normal(text) for text in row.captions}, []
    for text in dict.fromkeys(row.captions):
        made = swaps(text, 1, np.random.default_rng(number_of(text)))
        found += [(text, wrong, kind_of(text, wrong)) for wrong in made if _normal(wrong) not in own]
    return found


def _own(row: Row) -> list[tuple[str, str, str]]:
    """The row's negatives, each with the caption that it was made of where there are as many, else with the first."""
    if not row.captions:
        return []
    texts = row.captions if len(row.captions) == len(row.negatives) else [row.captions[0]] * len(row.negatives)
    return [(text, wrong, KINDS[3]) for text, wrong in zip(texts, row.negatives, strict=True)]


def kind_of(right: str, wrong: str) -> str:
    """What was changed from one text to the other: what `swaps` does, read off its words."""
    before, after = (Counter("a" if word == "an" else word for word in _words(text)) for text in (right, wrong))
    if before != after:
        return KINDS[1]
    changed = {word for pair in zip(_words(right), _words(wrong), strict=True) if pair[0] != pair[1] for word in pair} - {"a", "an"}
    return KINDS[0] if changed <= ONE else KINDS[2]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
