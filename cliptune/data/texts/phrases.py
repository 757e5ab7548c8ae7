"""Texts over columns, `a dermoscopic image of a {label} on the {localization}`, which read well where a value is missing.

Templates for class names have `{}` for the name and are not of this kind. What goes with a missing value: `left_out`.
"""

import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat

import numpy as np

from cliptune.data.texts.left_out import FIELD, leave_out
from cliptune.errors import ConfigError, DataError, did_you_mean

MISSING = frozenset(  # in small letters; what pandas.read_csv takes for missing, and what people write
    [
        "",
        "nan",
        "-nan",
        "na",
        "n/a",
        "#n/a",
        "#na",
        "<na>",
        "none",
        "null",
        "nat",
        "unknown",
        "not available",
        "unspecified",
        "-",
        "--",
        "?",
    ]
)
FIRST = 0xE000
SEGMENT = re.compile(r"\[([^\[\]]*)\]")


def is_class_template(template: str) -> bool:
    """Whether a template is for class names: it has `{}`, and no field with a name."""
    try:
        return {name for _, name, _, _ in _parsed(template) if name is not None} == {""}
    except ConfigError:
        return "{}" in template


class Phrase:
    """A text over columns.

    `{column}` is the column's value, `{age:.1f}` in a form as of Python's `format`; whole floats are written without `.0` and lists with
    commas. A value is missing where it is None, NaN, blank or a word such as `unknown` or `n/a`; the words that belong to it go with it,
    found by rule, or as marked: a part in square brackets, `[ on the {localization}]`, stays only where all its values are there.
    `{{` and `}}` are braces; brackets without a field are plain text.

    Args:
        template: the text.

    Attributes:
        fields: the columns that it names, each once.

    Raises:
        ConfigError: it names no column, or cannot be read.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        parts = _parsed(template)
        named = list(dict.fromkeys((name, spec or "") for _, name, spec, _ in parts if name is not None))
        if not all(name for name, _ in named):
            raise ConfigError(
                f"text {template!r} has {{}} where a column's name belongs. Write {{column}}, or set it as one of the templates."
            )
        if not named:
            raise ConfigError(f"text {template!r} names no column. Write {{column}} where its value belongs.")
        if odd := next((name for _, name, spec, turn in parts if turn or "{" in (spec or "")), None):
            raise ConfigError(f"text {template!r}: {{{odd}}} has more than a name and a format. Write it like {{age}} or {{age:.1f}}.")
        self.fields = list(dict.fromkeys(name for name, _ in named))
        self._named = named
        marks = {key: chr(FIRST + i) for i, key in enumerate(named)}
        self._text = "".join(FIELD.sub("", literal) + (marks[name, spec or ""] if name else "") for literal, name, spec, _ in parts)
        self._patterns: dict[tuple[bool, ...], tuple[str, list[int]]] = {}

    def check(self, columns: Iterable[str]) -> None:
        """Raise ConfigError where a column does not exist."""
        have = list(columns)
        for name in self.fields:
            if name not in have:
                raise ConfigError(f"text {self.template!r} names {name}, which is no column. {did_you_mean(name, have)}".rstrip())

    def fill(self, values: Mapping[str, object]) -> str:
        """The text for one row.

        Args:
            values: by column; one that is not there counts as missing.

        Returns:
            One line without blanks at its ends; perhaps empty, where all is missing.
        """
        return self.fill_columns({name: [values.get(name)] for name in self.fields})[0]

    def fill_columns(self, columns: Mapping[str, Sequence[object]]) -> list[str]:
        """The texts for rows.

        Args:
            columns: of one length; one that is not there counts as missing.

        Raises:
            DataError: a value has not the type that its format asks for.
        """
        given = [columns[name] for name in self.fields if name in columns]
        count = len(given[0]) if given else 0
        texts = [self._written(columns.get(name), name, spec, count) for name, spec in self._named]
        found = []
        for row in zip(*texts, strict=True):
            if None in row:
                pattern, order = self._pattern(tuple(value is None for value in row))
            else:
                pattern, order = self._pattern(())
            found.append(pattern % tuple([row[i] for i in order]))
        return found

    def _written(self, values: Sequence[object] | None, name: str, spec: str, count: int) -> Iterable[str | None]:
        if values is None:
            return repeat(None, count)
        write: Callable[[object], str | None] = written
        if spec:

            def write(value: object) -> str | None:
                try:
                    return formatted(value, spec)
                except (TypeError, ValueError):
                    raise DataError(
                        f"column {name} holds {value!r}, which {{{name}:{spec}}} of the text cannot write. Leave out :{spec}."
                    ) from None

        return map(write, values)

    def _pattern(self, absent: tuple[bool, ...]) -> tuple[str, list[int]]:
        """The text for a set of missing values, made once: with %s for the others, and which those are."""
        if absent not in self._patterns:
            missing = frozenset(chr(FIRST + i) for i, gone in enumerate(absent) if gone)
            text = SEGMENT.sub(lambda found: _segment(found.group(), missing), self._text)
            text = " ".join((leave_out(text, missing) if missing else text).split())
            order = [ord(mark) - FIRST for mark in FIELD.findall(text)]
            self._patterns[absent] = (FIELD.sub("%s", text.replace("%", "%%")), order)
        return self._patterns[absent]


def _segment(part: str, missing: frozenset[str]) -> str:
    """A part in brackets as it goes on: as it is, where it has no fields."""
    if missing.intersection(part):
        return ""
    return part[1:-1] if FIELD.search(part) else part


def _parsed(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"text {template!r} cannot be read: {error}. Write {{{{ and }}}} for braces that are no fields.") from None


def written(value: object) -> str | None:
    """A value as it stands in a text; None where it is missing."""
    if value is None:
        return None
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text for item in value if (text := written(item))) or None
    text = str(value).strip()
    return None if text.lower() in MISSING else text


def formatted(value: object, spec: str) -> str | None:
    """A value in a form as of Python's `format`, numbers in words included; None where it is missing."""
    text = written(value)
    if text is None:
        return None
    if isinstance(value, str) and spec[-1] in "bcdeEfFgGnoxX%":
        number = float(text)
        return format(int(number) if number.is_integer() and spec[-1] in "bcdoxX" else number, spec)
    return format(value, spec)
