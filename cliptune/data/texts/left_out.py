"""How a text over columns reads without some of them: which of its words go with a value that is missing.

A sentence is read as clauses, between commas, semicolons, colons and dashes, and a clause as phrases. A phrase begins at a preposition, a
participle ("taken"), a verb ("shows") or "and", perhaps with an article after it. What goes with a missing field:

1. what touches it ("-year-old", quotes, "cm"), and the units right after it ("years old");
2. its phrase, unless another value or a word after the field is left in it: "of a {age} year old" goes, "a {sex} patient" is "a patient".
   Words before the field stay where they begin the sentence: "chest x-ray {view}" is "chest x-ray";
3. a phrase without fields before it, if the phrase that goes begins with "of" ("in the style of {artist}"), or with the verb of a clause
   that has no other value ("The age is {age}."); so do one or two words with a colon ("Age: {age}");
4. brackets after the phrase, and the marks of a clause, a sentence or brackets of which nothing is left.

"and" takes over the preposition before it: "of a {one} and a {two}" without the first is "of a {two}".
"""

import re
from dataclasses import dataclass, field
from itertools import pairwise

from cliptune.data.texts.long_text import ABBREVIATIONS, BEFORE_NUMBERS
from cliptune.data.texts.words import ARTICLES, DEFINITE, PREPOSITIONS, TO_BE

FIELD = re.compile("[\ue000-\uf8ff]")  # the characters that stand for fields while words are looked at
TOKEN = re.compile(r"(\s*)(\([^()]*\)(?=[\s.,;:!?]|$)|\S+)")
ENDS, MARKS = ".!?", ",;:-–—|/"  # noqa: RUF001

CONJUNCTIONS = frozenset({"and", "or", "&", "plus"})
_VERBS = "shows show depicts contains has have features displays includes wears holds says reads looks means"
_PARTICIPLES = """aged titled entitled named called labelled labeled taken made seen shown painted drawn located captured photographed
    wearing holding showing depicting featuring containing including displaying portraying using having measuring diagnosed acquired found
    dressed dated performed designed created written"""
_PLACES = "with without near beside next above below over under behind inside outside during before after as like per via"
_UNITS = "year years yr yrs month months week weeks day days hour hours of age old y/o yo cm mm m km px pixels inches % percent mg g kg ml"
VERBS, UNITS = TO_BE | frozenset(_VERBS.split()), frozenset(_UNITS.split())
LEADS = PREPOSITIONS | CONJUNCTIONS | VERBS | frozenset([*_PARTICIPLES.split(), *_PLACES.split()])
DETERMINERS = ARTICLES | DEFINITE


@dataclass
class _Token:
    space: str
    text: str
    kind: str = "word"  # or "mark", or "brackets" with all that is in them

    @property
    def word(self) -> str:
        return self.text.lower()

    @property
    def is_value(self) -> bool:
        return self.kind == "word" and FIELD.search(self.text) is not None


@dataclass
class _Phrase:
    lead: list[_Token] = field(default_factory=list)
    core: list[_Token] = field(default_factory=list)
    gone: bool = False

    @property
    def opening(self) -> str:
        return self.lead[0].word if self.lead else ""

    @property
    def has_value(self) -> bool:
        return any(token.is_value for token in [*self.lead, *self.core])


def leave_out(text: str, missing: frozenset[str]) -> str:
    """Write a text without some of its fields.

    Args:
        text: with a private character, of FIELD, for each field.
        missing: those characters that have no value.
    """
    found: list[_Token] = []
    sentence: list[_Token] = []
    for token in _tokens(text, missing):
        sentence.append(token)
        if token.kind == "mark" and token.text[0] in ENDS:
            found += _sentence(sentence, missing)
            sentence = []
    return "".join(token.space + token.text for token in [*found, *_sentence(sentence, missing)]).strip()


def _tokens(text: str, missing: frozenset[str]) -> list[_Token]:
    found: list[_Token] = []
    for space, word in TOKEN.findall(text):
        if word[0] == "(" and word[-1] == ")":
            inner = leave_out(word[1:-1], missing)
            found += [_Token(space, f"({inner})", "brackets")] if inner else []
            continue
        short = word.endswith(".") and word.lower().rstrip(".") in ABBREVIATIONS | BEFORE_NUMBERS
        stem = word if short else word.rstrip(",;:" + ENDS)
        parts = re.split(r"([,;])", stem) if FIELD.search(stem) else [stem]
        for part in (*parts, word[len(stem) :]):
            if part:
                found.append(_Token(space, part, "mark" if part.strip(MARKS + ENDS) == "" else "word"))
                space = ""
    return found


def _sentence(tokens: list[_Token], missing: frozenset[str]) -> list[_Token]:
    """What is left of a sentence."""
    if not any(missing.intersection(token.text) for token in tokens):
        return tokens
    found: list[_Token] = []
    end = tokens.pop() if tokens[-1].kind == "mark" else None
    for number, (mark, words, colon) in enumerate(_clauses(tokens)):
        if left := _clause(words, colon, number == 0, missing):
            found += [mark, *left] if mark and found else left
    if found and found[0].word in {*CONJUNCTIONS, "of"} and found[0] is not tokens[0]:
        found = found[1:]
    if not found:
        return []
    first = found[0].text
    capital = tokens[0].text[0].isupper() and not tokens[0].is_value
    return [_Token(tokens[0].space, first[0].upper() + first[1:] if capital else first), *found[1:], *([end] if end else [])]


def _clauses(tokens: list[_Token]) -> list[tuple[_Token | None, list[_Token], int]]:
    """The mark before each clause, its words, and how many of them are a name with a colon."""
    found: list[tuple[_Token | None, list[_Token], int]] = [(None, [], 0)]
    for token in tokens:
        mark, words, _ = found[-1]
        if token.kind != "mark":
            words.append(token)
        elif token.text == ":" and 0 < len(words) < 3 and not any(word.is_value for word in words):
            words.append(token)
            found[-1] = (mark, words, len(words))
        else:
            found.append((token, [], 0))
    return found


def _clause(words: list[_Token], colon: int, opens: bool, missing: frozenset[str]) -> list[_Token]:
    """What is left of a clause."""
    phrases = _phrases(words, colon)
    for i, phrase in enumerate(phrases):
        _take_out(phrase, opens and i == 0 and not colon and phrase.opening not in LEADS, missing)
    for i in range(len(phrases) - 1, 0, -1):
        before, phrase = phrases[i - 1], phrases[i]
        if phrase.gone and phrase.opening == "of" and before.opening in LEADS and not before.has_value:
            before.gone = True
    if len(phrases) > 1 and phrases[1].gone and phrases[1].opening in VERBS and not any(p.has_value and not p.gone for p in phrases):
        return []
    for before, phrase in pairwise(phrases):
        if before.gone and not phrase.gone and phrase.opening in CONJUNCTIONS:
            phrase.lead = [token for token in before.lead if token.word not in DETERMINERS] + phrase.lead[1:]
    return [token for phrase in phrases if not phrase.gone for token in [*phrase.lead, *phrase.core]]


def _phrases(words: list[_Token], colon: int) -> list[_Phrase]:
    phrases = [_Phrase(lead=words[:colon])]
    for token, following in zip(words[colon:], [*words[colon + 1 :], None], strict=True):
        of_age = token.word == "of" and following is not None and following.word == "age"  # "4 years of age"
        leads = token.word in LEADS and token.kind == "word" and not of_age
        if leads and phrases[-1].core:
            phrases.append(_Phrase())
        phrase = phrases[-1]
        (phrase.lead if not phrase.core and (leads or token.word in DETERMINERS) else phrase.core).append(token)
    return phrases


def _take_out(phrase: _Phrase, opens: bool, missing: frozenset[str]) -> None:
    """Take the missing fields out of a phrase, and say whether the rest of it goes as well."""
    kept: list[_Token] = []
    lost = stays = value = False
    for token in phrase.core:
        if missing.intersection(token.text) and token.kind == "word":
            text = _word(token.text, missing)
            lost, stays = lost or not text, bool(text)
            kept += [_Token(token.space, text)] if text else []
        elif not (lost and not stays and token.word in UNITS):
            kept.append(token)
            stays = stays or token.kind == "word"
        value = value or (bool(kept) and kept[-1].is_value)
    if not lost:
        phrase.core = kept
        return
    while kept and not stays and kept[-1].word in DETERMINERS:
        kept.pop()
    phrase.gone = not (stays or value or (opens and any(token.kind == "word" for token in kept)))
    if not phrase.gone and phrase.lead and phrase.lead[-1].word in ARTICLES and not kept[0].is_value:
        article, vowel = phrase.lead[-1].text, kept[0].word[0] in "aeiou"
        phrase.lead[-1] = _Token(phrase.lead[-1].space, article[0] + "n" * vowel)
    phrase.core = kept


def _word(word: str, missing: frozenset[str]) -> str:
    """What is left of a word with fields: `{height}x{width}`, `{age}-year-old`."""
    parts = re.split(f"({FIELD.pattern})", word)  # before, field, between, field, ..., after
    present = [i for i in range(1, len(parts), 2) if parts[i] not in missing]
    if not present:
        return ""
    middle = "".join(("" if i == present[0] else parts[i - 1]) + parts[i] for i in present)
    return parts[0] + middle + parts[-1]
