"""HTML from values: what is not made here is escaped; tables, bars and pictures are as their numbers."""

from cliptune.page.markup import bar, el, prose, table
from cliptune.page.pictures import Pictures


def test_only_what_is_made_here_is_markup() -> None:
    assert el("p", "<b>", [el("i", '"&'), None], title='a"b', data_v=3, hidden=True, class_=None) == (
        '<p title="a&quot;b" data-v="3" hidden>&lt;b&gt;<i>&quot;&amp;</i></p>'
    )
    assert prose("a `<k>` b") == "a <code>&lt;k&gt;</code> b"
    assert el("p", "\ud800\x00") == "<p>\ufffd\ufffd</p>"


def test_a_table_sorts_by_numbers_and_shows_words() -> None:
    made = table(("a", "b"), [((0.5, "50%"), "<x>")], sortable=True, numeric=(0,))
    assert '<td data-v="0.5" class="n">50%</td><td>&lt;x&gt;</td>' in made
    assert made.count('<button type="button">') == 2


def test_a_table_that_can_be_searched_says_what_for() -> None:
    made = table(("a",), [("x",), ("y",)], find="find <a>")
    assert '<input type="search" placeholder="find &lt;a&gt;" aria-label="find &lt;a&gt;"' in made
    assert "<output>2</output>" in made


def test_bars_are_as_long_as_their_numbers() -> None:
    assert 'style="width:25.00%"' in bar(0.25)
    assert 'style="left:10.00%;width:20.00%"' in bar(0.2, mark=(0.1, 0.3))


def test_pictures_end_where_the_room_does() -> None:
    shown = Pictures({"a": "A" * 60}, 100)
    assert (shown.has("a"), "img" in shown.image("a", "x"), shown.has("a")) == (True, True, False)
    assert "no room" in shown.image("a", "x")
    assert "cannot be shown" in shown.image("b", "x")
