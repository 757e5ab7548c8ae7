"""The classes of a data set: numbers, names and templates, and labels that do not fit them."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from cliptune.data.classes import Classes, name_classes, read_names
from cliptune.data.columns import Columns
from cliptune.data.split import Split
from cliptune.errors import DataError


def labelled(labels: list[Any], names: list[str] | None = None, captions: bool = False) -> Split:
    columns: dict[str, list[Any]] = {"image": ["1.png"] * len(labels), "label": labels}
    features = Features({"image": Value("string"), "label": ClassLabel(names=names)}) if names else None
    table = Dataset.from_dict(columns, features=features)
    if captions:
        table = table.add_column("text", ["x"] * len(labels))
    return Split(table, Columns("image", "text" if captions else None, "label"), [Path()], "PATH/train")


def plain() -> Split:
    return Split(Dataset.from_dict({"image": ["1.png"], "text": ["x"]}), Columns("image", "text", None), [Path()], "PATH/train")


def test_words_are_their_own_names_in_alphabetical_order() -> None:
    found = name_classes([labelled(["개", "black_cat"]), labelled(["ant", "개"])], None)
    assert found == Classes(["ant", "black cat", "개"], {"ant": 0, "black_cat": 1, "개": 2})


def test_a_class_label_keeps_the_order_of_its_names() -> None:
    found = name_classes([labelled([0, 1], ["zebra", "ant"]), labelled([1, 0], ["ant", "zebra"])], None)
    assert found == Classes(["zebra", "ant"], {"zebra": 0, "ant": 1})


def test_sources_with_other_classes_are_put_together() -> None:
    found = name_classes([labelled([0, 1], ["zebra", "ant"]), labelled([0, 1], ["owl", "ant"]), labelled(["cat"])], None)
    assert found == Classes(["zebra", "ant", "cat", "owl"], {"zebra": 0, "ant": 1, "cat": 2, "owl": 3})


def test_class_names_set_the_order_of_words_and_may_be_more() -> None:
    given = ["쥐", "고양이", "개"]
    assert name_classes([labelled(["개", "고양이"])], given) == Classes(given, {"쥐": 0, "고양이": 1, "개": 2})


@pytest.mark.parametrize("labels", [[1, 0, None], [True, False, None]])
def test_numbers_count_into_class_names(labels: list[Any]) -> None:
    assert name_classes([labelled(labels)], ["black_cat", "개"]) == Classes(["black cat", "개"], {"0": 0, "1": 1})


def test_numbers_without_names_beside_captions_are_not_used_and_this_is_said() -> None:
    found = name_classes([labelled([1, 0], captions=True)], None)
    assert (found.names, found.number) == ([], {})
    assert found.note == "labels are numbers without names: not used; set class_names to use them"


def test_no_labels_make_no_classes() -> None:
    assert name_classes([plain()], None) == Classes([], {})
    assert name_classes([plain(), labelled(["cat", "dog"])], None).names == ["cat", "dog"]


ERRORS: dict[str, tuple[list[Any], list[str] | None, str]] = {
    "numbers without names": ([2, 0, 1], None, r"^the labels are numbers \(0, 1, 2\) without names\. Set class_names to a list, or to a f"),
    "booleans without names": ([True, False], None, r"^the labels are numbers \(0, 1\) without names"),
    "too few names": ([0, 2], ["cat", "dog"], r"^label 2 does not count into the 2 class_names\. Labels count from 0\.$"),
    "a negative number": ([0, -1], ["cat", "dog"], r"^label -1 does not count into the 2 class_names"),
    "a word that is no name": (["cat", "dgo"], ["cat", "dog"], r"^label 'dgo' is not among the class_names\. Did you mean dog\?$"),
    "a word in Korean": (["개", "고양이"], ["개", "쥐"], r"^label '고양이' is not among the class_names\. There is: 개, 쥐\.$"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_labels_that_do_not_fit_the_names_are_one_line(case: str) -> None:
    labels, given, message = ERRORS[case]
    with pytest.raises(DataError, match=message):
        name_classes([labelled(labels)], given)


def test_class_names_for_data_without_labels_are_one_line() -> None:
    with pytest.raises(DataError, match=r"^class_names are set, but the data has no label column\. Set label_column, or leave"):
        name_classes([plain()], ["cat"])


# Names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("이름.txt", "고양이\n\n black cat \n"),
        ("names.txt", "\ufeff고양이\r\nblack cat"),  # as Windows' editor saves it
        ("names.json", json.dumps(["고양이", "black cat"])),
        ("names.JSON", "\ufeff" + json.dumps(["고양이", "black cat"])),
        ("apart.txt", unicodedata.normalize("NFD", "고양이\nblack cat")),
    ],
)
def test_class_names_are_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_names(str(tmp_path / name)) == ["고양이", "black cat"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_names(f"~/{name}") == ["고양이", "black cat"]


def test_a_list_of_names_is_taken_as_it_is() -> None:
    assert read_names(["b", "a"]) == ["b", "a"]
    assert read_names(None) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[1,", r"the file is no JSON: .*\. Write a list of names\.$"),
        ("a.json", b'{"0": "cat"}', r"the file holds no list of names\. Write a JSON list, or"),
        ("a.json", b"[1, 2]", r"the file holds no list of names"),
        ("a.txt", b"\n\n", r"the file holds no list of names"),
        ("a.txt", "고양이".encode("cp949"), r"the file is no UTF-8 text\. Save it as UTF-8\.$"),
    ],
)
def test_a_file_that_holds_no_names_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_names(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_file_of_names_that_is_not_there_is_one_line() -> None:
    with pytest.raises(
        DataError, match=r"^class_names nowhere\.txt: there is no such file\. Give a list, or a file with a name per line\.$"
    ):
        read_names("nowhere.txt")


def test_one_class_is_nothing_to_tell_apart() -> None:
    with pytest.raises(DataError, match="all labels are 'cat': there is nothing to tell apart"):
        name_classes([labelled(["cat", "cat"])], None)
    assert name_classes([labelled(["cat", "cat"], captions=True)], None) == Classes([], {}, "all labels are 'cat': not used")
