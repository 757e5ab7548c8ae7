"""What the captions are like: how long, how often the same, which are no captions, and what a batch takes for wrong though it is right."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cliptune.data.images import ImageTextData
from cliptune.data.texts.token_counts import context_of, token_counts
from cliptune.doctor.gathered import SplitRows
from cliptune.doctor.places import LISTED, Kind, spread_of
from cliptune.doctor.text_findings import CaptionFacts, FalseNegatives, Repeated
from cliptune.preprocess import Preprocess

NUMBER = re.compile(r"[\d\s.,:;%+\-/#()$€£]*\d[\d\s.,:;%+\-/#()$€£]*")
URL = re.compile(r"(?:https?://|ftp://|www\.)\S+", re.IGNORECASE)
FILE_NAME = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|dcm)|(?:IMG|DSC[NF]?|PXL|DCIM)[_-]?\d[\w-]*", re.IGNORECASE)
HTML = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|&(?:[a-z]{2,8}|#\d{2,5});", re.IGNORECASE)
SHOWN = 200  # letters of a text in a list


class Texts(NamedTuple):
    """All captions, one after another."""

    texts: list[str]
    split: list[str]  # of each
    row: list[int]


def look_at_captions(data: ImageTextData, rows: dict[str, SplitRows], preprocess: Preprocess) -> tuple[CaptionFacts, list[str]]:
    """Say what the captions are like, or, where there are none, the texts around class names.

    Returns:
        The facts, and the distinct texts.
    """
    told = [(text, name, i) for name, split in rows.items() for i, said in enumerate(split.captions) for text in said]
    found = CaptionFacts(empty=_empty(data))
    texts = [text for text, _, _ in told]
    if not texts:
        found.source, texts = "classes", [text for texts in data.class_texts for text in texts]
    distinct = Counter(texts)
    found.count, found.distinct, found.context_length = len(texts), len(distinct), context_of(preprocess.tokenizer)
    counts = token_counts(preprocess.tokenizer, ["", *distinct])
    length = dict(zip(distinct, counts[1:].tolist(), strict=True))
    tokens = np.array([length[text] for text in texts], np.int64)
    found.tokens = spread_of(tokens)
    found.truncated = int((tokens > found.context_length).sum())
    found.truncated_words = float(np.maximum(tokens - found.context_length, 0).sum() / max(tokens.sum(), 1))
    single = int(counts[0]) + 1
    for text, name, i in told:
        if kind := kind_of(text, length[text] == single):
            found.odd.setdefault(kind, Kind()).add(rows[name].place(i, text[:SHOWN]))
    _repeat(found, rows["train"])
    found.false_negatives = false_negatives(rows["train"], data.batch_size)
    return found, list(distinct)


def kind_of(text: str, single: bool) -> str:
    """What a text is instead of a caption, by the names of `places.TEXT_KINDS`; "" where it may be one."""
    if NUMBER.fullmatch(text):
        return "number"
    if URL.fullmatch(text):
        return "url"
    if FILE_NAME.fullmatch(text):
        return "file_name"
    if ("<" in text or "&" in text) and HTML.search(text):
        return "html"
    return "single_token" if single else ""


def _empty(data: ImageTextData) -> int:
    """Rows that opening the data left out for want of a caption."""
    return sum(lost.rows for lost in data.left_out if "caption" in lost.reason)


def _repeat(found: CaptionFacts, train: SplitRows) -> None:
    said = [set(texts) for texts in train.captions]
    counts = Counter(text for texts in said for text in texts)
    found.repeated = [Repeated(text[:SHOWN], count) for text, count in counts.most_common(LISTED) if count > 1]
    found.repeated_rows = sum(any(counts[text] > 1 for text in texts) for texts in said)


def false_negatives(train: SplitRows, batch_size: int) -> FalseNegatives:
    """Expect the pairs of a random batch that are taken for wrong though they share a caption, a class or an image.

    A batch is B of N rows without replacement, and one of a row's captions is drawn, so a pair of different rows is in it with probability
    B (B - 1) / (N (N - 1)); pairs that share several things count once.
    """
    n, b = len(train), batch_size
    found = FalseNegatives(batch_size=b)
    if n < 2:
        return found
    said = [(i, text, 1 / len(texts)) for i, texts in enumerate(train.captions) for text in texts]
    text = _numbers([t for _, t, _ in said])
    row, weight = np.array([i for i, _, _ in said], np.int64), np.array([w for _, _, w in said])
    label = _numbers([train.label(i) for i in range(n)])
    image = _numbers(train.keys)
    alone = np.ones(n)
    everyone = np.arange(n)
    shares = {
        "caption": _pairs([text], row, weight),
        "label": _pairs([label], everyone, alone),
        "image": _pairs([image], everyone, alone),
    }
    both = _pairs([text, label[row]], row, weight) + _pairs([text, image[row]], row, weight) + _pairs([label, image], everyone, alone)
    union = sum(shares.values()) - both + _pairs([text, label[row], image[row]], row, weight)
    found.share = union / (n * (n - 1))
    found.per_batch, found.per_image = found.share * b * (b - 1), found.share * (b - 1)
    found.by = {name: count / (n * (n - 1)) * (b - 1) for name, count in shares.items()}
    return found


def _numbers(values: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """A number for each distinct value; -1 for None."""
    number: dict[str, int] = {}
    return np.array([-1 if value is None else number.setdefault(value, len(number)) for value in values], np.int64)


def _pairs(keys: list[npt.NDArray[np.int64]], row: npt.NDArray[np.int64], weight: npt.NDArray[np.float64]) -> float:
    """The expected ordered pairs of different rows that agree in all keys, each row in one of its entries by weight."""
    there = np.all([key >= 0 for key in keys], axis=0)
    code = np.zeros(int(there.sum()), np.int64)
    for key in keys:
        _, code = np.unique(code * (int(key.max(initial=0)) + 1) + key[there], return_inverse=True)
    if not len(code):
        return 0.0
    _, own = np.unique(code * (int(row.max()) + 1) + row[there], return_inverse=True)  # a row may say the same twice
    first = np.zeros(int(own.max()) + 1, np.int64)
    first[own] = code
    each = np.bincount(own, weight[there])
    return float((np.bincount(first, each) ** 2).sum() - (each**2).sum())
