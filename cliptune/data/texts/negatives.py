"""Hard negatives: texts of (nearly) the same words that say something else.

The idea is NegCLIP's (Yuksekgonul et al. 2023, sec. 4) without its tagger: small lists of English words, and where words stand, tell
roughly what is a noun and what is said of it. Which row gets which text is decided elsewhere.
"""

import re
import string
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from cliptune.data.texts.words import (
    ARTICLES,
    ATTRIBUTES,
    BEFORE_NOUNS,
    COUNTS,
    DEFINITE,
    DETERMINERS,
    FUNCTION,
    KINDS,
    MEASURES,
    NEXT_TO,
    NO_ATTRIBUTE,
    NOUNS,
    PLURALS,
    POSTURES,
    PREPOSITIONS,
    PRONOUNS,
    SIDE_BY_SIDE,
    TO_BE,
    VERBS,
)

MOST_WORDS = 64  # no CLIP reads what lies further on
PUNCTUATION = re.escape(string.punctuation + "“”‘’„«»¿¡…–—、。，！？：；（）「」『』।")  # noqa: RUF001
WORD = re.compile(rf"([^\s{PUNCTUATION}](?:\S*[^\s{PUNCTUATION}])?)")

Span = tuple[int, int]  # of words
Edit = tuple[Span, Span | str]  # two places that change their words, or a place and its new words


class _Attribute(NamedTuple):
    span: Span
    kind: int
    group: int
    rank: int  # in the group


class _Caption:
    """A text as the rules read it."""

    def __init__(self, text: str) -> None:
        self.pieces = WORD.split(text)  # between, word, between, ..., word, between
        for i in range(1, len(self.pieces), 2):
            if self.pieces[i][-2:] in ("'s", "\u2019s"):  # stays where it is
                self.pieces[i], self.pieces[i + 1] = self.pieces[i][:-2], self.pieces[i][-2:] + self.pieces[i + 1]
        self.words = [word.casefold() for word in self.pieces[1 : 2 * MOST_WORDS : 2]]
        self.cut = [not i or not between.isspace() for i, between in enumerate(self.pieces[: 2 * len(self.words) : 2])] + [True]
        self.english = any(word.endswith("ing") for word in self.words) or 5 * sum(w in FUNCTION for w in self.words) >= len(self.words)
        self.attributes = self._attributes()
        self.role = [""] * len(self.words)  # "n" is a phrase's noun, "m" stands before it or is said of it, "v" is a verb
        self.first = list(range(len(self.words)))  # the word that the word's phrase begins with
        self._read_roles()
        self.nouns = [i for i, role in enumerate(self.role) if role == "n"]

    def _attributes(self) -> list[_Attribute]:
        found = []
        for i, word in enumerate(self.words):
            before, after = "" if self.cut[i] else self.words[i - 1], "" if self.cut[i + 1] else self.words[i + 1]
            if word in PREPOSITIONS and not any(self.cut[i + 1 : i + 3]) and (known := ATTRIBUTES.get(" ".join(self.words[i : i + 3]))):
                found.append(_Attribute((i, i + 3), *known))
            elif (known := ATTRIBUTES.get(word)) and _is_meant(before, word, after):
                found.append(_Attribute((i, i + 1), *known))
        return found

    def _read_roles(self) -> None:
        adjectives = {a.span[0] for a in self.attributes if a.span[1] == a.span[0] + 1}
        fixed = {i for a in self.attributes for i in range(*a.span)} - adjectives  # "in front of"
        phrases: dict[int, list[int]] = {}
        for i, word in enumerate(self.words):
            before = "" if self.cut[i] else self.words[i - 1]
            measures = word in MEASURES and self.words[i + 1 : i + 2] in (["of"], ["old"])
            skipped = measures or i in fixed or (before, word) in NO_ATTRIBUTE or word in FUNCTION or word.isdigit()
            if skipped or (word.endswith(("ly", "n't", "n\u2019t")) and word not in NOUNS):
                continue
            begins = self.cut[i] or self.role[i - 1] in ("", "v")
            adjective = i - 1 in adjectives or (begins and before in DETERMINERS)  # "a running dog"
            opened = begins and (before in PRONOUNS or (before == "to" and self.words[i - 2] not in NEXT_TO))  # "she falls"
            ends_so = len(word) > 4 and word.endswith(("ing", "ed")) and word not in NOUNS
            if opened or word in VERBS or word in POSTURES or (ends_so and not adjective):
                self.role[i] = "v"
                continue
            self.role[i], self.first[i] = "m", i if begins else self.first[i - 1]
            phrases.setdefault(self.first[i], []).append(i)
        for first, phrase in phrases.items():
            opener, last = "" if self.cut[first] else self.words[first - 1], phrase[-1]
            verb = opener in ARTICLES if _is_plural(self.words[last]) else _is_plural(self.words[last - 1])
            if verb and len(phrase) > 1 and last not in adjectives:  # "a dog barks", "two dogs bark"
                self.role[phrase.pop()] = "v"
            nouns = [i for i in phrase if i not in adjectives]
            if nouns and opener not in TO_BE:
                self.role[nouns[-1]] = "n"

    def _owner(self, i: int) -> int:
        """The noun that the word is said of: of its own phrase, or the one before."""
        own = [n for n in self.nouns if n > i and (self.first[n] == self.first[i] or self.words[i] in COUNTS)]
        return (own or [n for n in reversed(self.nouns) if n < i] or [-1])[0]

    def _are_apart(self, a: int, b: int) -> bool:
        """Whether the words are said of different things, so that it matters which is where."""
        return any(a < noun < b for noun in self.nouns) and self.words[self._owner(a)] != self.words[self._owner(b)]

    def _are_side_by_side(self, a: int, b: int) -> bool:
        """Whether what is between a noun and the next reads the same from both ends: "and a", "is next to the"."""
        joined = False
        for i in range(a + 1, b + 1):
            word = self.words[i]
            joined = joined or self.cut[i] or word in SIDE_BY_SIDE
            neutral = word in SIDE_BY_SIDE or word in DETERMINERS or word in TO_BE or word in POSTURES
            neutral = neutral or (word == "to" and self.words[i - 1] == "next") or (self.role[i] != "" and self.first[i] == self.first[b])
            if not neutral or "s" in self.pieces[2 * i]:  # "the man's dog"
                return False
        return joined

    def _are_alike(self, a: int, b: int) -> bool:
        """Whether two verbs have the same ending and an object, or none, both."""
        objects = {any(word in DETERMINERS or word not in FUNCTION for word in self.words[i + 1 : i + 2]) for i in (a, b)}
        return self.words[a][-1] == self.words[b][-1] and len(objects) == 1

    def _opening(self, noun: int) -> tuple[list[str], str]:
        """What is said of the noun before it, and what that comes after: a preposition, a verb ("v") or nothing."""
        start = self.first[noun]
        while start > 0 and not self.cut[start] and self.words[start - 1] in DETERMINERS:
            start -= 1
        relation = "" if not start else "v" if self.role[start - 1] == "v" else self.words[start - 1]
        return [word for word in self.words[start:noun] if word in COUNTS or word not in FUNCTION], relation

    def exchanges(self) -> list[Edit]:
        """Two attributes of a kind change places."""
        pairs = [(a, b) for a, b in combinations(self.attributes, 2) if a.kind == b.kind and a.group != b.group]
        return [(a.span, b.span) for a, b in pairs if self._are_apart(a.span[0], b.span[0])]

    def replacements(self) -> list[list[Edit]]:
        """For each attribute, the others of its kind that the text does not hold."""
        held = {(a.kind, a.group) for a in self.attributes}
        free = [[group for g, group in enumerate(KINDS[a.kind]) if (a.kind, g) not in held] for a in self.attributes]
        return [[(a.span, group[min(a.rank, len(group) - 1)]) for group in free[i]] for i, a in enumerate(self.attributes)]

    def orders(self) -> list[list[Edit]]:
        """Two words change places, likely ones first: what stands in the same relation, nouns of the same number, other nouns."""
        tiers: list[list[Edit]] = [[], [], []]
        if not self.english:
            for a, b in combinations([i for i, word in enumerate(self.words) if word not in FUNCTION], 2):
                if b == a + 1 or not SIDE_BY_SIDE.issuperset(self.words[a + 1 : b]):
                    short = any(len(self.words[i]) < 4 and self.words[i] < "\u0250" for i in (a, b))  # Latin: "der", "una"
                    tiers[short].append(((a, a + 1), (b, b + 1)))
            return tiers
        kinds = {a.span[0]: a.kind for a in self.attributes}
        for a, b in combinations([i for i, role in enumerate(self.role) if role in ("m", "v")], 2):
            alike = self._are_alike(a, b) if self.role[a] == "v" else kinds.get(a, -1) != kinds.get(b, -2)
            if alike and self.role[a] == self.role[b] and self._are_apart(a, b):
                tiers[0].append(((a, a + 1), (b, b + 1)))
        joined = [self._are_side_by_side(a, b) for a, b in pairwise(self.nouns)]
        opening = [self._opening(noun) for noun in self.nouns]
        for (j, a), (k, b) in combinations(enumerate(self.nouns), 2):
            if opening[j][0] != opening[k][0] or not all(joined[j:k]):
                same_number = _is_plural(self.words[a]) == _is_plural(self.words[b])
                tiers[(opening[j][1] != opening[k][1]) if same_number else 2].append(((a, a + 1), (b, b + 1)))
        return tiers

    def edited(self, edit: Edit) -> str:
        """The text with words changed, and with the capital and the article that the place asks for."""
        (start, stop), other = edit
        old, pieces = "".join(self.pieces[2 * start + 1 : 2 * stop]), self.pieces.copy()
        new = other if isinstance(other, str) else "".join(self.pieces[2 * other[0] + 1 : 2 * other[1]])
        changes = [(start, stop, new.upper() if isinstance(other, str) and old.isupper() else new)]
        if not isinstance(other, str):
            changes.append((*other, old[0].lower() + old[1:] if start == 0 and new[0].islower() and not old.isupper() else old))
        for start, stop, new in changes:
            pieces[2 * start + 1 : 2 * stop] = [new] + [""] * (2 * (stop - start) - 2)
            if self.english and not self.cut[start] and self.words[start - 1] in ARTICLES:
                article, vowel = pieces[2 * start - 1], new[0] in "aeiouAEIOU" and not new.lower().startswith(("uni", "use", "euro"))
                pieces[2 * start - 1] = article[0] + ("N" if article.isupper() and new.isupper() else "n") * vowel
        if self.pieces[1][0].isupper():
            pieces[1] = pieces[1][0].upper() + pieces[1][1:]
        return "".join(pieces)


def _is_meant(before: str, word: str, after: str) -> bool:
    """Whether the word is an attribute here."""
    if word in BEFORE_NOUNS:
        return after != "" and after not in FUNCTION and not after.endswith(("ing", "ed"))
    if word in ("behind", "underneath"):
        return after != "" and before != "from"
    if word in ("left", "right"):  # not "has left the room", "right behind"
        return before in DEFINITE or after == "of" or after not in FUNCTION
    if word in ("top", "bottom", "front", "back"):  # "at the top of", but "a pink top"
        return before in DEFINITE
    return (before, word) not in NO_ATTRIBUTE and (word, after) not in NO_ATTRIBUTE


def _is_plural(word: str) -> bool:
    return word in PLURALS or (word.endswith("s") and not word.endswith(("ss", "us", "is")))


def swaps(text: str, count: int, rng: np.random.Generator) -> list[str]:
    """Make texts that say something else with (nearly) the same words.

    Attributes come first: two of a kind change places ("a red cube and a blue ball"), or another of its kind replaces one. Then two
    nouns, verbs or words said of nouns change places; where the text does not look English, any two words.

    Args:
        text: a caption whose words are separated by spaces.
        count: the most texts to make.
        rng: chooses where there are more.

    Returns:
        Distinct texts, none of them `text`; fewer than `count`, or none, where there is too little to swap.
    """
    caption, seen = _Caption(text), {_normal(text)}

    def take(edits: list[Edit], most: int) -> list[str]:
        taken: list[str] = []
        for i in rng.permutation(len(edits)) if edits and most > 0 else ():
            if len(taken) < most and _normal(made := caption.edited(edits[i])) not in seen:
                seen.add(_normal(made))
                taken.append(made)
        return taken

    exchanges, orders = caption.exchanges(), list[str]()
    found = take(exchanges, count)
    replacements = caption.replacements() if len(found) < count else []
    exchanged = {span for edit in exchanges for span in edit}
    for i in rng.permutation(len(replacements)):
        if caption.attributes[i].span not in exchanged:
            found += take(replacements[i], min(1, count - len(found)))
    for edits in caption.orders() if len(found) < count else ():
        orders += take(edits, count - len(found) - len(orders))
    found += take([edit for edits in replacements for edit in edits], count - len(found) - len(orders))  # one thing in many colours
    return found + orders


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
