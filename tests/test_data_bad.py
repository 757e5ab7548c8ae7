"""What takes the place of images that cannot be read, and the list of them."""

from pathlib import Path

import pandas as pd
import pytest

from cliptune.data.bad import Bad, BadSamples, Item, readable
from cliptune.data.batches import FILL
from cliptune.data.split import Row
from cliptune.errors import DataError

BAD = [Bad("train", 7, "a,b.png", 'the file is "empty"'), Bad("test", 7, "c.png", "it is no image\nof a known kind")]


def batch(size: int) -> list[Item]:
    return [(2, 10 + i, Row(f"{i}.png", [f"text {i}"], None, f"{i}.png")) for i in range(size)]


class Load:
    """Gives an item's number, or cannot."""

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __call__(self, item: Item) -> int:
        if item[1] - 10 in self.bad:
            raise DataError(f"cannot decode the image {item[2].key}: it is no image. Mend it, or take its row out of the data.")
        return item[1]


def test_a_batch_that_can_be_read_is_as_it_was() -> None:
    items = batch(3)
    assert readable(items, Load(), "train") == ([10, 11, 12], items, [])


def test_in_training_others_of_the_batch_take_the_places_in_turn() -> None:
    items = batch(8)
    loaded, kept, bad = readable(items, Load(0, 1, 2, 4, 6), "train")
    assert loaded == [item[1] for item in kept]
    assert [loaded[i] for i in (3, 5, 7)] == [13, 15, 17]
    assert sorted(loaded.count(good) for good in (13, 15, 17)) == [2, 3, 3]
    assert [item[0] for item in kept] == [2] * 8
    assert bad == [Bad("train", 10 + i, f"{i}.png", "it is no image") for i in (0, 1, 2, 4, 6)]
    assert readable(items, Load(0, 1, 2, 4, 6), "train")[1] == kept


def test_in_evaluation_places_stay_and_do_not_count() -> None:
    loaded, kept, bad = readable(batch(3), Load(1), "test", lambda: 0)
    assert loaded == [10, 0, 12]
    assert [(epoch, number) for epoch, number, _ in kept] == [(2, 10), (FILL, 11), (2, 12)]
    assert [one.split for one in bad] == ["test"]
    assert readable(batch(2), Load(0, 1), "test", lambda: 0)[0] == [0, 0]


def test_a_training_batch_without_any_image_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^none of the 2 images of a batch can be read\. The first: 0\.png: it is no image\.$"):
        readable(batch(2), Load(0, 1), "train")


def test_the_list_holds_each_image_once_and_goes_on_with_what_is_there(tmp_path: Path) -> None:
    first = BadSamples(tmp_path / "run" / "bad_samples.csv")
    assert first.add(BAD) == BAD
    assert first.add(BAD) == []
    again = BadSamples(first.file)
    assert again.found == first.found
    more = Bad("validation", 1, "d.png", "gone")
    assert again.add([BAD[0], more]) == [more]
    table = pd.read_csv(first.file)
    assert list(table.columns) == ["split", "row", "path", "reason"]
    assert [Bad(*row) for row in table.itertuples(index=False, name=None)] == [*BAD, more]
    assert [again.count(split) for split in ("train", "validation", "test")] == [1, 1, 1]


def test_a_list_that_a_kill_cut_off_is_whole_again(tmp_path: Path) -> None:
    file = tmp_path / "bad_samples.csv"
    BadSamples(file).add([Bad("train", i, f"{i}.png", "gone") for i in range(3)])
    file.write_bytes(file.read_bytes()[:-4])
    found = BadSamples(file)
    assert found.count("train") == 2
    found.add([Bad("train", 9, "9.png", "gone")])
    assert pd.read_csv(file)["row"].tolist() == [0, 1, 9]


def test_a_process_that_does_not_write_knows_them_too(tmp_path: Path) -> None:
    found = BadSamples(tmp_path / "bad_samples.csv")
    assert found.add(BAD, write=False) == BAD
    assert not found.file.exists()
    assert found.count("train") == 1


def test_more_than_max_bad_stops_with_the_first_and_the_way_out(tmp_path: Path) -> None:
    found = BadSamples(tmp_path / "bad_samples.csv")
    found.add([Bad("train", i, f"{i}.png", "the file is empty") for i in range(2)])
    found.check("train", 200, 0.01)
    found.check("test", 20, 0.0)
    with pytest.raises(DataError) as caught:
        found.check("train", 100, 0.01)
    assert str(caught.value) == (
        f"2 of the 100 images of train (2.0%) cannot be read, more than max_bad 1.0%: 0.png: the file is empty; all are in {found.file}. "
        "Mend them, take their rows out, or go on without them: data.max_bad: 0.05."
    )


@pytest.mark.parametrize(("bad", "rows", "way"), [(1, 20, "0.1"), (1, 200, "0.02"), (9, 10, "1"), (10, 10, "1")])
def test_the_way_out_is_a_share_that_suffices(tmp_path: Path, bad: int, rows: int, way: str) -> None:
    found = BadSamples(tmp_path / "bad_samples.csv")
    found.add([Bad("test", i, f"{i}.png", "gone") for i in range(bad)])
    with pytest.raises(DataError, match=f"data.max_bad: {way}[.]$"):
        found.check("test", rows, 0.0)
    found.check("test", rows, float(way))
