"""What the values of a label column mean: renamed, left out, several in a cell; counted and chosen without a Python value per row."""

import json
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
from datasets import Dataset

from cliptune.data.chosen import column_of
from cliptune.errors import DataError


@dataclass(frozen=True)
class LabelRules:
    """What is done to labels before they count.

    Args:
        renamed: other names for labels; several may get the same.
        ignored: labels, by their new names, that do not count; an image without another one is left out.
        separator: what stands between several labels in one cell, or None where a cell is one label. Columns of lists need none.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = frozenset()
    separator: str | None = None

    def __call__(self, words: list[str]) -> tuple[str, ...]:
        """The labels of one image, each once."""
        renamed = (self.renamed.get(word, word) for word in words)
        return tuple(dict.fromkeys(word for word in renamed if word not in self.ignored))


class Labels:
    """The label column of a table.

    Args:
        table: with the column.
        column: of words, whole numbers or classes, or of lists of them.
        rules: what they mean.
    """

    def __init__(self, table: Dataset, column: str, rules: LabelRules) -> None:
        self.table, self.column, self.rules = table, column, rules
        feature = table.features[column]
        inner = _inner(feature)
        self.in_lists = inner is not feature
        self.several = self.in_lists or rules.separator is not None
        classes = isinstance(inner, datasets.ClassLabel)
        self._names = [word_of(name) for name in inner.names] if classes else None
        self.are_text = classes or inner.dtype in ("string", "large_string") or bool(rules.renamed)
        self._known: dict[Any, tuple[str, ...]] = {}

    @property
    def names(self) -> list[str] | None:
        """The names of the classes in the table's own order, where it has one."""
        return None if self._names is None else list(dict.fromkeys(name for word in self._names for name in self.rules([word])))

    def of(self, value: Any) -> tuple[str, ...]:
        """The labels that a cell stands for; none where it is empty."""
        if self.in_lists:
            return self.rules([word for one in value or () for word in self._words(one)])
        if value not in self._known:
            self._known[value] = self.rules(self._words(value))
        return self._known[value]

    def distinct(self) -> list[str]:
        """Every label that there is, once; those of a table that knows its classes in their order."""
        return self.names or list(dict.fromkeys(label for value in pc.unique(self._flat()[0]).to_pylist() for label in self._each(value)))

    def counts(self) -> dict[str, int]:
        """How many images have each label."""
        found: dict[str, int] = {}
        if self.several:  # of which a cell may name one twice, and several may have got the same name
            names = self.distinct()
            classes = np.concatenate([*self.codes({name: i for i, name in enumerate(names)}), np.empty(0)]).astype(np.int64)
            return {name: int(count) for name, count in zip(names, np.bincount(classes, minlength=len(names)), strict=True)}
        for item in pc.value_counts(self._flat()[0]).to_pylist():
            for label in self._each(item["values"]):
                found[label] = found.get(label, 0) + item["counts"]
        return found

    def codes(self, number: Mapping[str, int]) -> np.ndarray | list[np.ndarray]:
        """Which class each row is of.

        Args:
            number: from label to class.

        Returns:
            [N], -1 where it is of none; of a column of several labels a list of N arrays of classes.
        """
        flat, parents = self._flat()
        encoded = flat.dictionary_encode()
        meant = [[number[label] for label in self._each(value) if label in number] for value in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(meant)).to_numpy(zero_copy_only=False)
        if not self.several:
            return np.array([classes[0] if classes else -1 for classes in meant] + [-1], dtype=np.int64)[indices]
        found: list[set[int]] = [set() for _ in range(len(self.table))]
        for row, index in zip(parents.tolist(), indices.tolist(), strict=True):
            if index < len(meant):
                found[row].update(meant[index])
        return [np.array(sorted(classes), dtype=np.int64) for classes in found]

    def mask(self, wanted: Collection[str] | None = None) -> np.ndarray:
        """[N], bool: which rows have a label, or one of those that are wanted."""
        flat, parents = self._flat()
        encoded = flat.dictionary_encode()
        good = [any(wanted is None or label in wanted for label in self._each(value)) for value in encoded.dictionary.to_pylist()]
        indices = encoded.indices.fill_null(len(good)).to_numpy(zero_copy_only=False)
        kept = np.array([*good, False])[indices]
        if parents is None:
            return kept
        found = np.zeros(len(self.table), dtype=bool)
        found[parents[kept]] = True
        return found

    def _each(self, value: Any) -> tuple[str, ...]:
        """The labels of one value of a flat column."""
        return self.rules(self._words(value))

    def _words(self, value: Any) -> list[str]:
        if value is None or (self._names is not None and value < 0):  # -1 is how test splits on the hub hide their labels
            return []
        if self._names is not None:
            return [self._names[value]]
        if self.rules.separator is None or not isinstance(value, str):
            return [word_of(value)] if str(value).strip() else []
        return [word_of(part.strip()) for part in value.split(self.rules.separator) if part.strip()]

    def _flat(self) -> tuple[Any, Any]:
        """The values of all cells, and, of lists, the row that each is of."""
        values = column_of(self.table, self.column)
        if not self.in_lists:
            return values, (np.arange(len(values)) if self.several else None)
        return pc.list_flatten(values), pc.list_parent_indices(values).to_numpy()


def _inner(feature: Any) -> Any:
    """What a list is of; the feature itself where it is no list."""
    inner = getattr(feature, "feature", feature)
    return inner[0] if isinstance(inner, list) else inner


def may_be_label(feature: Any) -> bool:
    """Whether a column of this type can hold labels: words, whole numbers or classes, or lists of them."""
    inner = _inner(feature)
    kinds = ("string", "large_string", "int", "uint", "bool")
    return isinstance(inner, datasets.ClassLabel) or (isinstance(inner, datasets.Value) and inner.dtype.startswith(kinds))


def word_of(label: Any) -> str:
    """A label as text: booleans count as 0 and 1, and the same word is the same, however its accents and syllables are composed."""
    return unicodedata.normalize("NFC", str(int(label) if isinstance(label, bool) else label))


def read_map(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """The new names of labels, from a map or a JSON file of one.

    Raises:
        DataError: the file is missing, or holds no map of words.
    """
    if isinstance(given, str):
        file = Path(given).expanduser()
        try:
            given = json.loads(file.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise DataError(f"label_map {file}: {error.strerror}. Give a map, or a JSON file of one.") from None
        except ValueError as error:
            raise DataError(f'label_map {file}: it is no JSON: {error}. Write {{"old": "new"}}.') from None
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given.values())):
        raise DataError('label_map holds no map from labels to names. Write {"old": "new"}.')
    return {word_of(old): word_of(new) for old, new in (given or {}).items()}
