"""Which column holds what, which rows can be used, and what is read of them."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value

from cliptune.data.columns import Columns, check_has, find_columns
from cliptune.data.labels import LabelRules
from cliptune.data.split import Row, Split
from cliptune.data.usable import labelled_rows, usable_rows
from cliptune.errors import DataError

PNG = ["1.png", "2.png"]
PICTURES: list[dict[str, Any]] = [{"bytes": b"1", "path": None}, {"bytes": b"2", "path": None}]
WORDS, NUMBERS = ["a cat", "a dog"], [0, 1]


def find(
    columns: dict[str, list[Any]] | Dataset, image: str | None = "auto", caption: str | None = "auto", label: str | None = "auto"
) -> Columns:
    table = columns if isinstance(columns, Dataset) else Dataset.from_dict(columns)
    return find_columns(table, image, caption, label, "PATH")


def typed(columns: dict[str, list[Any]], **features: Any) -> Dataset:
    return Dataset.from_dict(columns, features=Features(features))


def split(columns: dict[str, list[Any]] | Dataset, root: Path = Path("/data"), **chosen: Any) -> Split:
    table = columns if isinstance(columns, Dataset) else Dataset.from_dict(columns)
    found = find(table, **chosen)
    return Split(usable_rows(table, found), found, [root], "PATH/train")


# Detection


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": PNG, "caption": WORDS}, ("image", "caption", None)),
        ({"caption": WORDS, "file_name": PNG, "id": NUMBERS}, ("file_name", "caption", None)),
        ({"Image": PNG, " Text ": WORDS, "LABEL": WORDS}, ("Image", " Text ", "LABEL")),
        ({"image": PICTURES, "label": WORDS}, ("image", None, "label")),
        ({"image": [b"1", b"2"], "captions": [WORDS, WORDS]}, ("image", "captions", None)),
        ({"image_path": PNG, "image": PNG, "text": WORDS}, ("image", "text", None)),
        ({"image": NUMBERS, "path": PNG, "text": WORDS}, ("path", "text", None)),  # an image's number is no image
        ({"image": ["one", "two"], "path": ["a.JPG", "b.JPG"], "text": WORDS}, ("path", "text", None)),  # nor is its name
        ({"image": [None, "2.png"], "text": WORDS}, ("image", "text", None)),
        ({"image": PNG, "caption": WORDS, "label": [0.5, 0.1]}, ("image", "caption", None)),  # a score is no label
        ({"image": PNG, "label": [True, False]}, ("image", None, "label")),
    ],
)
def test_columns_are_found_by_name_and_type(columns: dict[str, list[Any]], expected: tuple[str | None, ...]) -> None:
    assert find(columns) == Columns(*expected)  # type: ignore[arg-type]


def test_a_column_of_pictures_is_found_whatever_its_name() -> None:
    table = typed({"id": NUMBERS, "그림": PICTURES, "text": WORDS}, id=Value("int64"), 그림=Image(), text=Value("string"))
    assert find(table) == Columns("그림", "text", None)


def test_of_two_columns_of_pictures_the_one_called_image_is_taken_else_the_first() -> None:
    columns: dict[str, list[Any]] = {"depth": PICTURES, "image": PICTURES, "text": WORDS}
    table = typed(columns, depth=Image(), image=Image(), text=Value("string"))
    assert find(table).image == "image"
    assert find(table.rename_column("image", "rgb")).image == "depth"


def test_columns_can_be_set_and_be_left_out() -> None:
    columns: dict[str, list[Any]] = {"image": PNG, "그림": PNG, "caption": WORDS, "설명": WORDS, "label": WORDS, "분류": NUMBERS}
    assert find(columns, "그림", "설명", "분류") == Columns("그림", "설명", "분류")
    assert find(columns, caption=None) == Columns("image", None, "label")
    assert find(columns, label=None) == Columns("image", "caption", None)


def test_a_set_column_of_paths_needs_no_suffix() -> None:
    assert find({"photo_id": ["a1", "a2"], "text": WORDS}, image="photo_id").image == "photo_id"


ERRORS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unknown image": ({"image": PNG, "text": WORDS}, {"image": "imge"}, r"has no column imge \(image_column\)\. Did you mean image\?"),
    "unknown caption": ({"image": PNG, "설명": WORDS}, {"caption": "설명문"}, r"no column 설명문 \(caption_column\)\. Did you mean 설명\?"),
    "unknown label": ({"image": PNG, "kind": WORDS}, {"label": "zebra"}, r"no column zebra \(label_column\)\. There is: image, kind\."),
    "no images": ({"id": NUMBERS, "text": WORDS}, {}, r"no column of images or of image paths; it has id, text\. Set image_column\."),
    "images are numbers": (
        {"id": NUMBERS, "text": WORDS},
        {"image": "id"},
        r"the image column id holds numbers, not images or their paths",
    ),
    "captions are numbers": ({"image": PNG, "caption": NUMBERS}, {}, r"the caption column caption holds numbers, not text\. Set caption_c"),
    "captions are floats": ({"image": PNG, "caption": [0.5, 1]}, {}, r"the caption column caption holds floats, not text"),
    "captions in a set column": ({"image": PNG, "id": NUMBERS}, {"caption": "id"}, r"the caption column id holds numbers, not text"),
    "labels are floats": ({"image": PNG, "label": [0.0, None]}, {}, r"the label column label holds floats, .*empty cells between them"),
    "no texts": ({"image": PNG, "id": NUMBERS}, {}, r"neither captions nor labels that could be found; it has image, id\. Set caption_col"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_column_that_cannot_be_used_is_one_line(case: str) -> None:
    columns, chosen, message = ERRORS[case]
    with pytest.raises(DataError, match=message) as caught:
        find(columns, **chosen)
    assert str(caught.value).startswith("data path PATH")
    assert "\n" not in str(caught.value)


def test_a_split_that_lacks_a_column_of_train_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^data path PATH: the test split has no column text, which train has\. It has image\.$"):
        check_has(Dataset.from_dict({"image": PNG}), Columns("image", "text", None), "PATH: the test split")


# Rows that can be used


def kept(columns: dict[str, list[Any]] | Dataset) -> list[int]:
    table = columns if isinstance(columns, Dataset) else Dataset.from_dict(columns)
    numbered = table.add_column("row", list(range(len(table))))
    return list(usable_rows(numbered, find(table))["row"])


@pytest.mark.parametrize(
    "captions",
    [
        ["a", None, "", "  \n", "고양이"],
        [["a"], None, [], [None, " ", ""], ["고양이", None]],
    ],
)
def test_rows_without_a_caption_are_left_out(captions: list[Any]) -> None:
    assert kept({"image": ["a.png"] * 5, "caption": captions}) == [0, 4]


def test_rows_without_an_image_are_left_out() -> None:
    texts = ["x"] * 4
    assert kept({"image": ["1.png", None, "", " "], "caption": texts}) == [0]
    assert kept({"image": [b"1", None, b"3", None], "caption": texts}) == [0, 2]
    pictures = [{"bytes": b"1", "path": None}, {"bytes": None, "path": "2.png"}, {"bytes": None, "path": None}, None]
    assert kept(typed({"image": [*pictures[:2], None, None], "caption": texts}, image=Image(), caption=Value("string"))) == [0, 1]
    assert kept({"image": pictures, "caption": texts}) == [0, 1]


def test_rows_without_a_label_are_left_out_where_there_are_no_captions() -> None:
    assert kept({"image": ["a.png"] * 4, "label": ["cat", None, "", "개"]}) == [0, 3]
    assert kept({"image": ["a.png"] * 3, "label": [0, None, 2]}) == [0, 2]
    hidden = typed({"image": ["a.png"] * 3, "label": [0, -1, 1]}, image=Value("string"), label=ClassLabel(names=["cat", "dog"]))
    assert kept(hidden) == [0, 2]  # -1 is how test splits on the hub hide their labels
    assert kept({"image": ["a.png"] * 2, "caption": ["x", "y"], "label": [None, "cat"]}) == [0, 1]


def test_labelled_rows_have_a_label() -> None:
    table = Dataset.from_dict({"image": ["1.png"] * 3, "label": ["cat", None, ""]})
    assert labelled_rows(table, Columns("image", None, "label"), LabelRules()).tolist() == [True, False, False]


# Reading


def test_rows_are_read_in_the_order_asked_for_with_all_that_they_hold() -> None:
    found = split(
        {"image": ["그림/1.png", "/else/2.png"], "captions": [[" 고양이 ", None, "", "a cat"], ["a dog"]], "label": ["고양이", "개"]}
    )
    assert found.read([1, 0]) == [
        Row("/else/2.png", ["a dog"], ("개",), "/else/2.png"),
        Row("/data/그림/1.png", ["고양이", "a cat"], ("고양이",), "/data/그림/1.png"),
    ]


def test_images_in_the_table_are_bytes_with_a_key_of_their_own() -> None:
    for images in ([b"1", b"2"], PICTURES):
        rows = split({"image": images, "text": WORDS}).read([0, 1])
        assert [row.image for row in rows] == [b"1", b"2"]
        assert len({row.key for row in rows}) == 2


def test_a_picture_with_a_path_and_no_bytes_is_read_from_there() -> None:
    assert split({"image": [{"bytes": None, "path": "a/1.png"}], "text": ["x"]}).read([0])[0].image == "/data/a/1.png"


def test_the_first_folder_that_has_the_image_is_its_own(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    first, second = picture("val/1.png"), picture("2.png")
    table = Dataset.from_dict({"image": ["1.png", "2.png", "3.png"], "text": ["x"] * 3})
    found = Split(table, Columns("image", "text", None), [tmp_path / "val", tmp_path], "PATH/val").read([0, 1, 2])
    assert [row.image for row in found] == [str(first), str(second), str(tmp_path / "3.png")]


def test_an_image_path_may_start_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    rows = split({"image": ["~/1.png", "~nobody-of-this-name 1.png"], "text": WORDS}).read([0, 1])
    assert [row.image for row in rows] == ["/home/me/1.png", "/data/~nobody-of-this-name 1.png"]


def test_nothing_is_decoded_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.Image, "decode_example", lambda *_, **__: pytest.fail("an image was decoded"))
    found = split(typed({"image": PICTURES, "text": WORDS}, image=Image(), text=Value("string")))
    assert [row.image for row in found.read([1, 0])] == [b"2", b"1"]


@pytest.mark.parametrize(
    ("labels", "feature", "expected"),
    [
        (["b_b", "a", None, "b_b"], Value("string"), ["b_b", "a", None, "b_b"]),
        ([1, 0, None, 1], Value("int64"), ["1", "0", None, "1"]),
        ([True, False, None, True], Value("bool"), ["1", "0", None, "1"]),
        ([1, 0, -1, 1], ClassLabel(names=["고양이", "개"]), ["개", "고양이", None, "개"]),
    ],
)
def test_labels_are_words_or_numbers_as_text(labels: list[Any], feature: Any, expected: list[str | None]) -> None:
    found = split(typed({"image": PNG * 2, "text": WORDS * 2, "label": labels}, image=Value("string"), text=Value("string"), label=feature))
    assert [row.label for row in found.read([0, 1, 2, 3])] == expected
    assert found.labels is not None
    assert sorted(found.labels.distinct()) == sorted({label for label in expected if label})
    assert found.labels.are_text == (feature.dtype == "string" or isinstance(feature, ClassLabel))


def test_a_korean_label_is_the_same_however_its_syllables_are_composed() -> None:
    composed, apart = (unicodedata.normalize(form, "고양이") for form in ("NFC", "NFD"))  # macOS writes the second into archives
    found = split({"image": PNG, "label": [composed, apart]})
    assert found.labels is not None
    assert found.labels.distinct() == [composed]
    assert [row.label for row in found.read([0, 1])] == [composed, composed]
    named = split(typed({"image": PNG, "label": [0, 0]}, image=Value("string"), label=ClassLabel(names=[apart])))
    assert named.labels is not None
    assert named.labels.distinct() == [composed]


def test_captions_of_a_fixed_number_are_a_list_too() -> None:
    table = typed({"image": PNG, "captions": [WORDS, WORDS]}, image=Value("string"), captions=Sequence(Value("string"), length=2))
    assert split(table).read([0])[0].captions == WORDS


def test_no_captions_and_no_labels_read_as_such() -> None:
    assert split({"image": PNG, "text": WORDS}).read([0])[0].label is None
    assert split({"image": PNG, "text": WORDS}).labels is None
    assert split({"image": PNG, "label": WORDS}).read([0])[0].captions == []
