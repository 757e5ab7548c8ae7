"""The classes of a data set: their names, their numbers, and the texts around them."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from cliptune.data.split import Split
from cliptune.data.texts.text_files import read_list
from cliptune.errors import DataError, did_you_mean


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
    labelled = [split.labels for split in splits if split.labels]
    said = any(split.has_captions for split in splits if split.labels)
    if not labelled:
        if given:
            raise DataError("class_names are set, but the data has no label column. Set label_column, or leave class_names out.")
        return Classes([], {})
    seen = list(dict.fromkeys(label for labels in labelled for label in labels.distinct()))
    if not all(labels.are_text for labels in labelled):
        return _counted(said, seen, given)
    names = given or list(dict.fromkeys([*(labelled[0].names or []), *sorted(seen)]))
    odd = [label for label in seen if label not in names]
    if odd:
        raise DataError(f"label {odd[0]!r} is not among the class_names. {did_you_mean(odd[0], names)}")
    if len(names) == 1:
        if said:
            return Classes([], {}, f"all labels are {names[0]!r}: not used")
        raise DataError(f"all labels are {names[0]!r}: there is nothing to tell apart. Set label_column to another column.")
    return Classes([as_words(name) for name in names], {name: i for i, name in enumerate(names)})


def _counted(captions: bool, seen: list[str], given: list[str] | None) -> Classes:
    if not given:
        if captions:  # captions serve; numbers cannot be turned into words
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


def half_of(classes: Classes, which: str) -> Classes:
    """The base or the new half of the classes, in their order, as CoCoOp's base-to-new protocol cuts them (Zhou et al. 2022, sec. 4.1).

    Args:
        classes: all.
        which: `all`, `base` or `new`; where the number is odd, base has one more, as in CoOp's code.

    Raises:
        DataError: there are no two halves.
    """
    if which == "all":
        return classes
    if len(classes.names) < 2:
        raise DataError(f"classes: {which} keeps half of the classes, and there are {len(classes.names)}. Take classes: all.")
    middle = -(-len(classes.names) // 2)
    first, last = (0, middle) if which == "base" else (middle, len(classes.names))
    if last - first < 2:
        raise DataError(f"classes: {which} is one class of {len(classes.names)}: there is nothing to tell apart. Take classes: all.")
    number = {label: i - first for label, i in classes.number.items() if first <= i < last}
    return Classes(classes.names[first:last], number, f"{last - first} of {len(classes.names)} classes: the {which} half")


def as_words(label: str) -> str:
    """A label as it stands in a text: `black_cat` is a black cat."""
    return label.replace("_", " ")


def read_names(given: str | list[str] | None) -> list[str] | None:
    """The class names that the user gave, from a list or a file; DataError for a file that holds no names."""
    names = read_list(given, "class_names", "name") if isinstance(given, str) else given
    return None if names is None else [unicodedata.normalize("NFC", name) for name in names]
