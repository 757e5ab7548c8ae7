"""What is done with texts that are longer than the context: cut them, learn from a sentence, or from the mean of all pieces.

Sentences are found by rules of punctuation, for Latin scripts and those with full stops of their own, and English abbreviations.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from cliptune.data.texts.token_counts import TokenCounter, Tokenizer
from cliptune.errors import ConfigError, did_you_mean

LONG_TEXT = ("truncate", "sample_sentence", "split_mean")
MOST_TEXTS = 16_384  # long texts whose choices are remembered, some 50 MB
CLOSING = "\"'”’»)\\]」』）】"  # noqa: RUF001
END = re.compile(
    rf"(?:[.!?…؟۔]+[{CLOSING}]*(?=\s)|[。！？｡।॥]+[{CLOSING}]*)\s*"  # noqa: RUF001
    r"|\n\s*\n\s*"  # an empty line
    r"|\n\s*(?=[-*•–]\s|\(?\w{1,2}[.)]\s|[^\W\d_a-zß-öø-ÿ])"  # noqa: RUF001  # a line that begins as a list's or a sentence's does
)
WORD = re.compile(r"\S+")
LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“])([^\s(\[\"'“]*)$")
_SHORT = """adj al approx apr aug av ave avg bilat bros c ca capt cf ch chap co col corp dec dept diam dim dist dr e.g ed eds eq eqs est ex
    excl feb fig figs fl gen gov i.e incl inst int jan jr jul jun lat lt ltd max med min mr mrs ms mt mts n.b nov nr op p pg pl pp pref prep
    prof pt pts re ref refs rep resp rev sec sen sep sept sq sr st sta tab temp trans var vol vols vs wt"""
ABBREVIATIONS = frozenset(_SHORT.split())
BEFORE_NUMBERS = frozenset(["no", "nos", "art", "oct", "p", "vol"])  # words on their own, too
ENDS_AS_WELL = frozenset(["al", "co", "corp", "ed", "inst", "jr", "ltd", "max", "min", "pts", "sr"])  # before a capital letter


def sentences(text: str) -> list[str]:
    """Split a text after its full stops, question and exclamation marks, at empty lines and at the items of lists.

    A full stop ends nothing after an abbreviation, an initial or the number of an item, within a number, or, in texts that have capital
    letters, after a short word that goes on in small letters.

    Returns:
        Its sentences in order, stripped; all of the text but white space.
    """
    return [text[start:stop] for start, stop in _spans(text)]


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the sentences begin and end."""
    found, start, capitals = [], 0, text != text.lower()
    for end in END.finditer(text):
        mark = end.group().strip()
        if mark.startswith(".") and not _ends(
            text[max(start, end.start() - 40) : end.start()], mark, text[end.end() : end.end() + 1], capitals
        ):
            continue
        found.append((start, end.end()))
        start = end.end()
    trimmed = (_trimmed(text, *span) for span in [*found, (start, len(text))])
    return [span for span in trimmed if span[0] < span[1]]


def _ends(before: str, mark: str, following: str, capitals: bool) -> bool:
    """Whether a full stop ends what comes before it."""
    match = LAST_WORD.search(before)
    word = match.group(1) if match else before
    known = word.lower()
    if known in BEFORE_NUMBERS and following.isdigit():
        return False
    if len(mark) > 1:  # an ellipsis, or a closing bracket: "(Fig. 1.)"
        return not following.islower() or mark[1:].strip(".") != ""
    if known in ABBREVIATIONS:
        return known in ENDS_AS_WELL and following.isupper()
    if word == before.strip() and len(word) < 4 and (word.isdigit() or len(word) == 1):  # "1. Lungs"
        return False
    if len(word) == 1 and word.isupper() and word != "I":  # "J. Smith"
        return False
    if following.islower() and capitals:
        return len(word) > 3 and "." not in word
    return True


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    part = text[start:stop]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


def pieces(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Split a text into as few pieces as consecutive sentences allow.

    A sentence that does not fit is split between words, and such a word between letters.

    Args:
        text: of any length.
        fits: whether a piece is short enough; a part of what fits has to fit.

    Returns:
        Parts of the text in order; all of it but white space. A single letter is a piece even where it does not fit.
    """
    if fits(text):
        return [text.strip()] if text.strip() else []
    found: list[tuple[int, int]] = []
    for start, stop in _spans(text):
        if found and fits(text[found[-1][0] : stop]):
            found[-1] = (found[-1][0], stop)
        else:
            found += [(start, stop)] if fits(text[start:stop]) else _split(text, start, stop, fits)
    return [text[start:stop] for start, stop in found]


def _split(text: str, start: int, stop: int, fits: Callable[[str], bool]) -> list[tuple[int, int]]:
    """Where the parts of a sentence that does not fit begin and end."""
    words = [match.span() for match in WORD.finditer(text, start, stop)]
    found: list[tuple[int, int]] = []
    while words:
        begin, end = words[0]
        if many := _most(text, begin, [stop for _, stop in words], fits):
            found.append((begin, words[many - 1][1]))
            words = words[many:]
        else:
            cut = begin + max(_most(text, begin, range(begin + 1, end), fits), 1)
            found.append((begin, cut))
            words[0:1] = [(cut, end)] if cut < end else []
    return found


def _most(text: str, start: int, ends: Sequence[int], fits: Callable[[str], bool]) -> int:
    """How many of the first ends fit; near ones are tried first, as far ones take long."""
    high = 1
    while high <= len(ends) and fits(text[start : ends[high - 1]]):
        high *= 2
    low, high = high // 2, min(high, len(ends) + 1)  # the first fits, the second does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(text[start : ends[middle - 1]]) else (low, middle)
    return low


class LongText:
    """What training may read of each text.

    Args:
        how: `truncate` leaves texts to the tokenizer, which cuts them; `sample_sentence` gives the sentences of a long text; `split_mean`
            gives pieces that hold all of it, for the mean of their rows.
        tokenizer: open_clip's.
        context: the most tokens of a text, start and end included.

    Raises:
        ConfigError: there is no such way.
    """

    def __init__(self, how: str, tokenizer: Tokenizer, context: int) -> None:
        if how not in LONG_TEXT:
            raise ConfigError(f"long_text cannot be {how}. {did_you_mean(how, LONG_TEXT)}")
        self.how, self.context = how, context
        self.counter = TokenCounter(tokenizer)
        self._known: OrderedDict[str, list[str]] = OrderedDict()

    def choices(self, text: str) -> list[str]:
        """What one text is read as.

        Returns:
            At least one: the text itself where it fits or is to be cut; of a long one its sentences that fit, or its pieces where none
            does (`sample_sentence`), or all its pieces (`split_mean`).
        """
        if self.how == "truncate" or self._fits(text):
            return [text]
        if text in self._known:
            self._known.move_to_end(text)
            return self._known[text]
        found = [part for part in sentences(text) if self._fits(part)] if self.how == "sample_sentence" else []
        self._known[text] = found = found or pieces(text, self._fits)
        if len(self._known) > MOST_TEXTS:
            self._known.popitem(last=False)
        return found

    def _fits(self, text: str) -> bool:
        return self.counter.count(text) <= self.context


def mean_of_pieces(rows: Tensor, owner: Tensor, count: int) -> Tensor:
    """The rows of texts from those of their pieces.

    Args:
        rows: [P, D], unit rows of the pieces.
        owner: [P], the number of the text that each is of.
        count: how many texts there are, N; each has a piece at least.

    Returns:
        [N, D], the means, made unit rows; differentiable.
    """
    sums = rows.new_zeros(count, rows.shape[1]).index_add(0, owner, rows)
    return F.normalize(sums, dim=-1)  # as the mean's, whose length is left behind
