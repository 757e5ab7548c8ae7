"""Which texts and names a tokenizer breaks up, and the backbones whose tokenizers know other languages.

A text tower learns words from their tokens. A language that comes as bytes or single letters was rare where the tokenizer learned, and its
texts fill the context several times as fast (Petrov et al. 2023, "Language Model Tokenizers Introduce Unfairness Between Languages").
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import open_clip
from open_clip.tokenizer import SimpleTokenizer

from cliptune.data.texts.token_counts import Tokenizer, cleaned, hugging_face, token_counts

BROKEN = (
    0.6  # of a text's tokens: CLIP breaks 0.86 to 1 of those of eight scripts, an encoding made for many languages 0.1 to 0.5, 0.64 of Thai
)
EXAMPLES = 3
LARGE_VOCABULARY = 100_000  # English ones have 32 to 64 thousand, those for many languages 250 thousand and more
MANY_LANGUAGES = re.compile(r"xlm|mt5|nllb|m2m|labse|multilingual|i18n", re.IGNORECASE)  # where a configuration says no vocabulary size

LETTERS = re.compile(r"[^\W\d_]+")
FOREIGN = re.compile("[^\u0000-\u036f\u1e00-\u1eff\u2000-\u2bff]")  # may be of another script than Latin
SYLLABLES = frozenset({"Han", "Hiragana", "Katakana", "Hangul", "Yi", "Ethiopic"})  # scripts whose single characters carry meaning
SCRIPTS = {"Cjk": "Han", "Ideographic": "Han", "Katakana-hiragana": "Katakana"}


class Broken(NamedTuple):
    """What a tokenizer makes of one text."""

    share: float  # of its tokens that are bytes, single letters or unknown
    script: str  # that most of these are of; of its letters where there are none


class Tells(NamedTuple):
    """What a tokenizer makes of many texts."""

    share: float  # of the texts that it breaks into bytes
    scripts: dict[str, int]  # how many of those texts are in which, most first
    examples: list[str]  # a few of them, of different scripts where there are


class _Piece(NamedTuple):
    text: str
    lost: bool = False  # unknown, or a part of a character


@lru_cache(maxsize=100_000)
def script_of(letter: str) -> str:
    """The script of a letter, such as Cyrillic or Han; empty for what is no letter."""
    letter = unicodedata.normalize("NFKC", letter)[0]
    if not unicodedata.category(letter).startswith("L"):
        return ""
    first = unicodedata.name(letter, "Latin").split()[0].capitalize() if ord(letter) > 0x36F else "Latin"
    return SCRIPTS.get(first, first)


def main_script(text: str) -> str:
    """The script that most of a text's letters are of; Latin where there are none, or as many."""
    if not FOREIGN.search(text):
        return "Latin"
    counts = Counter(script for letter in text if (script := script_of(letter)))
    return max(counts, key=lambda script: (counts[script], script == "Latin")) if counts else "Latin"


def _split(tokenizer: Tokenizer, word: str) -> list[_Piece]:
    """The tokens of a word, without start and end."""
    if isinstance(tokenizer, SimpleTokenizer):
        parts = [tokenizer.decoder[token].replace("</w>", "") for token in tokenizer.encode(word)]
        return [_of_bytes(bytes(tokenizer.byte_decoder[c] for c in part)) for part in parts]
    inner = hugging_face(tokenizer)
    if inner is None:
        return []
    word = cleaned(tokenizer, word)
    found = inner(word, add_special_tokens=False, return_offsets_mapping=inner.is_fast, verbose=False)
    names = [re.sub(r"^(##|[\u2581\u0120])|</w>$", "", name) for name in inner.convert_ids_to_tokens(found["input_ids"])]
    unknown = [token == inner.unk_token_id for token in found["input_ids"]]
    if not inner.is_fast:
        return [_Piece(name, bad) for name, bad in zip(names, unknown, strict=True) if name]
    spans = [span for span, name in zip(found["offset_mapping"], names, strict=True) if name]  # no name: a blank before the word
    shared = Counter(place for start, stop in spans for place in range(start, stop))  # a character's bytes all lie at its place
    lost = [bad for bad, name in zip(unknown, names, strict=True) if name]
    parts = [any(shared[place] > 1 for place in range(start, stop)) for start, stop in spans]
    return [_Piece(word[start:stop], bad or part) for (start, stop), bad, part in zip(spans, lost, parts, strict=True)]


def _of_bytes(data: bytes) -> _Piece:
    try:
        return _Piece(data.decode())
    except UnicodeDecodeError:
        return _Piece("".join(f"<{byte:02X}>" for byte in data), lost=True)


def broken(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Broken]:
    """How much of each text the tokenizer breaks into less than it could have learned from.

    Broken are parts of characters, unknowns, and, in words of two and more letters of an alphabet that is not Latin, single letters.

    Args:
        tokenizer: open_clip's.
        texts: captions, names or phrases.
    """
    words: dict[str, int] = {}
    foreign = [i for i, text in enumerate(texts) if not text.isascii()]
    totals = token_counts(tokenizer, ["", *(texts[i] for i in foreign)])
    totals = totals[1:] - totals[0]  # without start and end
    found = [Broken(0.0, "Latin")] * len(texts)
    for i, total in zip(foreign, totals.tolist(), strict=True):
        scripts: Counter[str] = Counter()
        for word in texts[i].split():
            if not word.isascii():
                if word not in words:
                    words[word] = _count_broken(tokenizer, word)
                scripts[main_script(word)] += words[word]
        bad, script = sum(scripts.values()), max(scripts, key=scripts.__getitem__, default="Latin")
        found[i] = Broken(min(bad / max(total, 1), 1.0), script if bad else main_script(texts[i]))
    return found


def _count_broken(tokenizer: Tokenizer, word: str) -> int:
    script, letters = main_script(word), sum(script_of(letter) != "" for letter in word)
    spelled = letters > 1 and script != "Latin" and script not in SYLLABLES
    parts = _split(tokenizer, word) if letters else []  # an emoji is no language
    return sum(part.lost or (spelled and len(part.text) == 1 and not part.text.isascii()) for part in parts)


def tells(tokenizer: Tokenizer, texts: Sequence[str]) -> Tells:
    """Whether the tokenizer knows the language of the texts.

    Args:
        tokenizer: open_clip's.
        texts: captions, names or phrases.
    """
    of = broken(tokenizer, texts)
    bad = [i for i, text in enumerate(of) if text.share >= BROKEN]
    scripts = Counter(of[i].script for i in bad)
    first = {of[i].script: i for i in reversed(bad)}
    chosen = list(dict.fromkeys([*(first[script] for script, _ in scripts.most_common(EXAMPLES)), *bad[:EXAMPLES]]))[:EXAMPLES]
    return Tells(len(bad) / max(len(texts), 1), dict(scripts.most_common()), [texts[i] for i in chosen])


def cut_words(tokenizer: Tokenizer, names: Sequence[str]) -> dict[str, list[str]]:
    """The names with a word that is no token of its own.

    Args:
        tokenizer: open_clip's.
        names: of classes.

    Returns:
        From such a name to the pieces of the words that are cut, in order; parts of a character as bytes, `<D0>`.
    """
    found = {}
    for name in dict.fromkeys(names):
        words = [_split(tokenizer, word) for word in LETTERS.findall(name)]
        if cut := [part.text for parts in words if len(parts) > 1 for part in parts]:
            found[name] = cut
    return found


def multilingual_backbones() -> list[tuple[str, str]]:
    """The backbones with pretrained weights whose text towers read many languages, by open_clip's own configurations: (name, tag)."""
    return sorted((name, tag) for name, tag in open_clip.list_pretrained() if _is_multilingual(name))


def _is_multilingual(name: str) -> bool:
    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    size = text.get("vocab_size")
    if size and not text.get("hf_model_name"):
        return int(size) >= LARGE_VOCABULARY
    return any(MANY_LANGUAGES.search(str(text.get(key, ""))) for key in ("hf_model_name", "hf_tokenizer_name"))
