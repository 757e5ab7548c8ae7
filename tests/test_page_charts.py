"""Charts: places are as the numbers, ticks are round, words are escaped, and what cannot be drawn is left out."""

import math
import re

import pytest
from page_reader import Reader

from cliptune.page.axes import Axis, scale_of
from cliptune.page.charts import Point, Series, chart
from cliptune.page.numbers import duration, percent, points, probability, short, signed

UNIT = Axis("x", low=0, high=1)


def test_points_lie_where_their_numbers_say() -> None:
    made = chart("t", [Series("a", [Point(0, 0.25), Point(0.5, 1.0, low=0.5, high=1.0)])], UNIT, UNIT)
    assert re.findall(r'd="([^"]+)" class="line t0 both"', str(made)) == ["M0.0 750.0L500.0 0.0"]
    assert re.findall(r'd="([^"]+)" class="point t0"', str(made)) == ["M0.0 750.0h.1", "M500.0 0.0h.1"]
    assert 'd="M500.0 500.0L500.0 0.0" class="interval t0"' in str(made)


def test_a_line_is_broken_where_there_is_no_number_and_equal_ratios_are_equally_far_apart() -> None:
    log = Axis("x", log=True, low=1, high=100)
    made = str(chart("t", [Series("a", [Point(1, 0), Point(10, 1), Point(20, math.nan), Point(0, 1), Point(100, 0)])], log, UNIT))
    assert re.findall(r'd="([^"]+)" class="line', made) == ["M0.0 1000.0L500.0 0.0"]
    assert made.count('class="point') == 3


def test_nothing_to_draw_is_no_chart() -> None:
    assert chart("t", [], UNIT, UNIT) is None
    assert chart("t", [Series("a", [Point(0, math.nan)])], UNIT, UNIT) is None


def test_words_of_a_chart_are_escaped_and_told_to_those_who_do_not_see_it() -> None:
    evil = "<script>alert(1)</script>"
    made = chart(evil, [Series(evil, [Point(0, 0)]), Series("b", [Point(1, 1, name=evil, label=evil)])], UNIT, UNIT, evil, [(0.5, evil)])
    read = Reader(str(made))
    assert (read.open, read.wrong) == ([], [])
    assert not [tag for tag, _ in read.tags if tag == "script"]
    svg = dict(next(given for tag, given in read.tags if tag == "svg"))
    described = [given["id"] for tag, given in read.tags if tag == "desc"]
    assert (svg["role"], svg["aria-label"], svg["aria-describedby"]) == ("img", evil, described[0])


def test_two_labels_in_one_place_do_not_stand_on_one_another() -> None:
    made = str(chart("t", [Series("", [Point(0.5, 0.5, label="a"), Point(0.5, 0.5, label="b")])], UNIT, UNIT))
    tops = [float(top) for top in re.findall(r'class="label" style="left:50.00%;top:([\d.]+)%', made)]
    assert tops[1] - tops[0] >= 7


@pytest.mark.parametrize(
    ("axis", "values", "told"),
    [
        (Axis("", "share"), [0.613, 0.842], ["65%", "70%", "75%", "80%", "85%"]),
        (Axis("", "share", low=0, high=1), [0.5], ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (Axis("", log=True), [8e3, 151e6], ["10k", "100k", "1M", "10M", "100M"]),
        (Axis("", "seconds", log=True), [3, 4000], ["10 s", "1 min", "10 min", "1 h"]),
        (Axis(""), [0, 1000], ["0", "200", "400", "600", "800", "1,000"]),
        (Axis(""), [0, 40_000], ["0", "10k", "20k", "30k", "40k"]),
        (Axis("", log=True), [1, 4], ["1", "1.5", "2", "3", "4"]),
        (Axis("", log=True, ticks=(1, 4)), [1, 4], ["1", "4"]),
        (Axis("", ticks=(1, 4)), [1, 4], ["1", "4"]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, values: list[float], told: list[str]) -> None:
    scale = scale_of(axis, values)
    assert [scale.told(tick) for tick in scale.ticks] == told
    assert scale.low <= min(values)
    assert scale.high >= max(values)


def test_one_value_alone_has_a_scale() -> None:
    for axis in (Axis(""), Axis("", "share"), Axis("", log=True)):
        assert 0 < scale_of(axis, [0.5]).place(0.5) < 1


def test_numbers_are_told_for_people() -> None:
    told = [percent(0.8243), points(0.0312), points(-0.02), points(0.00001), signed(-0.0123)]
    assert told == ["82.4%", "+3.1", "\u22122.0", "0.0", "\u22120.012"]
    assert [duration(s) for s in (0.25, 3.21, 59, 250, 7500)] == ["0.25 s", "3.2 s", "59 s", "4 min 10 s", "2 h 5 min"]
    assert [short(v) for v in (151_277_313, 12_345, 1234, 0.5)] == ["151M", "12.3k", "1,234", "0.5"]
    assert [probability(p) for p in (0.0001, 0.0321, 0.5)] == ["p < 0.001", "p = 0.032", "p = 0.50"]
