"""Texts over columns read well with and without their values."""

from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest

from cliptune.data.texts.phrases import Phrase, formatted, is_class_template, written
from cliptune.errors import ConfigError, DataError

MOLES = Path(__file__).resolve().parents[2] / "shared/data/ham10000_96/data.parquet"
MOLE = "a dermoscopic image of a {label} on the {localization} of a {age} year old"
SHOWN = {
    "label": "nevus",
    "localization": "back",
    "age": 45.0,
    "sex": "male",
    "view": "PA",
    "place": "Rome",
    "year": 2001,
    "artist": "Monet",
}


@pytest.mark.parametrize(
    ("template", "missing", "expected"),
    [
        (MOLE, "", "a dermoscopic image of a nevus on the back of a 45 year old"),
        (MOLE, "localization", "a dermoscopic image of a nevus of a 45 year old"),
        (MOLE, "age", "a dermoscopic image of a nevus on the back"),
        (MOLE, "label", "a dermoscopic image on the back of a 45 year old"),
        (MOLE, "label localization age", "a dermoscopic image"),
        (MOLE + " {sex}.", "age", "a dermoscopic image of a nevus on the back of a male."),
        (MOLE + " {sex}.", "sex", "a dermoscopic image of a nevus on the back of a 45 year old."),
        (MOLE + " {sex}.", "age sex", "a dermoscopic image of a nevus on the back."),
        ("{label}, {age} years old, {sex}", "label", "45 years old, male"),
        ("{label}, {age} years old, {sex}", "age", "nevus, male"),
        ("{label}, {age} years old, {sex}", "sex", "nevus, 45 years old"),
        ("{label}, {age} years old, {sex}", "label age sex", ""),
        ("a {view} x-ray of a {age}-year-old {sex} with {label}.", "age", "a PA x-ray of a male with nevus."),
        (
            "a {view} x-ray of a {age}-year-old {sex} with {label}.",
            "view",
            "a x-ray of a 45-year-old male with nevus.",
        ),
        ("a {view} x-ray of a {age}-year-old {sex} with {label}.", "age sex label", "a PA x-ray."),
        ("Age: {age}. Sex: {sex}. Finding: {label}.", "age label", "Sex: male."),
        ("Age: {age}, patient sex: {sex}", "age", "Patient sex: male"),
        ("chest x-ray {view}, {sex} patient", "view", "chest x-ray, male patient"),
        ("chest x-ray {view}, {sex} patient", "sex", "chest x-ray PA, patient"),
        ("In the style of {artist}, a {label}.", "artist", "A nevus."),
        ("In the style of {artist}, a {label}.", "label", "In the style of Monet."),
        ("a painting of {label} in the style of {artist}, {year}", "artist", "a painting of nevus, 2001"),
        ("a painting of {label} in the style of {artist}, {year}", "label artist year", "a painting"),
        ("{artist}'s painting of {label} and {place}", "artist", "painting of nevus and Rome"),
        ("{artist}'s painting of {label} and {place}", "label", "Monet's painting of Rome"),
        ("{artist}'s painting of {label} and {place}", "place", "Monet's painting of nevus"),
        ("a photo of a {label} and a {place}", "label", "a photo of a Rome"),
        ("a satellite image taken at {place} in {year}", "place", "a satellite image in 2001"),
        ("a satellite image taken at {place} in {year}", "place year", "a satellite image"),
        ("a {label} ({sex}, {age}) from {place}", "sex", "a nevus (45) from Rome"),
        ("a {label} ({sex}, {age}) from {place}", "sex age", "a nevus from Rome"),
        ("a {label} ({sex}, {age}) from {place}", "label", "from Rome"),
        ('a sketch titled "{place}" - {year}', "place", "a sketch - 2001"),
        ('a sketch titled "{place}" - {year}', "year", 'a sketch titled "Rome"'),
        ("The age is {age}. This image shows a {label}.", "age", "This image shows a nevus."),
        ("The age is {age}. This image shows a {label}.", "label", "The age is 45."),
        ("a map of {place}, {age}x{year} pixels", "age", "a map of Rome, 2001 pixels"),
        ("a map of {place}, {age}x{year} pixels", "age year", "a map of Rome"),
        ("{label},{place}", "label", "Rome"),
        ("a {sex} {age} years of age", "age", "a male"),
        ("an {label} apple", "label", "an apple"),
        ("an {label} cat", "label", "a cat"),
        ("a piece of art, {year}, {place}", "year", "a piece of art, Rome"),
    ],
)
def test_what_belongs_to_a_missing_value_goes_with_it(template: str, missing: str, expected: str) -> None:
    phrase = Phrase(template)
    assert phrase.fill({name: value for name, value in SHOWN.items() if name not in missing.split()}) == expected


@pytest.mark.parametrize("template", [MOLE, "a {view} view, {age} years old, of {label} and {place}; {sex}, {year}."])
def test_whatever_is_missing_the_other_values_stay_and_nothing_is_doubled(template: str) -> None:
    phrase = Phrase(template)
    for gone in chain.from_iterable(combinations(phrase.fields, n) for n in range(len(phrase.fields) + 1)):
        text = phrase.fill({name: SHOWN[name] for name in phrase.fields if name not in gone})
        for name in phrase.fields:
            assert (written(SHOWN[name]) in text) == (name not in gone), (gone, text)
        assert text == " ".join(text.split())
        assert not any(odd in text for odd in (" ,", ",,", "()", "( ", " ;", ";,", " ."))
        assert not text.startswith((",", ";", "and ", "of "))


def test_parts_in_brackets_stay_where_all_their_values_are() -> None:
    phrase = Phrase("[{sex}, ]{label}[ seen from {view} in {place}] [sic]")
    assert phrase.fill(SHOWN) == "male, nevus seen from PA in Rome [sic]"
    assert phrase.fill({**SHOWN, "place": None}) == "male, nevus [sic]"
    assert phrase.fill({"label": "nevus"}) == "nevus [sic]"
    assert phrase.fields == ["sex", "label", "view", "place"]


SPELLED = ["", "  ", "unknown", "Unknown", "NaN", "n/a", "N/A", "null", "-"]


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan"), *SPELLED, [], [None, ""]])
def test_values_that_are_missing(value: object) -> None:
    assert written(value) is None
    assert formatted(value, ".1f") is None
    assert Phrase("a nevus on the {place}").fill({"place": value}) == "a nevus"


def test_values_are_written_as_people_write_them() -> None:
    values = [45.0, np.float32(45), 45.5, 45, True, " back ", ["cat", "dog", None], np.int64(3), 0, 0.0, float("inf")]
    assert [written(value) for value in values] == ["45", "45", "45.5", "45", "True", "back", "cat, dog", "3", "0", "0", "inf"]
    assert [formatted(value, ".1f") for value in (45, "45", 45.25, "45.25")] == ["45.0", "45.0", "45.2", "45.2"]
    assert [formatted("7", "03d"), formatted("7.0", "03d"), formatted("ab", ">4")] == ["007", "007", "  ab"]


def test_a_form_is_of_one_place_only() -> None:
    assert Phrase("{age}, {age:.1f} and {age:03d}").fill({"age": 7}) == "7, 7.0 and 007"
    assert Phrase("{age}, {age:.1f}").fields == ["age"]


def test_columns_are_filled_row_by_row() -> None:
    columns = {
        "label": ["nevus", "melanoma", None],
        "age": [45.0, float("nan"), 3.0],
        "localization": ["unknown", "back", "back"],
        "x": [1, 2, 3],
    }
    assert Phrase(MOLE).fill_columns(columns) == [
        "a dermoscopic image of a nevus of a 45 year old",
        "a dermoscopic image of a melanoma on the back",
        "a dermoscopic image on the back of a 3 year old",
    ]
    del columns["localization"]
    assert Phrase(MOLE).fill_columns(columns)[0] == "a dermoscopic image of a nevus of a 45 year old"
    assert Phrase(MOLE).fill_columns({}) == []


def test_values_and_templates_may_hold_any_sign() -> None:
    phrase = Phrase("100 % {{sure}} of {a b.c}, {é}")
    assert phrase.fill({"a b.c": "{x} %s %", "é": "(and)"}) == "100 % {sure} of {x} %s %, (and)"
    assert phrase.fill({"é": ", of "}) == "100 % {sure}, , of"


def test_class_templates_are_told_from_phrases() -> None:
    assert [is_class_template(text) for text in ("a {}.", "{} {}", "a } {}")] == [True] * 3
    assert [is_class_template(text) for text in ("a {label}.", "{} {label}", "none", "{{}}")] == [False] * 4


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a photo", r"text 'a photo' names no column. Write {column} where"),
        ("a {} {label}", r"has {} where a column's name belongs"),
        ("a {label", r"cannot be read: .* Write {{ and }} for braces"),
        ("a {label!r}", r"{label} has more than a name and a format"),
        ("a {label:{age}}", r"{label} has more than a name and a format"),
    ],
)
def test_templates_that_cannot_be_meant_are_refused(template: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Phrase(template)


def test_a_column_that_does_not_exist_is_named() -> None:
    Phrase(MOLE).check(["label", "age", "localization", "sex"])
    with pytest.raises(ConfigError, match=r"names localization, which is no column. Did you mean location\?"):
        Phrase(MOLE).check(["label", "age", "location"])


def test_a_value_that_does_not_fit_its_form_is_named() -> None:
    with pytest.raises(DataError, match=r"column age holds 'old', which {age:.0f} of the text cannot write. Leave out :.0f."):
        Phrase("a {age:.0f} year old").fill_columns({"age": [3, "4", "old"]})


@pytest.mark.skipif(not MOLES.exists(), reason="needs shared/data/ham10000_96")
def test_the_captions_of_the_moles_come_out_of_their_columns() -> None:
    import pyarrow.parquet as pq

    names = ["label", "localization", "age", "sex", "caption"]
    columns = pq.read_table(MOLES, columns=names).to_pydict()
    made = Phrase(MOLE + " {sex}.").fill_columns(columns)
    whole = [i for i, row in enumerate(zip(*(columns[name] for name in names), strict=True)) if all(written(value) for value in row)]
    assert len(whole) > 6900
    assert [made[i].replace(" a actinic", " an actinic") for i in whole] == [columns["caption"][i] for i in whole]
    assert not any(word in text for text in made for word in ("unknown", "nan", "  ", " ."))
