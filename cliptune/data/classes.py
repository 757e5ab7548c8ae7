"""The classes of a data set: their names, their numbers, and the texts around them."""

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cliptune.data.columns import Split
from cliptune.errors import ConfigError, DataError, did_you_mean

TEMPLATE = "a photo of a {}."  # Radford et al. 2021, sec. 3.1.4


class Classes(NamedTuple):
    """What the labels mean."""

    names: list[str]  # as they stand in texts
    number: dict[str, int]  # from label to class
    note: str = ""


def name_classes(splits: Sequence[Split], given: list[str] | None) -> Classes:
    """Number the labels of all splits, and name them.

    Args:
        splits: of evaluation, which says what the classes are.
        given: the user's names. Labels that are numbers count into them; of labels that are words they set the order.

    Raises:
        DataError: labels and names do not fit each other.
    """
    labelled = [split for split in splits if split.columns.label]
    if not labelled:
        if given:
            raise DataError("class_names are set, but the data has no label column. Set label_column, or leave class_names out.")
        return Classes([], {})
    seen = list(dict.fromkeys(label for split in labelled for label in split.labels()))
    if not all(split.labels_are_text for split in labelled):
        return _counted(labelled, seen, given)
    names = given or list(dict.fromkeys([*(labelled[0].label_names or []), *sorted(seen)]))
    odd = [label for label in seen if label not in names]
    if odd:
        raise DataError(f"label {odd[0]!r} is not among the class_names. {did_you_mean(odd[0], names)}")
    if len(names) == 1:
        if any(split.columns.caption for split in labelled):
            return Classes([], {}, f"all labels are {names[0]!r}: not used")
        raise DataError(f"all labels are {names[0]!r}: there is nothing to tell apart. Set label_column to another column.")
    return Classes([as_words(name) for name in names], {name: i for i, name in enumerate(names)})


def _counted(labelled: list[Split], seen: list[str], given: list[str] | None) -> Classes:
    if not given:
        if any(split.columns.caption for split in labelled):  # captions serve; numbers cannot be turned into words
            return Classes([], {}, "labels are numbers without names: not used; set class_names to use them")
        raise numbers_without_names(seen)
    odd = [label for label in seen if not label.lstrip("-").isdigit() or not 0 <= int(label) < len(given)]
    if odd:
        raise DataError(f"label {odd[0]} does not count into the {len(given)} class_names. Labels count from 0.")
    return Classes([as_words(name) for name in given], {str(i): i for i in range(len(given))})


def numbers_without_names(labels: Sequence[str]) -> DataError:
    """The error of who has such labels and nothing else."""
    return DataError(
        f"the labels are numbers ({', '.join(sorted(labels)[:5])}) without names. "
        "Set class_names to a list, or to a file with a name per line."
    )


def as_words(label: str) -> str:
    """A label as it stands in a text: `black_cat` is a black cat."""
    return label.replace("_", " ")


def checked_templates(templates: str | list[str]) -> list[str]:
    """The templates as a list; ConfigError where one has no place for the class name."""
    listed = [templates] if isinstance(templates, str) else list(templates)
    for template in listed:
        if "{}" not in template:
            raise ConfigError(f"template {template!r} has no {{}} for the class name. Write it as {TEMPLATE!r}.")
    if not listed:
        raise ConfigError(f"templates is empty. Give at least one, such as {TEMPLATE!r}.")
    return listed


def read_names(given: str | list[str] | None) -> list[str] | None:
    """The class names that the user gave, from a list or a file; DataError for a file that holds no names."""
    if isinstance(given, str):
        file = Path(given).expanduser()
        if not file.is_file():
            raise DataError(f"class_names {given}: there is no such file. Give a list, or a file with a name per line.")
        try:
            text = file.read_text(encoding="utf-8-sig")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            names = json.loads(text) if file.suffix.lower() == ".json" else lines
        except UnicodeDecodeError:
            raise DataError(f"class_names {given}: the file is no UTF-8 text. Save it as UTF-8.") from None
        except json.JSONDecodeError as error:
            raise DataError(f"class_names {given}: the file is no JSON: {error}. Write a list of names.") from None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise DataError(
                f"class_names {given}: the file holds no list of names. Write a JSON list, or a text file with a name per line."
            )
        given = names
    return None if given is None else [unicodedata.normalize("NFC", name) for name in given]
