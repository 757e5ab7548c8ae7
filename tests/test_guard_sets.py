"""What a config says under `guard`: a path, a map, or a list of these; each set with a name of its own; mistakes in one line."""

from pathlib import Path
from typing import Any

import pytest

from cliptune.errors import ConfigError
from cliptune.guard_sets import GuardSet, guard_sets


def test_a_path_a_map_and_a_list_are_sets() -> None:
    assert guard_sets(None) == []
    assert guard_sets("a/photos.parquet") == [GuardSet("a/photos.parquet", name="photos")]
    assert guard_sets({"path": "digits", "images": 30}) == [GuardSet("digits", name="digits", images=30)]
    assert [one.name for one in guard_sets(["x/cats.csv", {"path": "y/dogs.csv", "name": "hounds"}])] == ["cats", "hounds"]


def test_names_are_distinct_and_say_what_the_data_is(tmp_path: Path) -> None:
    names = [one.name for one in guard_sets(["a/cats.csv", "b/cats.csv", {"path": "c.csv", "name": "cats"}])]
    assert names == ["cats-2", "cats-3", "cats"]
    names = [one.name for one in guard_sets(["flickr8k/data.parquet", "owner/hub-id", "./x/{000..003}.tar", "my photos"])]
    assert names == ["flickr8k", "hub-id", "000..003", "my_photos"]
    (tmp_path / "pets.v2").mkdir()
    assert guard_sets(str(tmp_path / "pets.v2"))[0].name == "pets.v2"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([3], "guard: 3 is no set. Write a path, or a map"),
        ({"path": "a", "imags": 3}, "guard: there is no key imags. Did you mean images?"),
        ({"images": 3}, "guard: a set has no path"),
        ({"path": "a", "images": 0}, "guard a: images 0 is no number of images. Take 1000."),
        ({"path": "a", "images": "many"}, "guard a: images 'many' is no number of images"),
        ({"path": "a", "split": "tset"}, "guard a: split 'tset' is not known. Did you mean test?"),
        ({"path": "a", "name": "a/b"}, "guard a: name 'a/b' becomes part of metrics"),
        ([{"path": "a", "name": "x"}, {"path": "b", "name": "x"}], "guard: two sets have the name x"),
        ([""], "guard: path '' is no path"),
    ],
)
def test_a_mistake_names_the_value_and_the_way_out(given: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        guard_sets(given)
    assert str(found.value).startswith(expected)
    assert "\n" not in str(found.value)
