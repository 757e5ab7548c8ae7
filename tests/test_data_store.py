"""The row store: what names a shelf, where shelves are, and which of them go when there is no more room."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stores import ABOUT, SHAPE, fill, items

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore, default_folder, default_limit_gb, digest, digests_of
from cliptune.errors import ConfigError

pytest_plugins = ["stores_fixtures"]


# Keys and places


def test_a_digest_is_that_of_b2sum() -> None:
    assert digest(b"cliptune").hex() == "ccb8298c7878015dbb7fe74d27683761"  # printf cliptune | b2sum -l 128
    assert digests_of([b"cliptune", b""]).tobytes() == digest(b"cliptune") + digest(b"")
    assert digests_of([]).shape == (0,)


def test_the_folder_and_the_limit_are_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CLIPTUNE_CACHE", "XDG_CACHE_HOME", "CLIPTUNE_CACHE_GB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (default_folder(), default_limit_gb()) == (tmp_path / ".cache" / "cliptune", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # "must be absolute ... should consider the path invalid", XDG base directories 0.8
    assert default_folder() == tmp_path / ".cache" / "cliptune"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "cliptune"
    monkeypatch.setenv("CLIPTUNE_CACHE", "~/mine")
    monkeypatch.setenv("CLIPTUNE_CACHE_GB", "1.5")
    assert (RowStore().folder, RowStore().limit_gb) == (tmp_path / "mine", 1.5)
    for value in ("much", "-1", "nan"):
        monkeypatch.setenv("CLIPTUNE_CACHE_GB", value)
        with pytest.raises(ConfigError, match=f"CLIPTUNE_CACHE_GB is {value}, but must be .* Take 20"):
            RowStore()


def test_what_the_rows_depend_on_names_the_shelf(store: RowStore) -> None:
    shelf = store.shelf(ABOUT, SHAPE)
    assert store.shelf(dict(reversed(ABOUT.items())), SHAPE).folder == shelf.folder
    others = [store.shelf({**ABOUT, key: "other"}, SHAPE) for key in ABOUT]
    others += [store.shelf(ABOUT, (5, 3)), store.shelf(ABOUT, SHAPE, "float16")]
    assert len({shelf.folder, *(other.folder for other in others)}) == len(others) + 1
    fill(shelf, items(0, 2))
    assert json.loads((shelf.folder / "about.json").read_text(encoding="utf-8"))["about"] == ABOUT


# Bounds


@pytest.fixture
def three(store: RowStore) -> list[Shelf]:
    """Shelves of 1,000 rows, used one, two and three hours ago, the second one the longest ago."""
    shelves = [store.shelf({**ABOUT, "view": str(i)}, SHAPE) for i in range(3)]
    for shelf, hours in zip(shelves, (2, 3, 1), strict=True):
        fill(shelf, items(0, 1_000))
        os.utime(shelf.folder / "used", (time.time() - hours * 3600,) * 2)
    return shelves


def there(shelves: list[Shelf]) -> list[bool]:
    return [shelf.folder.exists() for shelf in shelves]


def sizes(store: RowStore) -> int:
    return sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file() and file.parent.name != "locks")


def test_the_least_recently_used_are_removed_and_no_more_than_needed(store: RowStore, three: list[Shelf]) -> None:
    assert [shelf.about["view"] for shelf in store.shelves()] == ["1", "0", "2"]
    assert [shelf.rows for shelf in store.shelves()] == [1_000] * 3
    assert sum(shelf.size for shelf in store.shelves()) == sizes(store)
    store.limit_gb = (sizes(store) + 100) / 1e9
    assert store.make_room(100)
    assert there(three) == [True, True, True]
    assert store.make_room(101)
    assert there(three) == [True, False, True]
    assert store.make_room(80_000)
    assert there(three) == [False, False, True]


def test_use_is_what_counts(store: RowStore, three: list[Shelf]) -> None:
    three[1].table(items(0, 1))
    store.limit_gb = sizes(store) / 1e9
    assert store.make_room(1)
    assert there(three) == [False, True, True]


def test_what_is_in_use_stays_and_without_room_nothing_goes(
    kind: str, store: RowStore, three: list[Shelf], said: Callable[[], list[str]]
) -> None:
    table = three[0].table(items(0, 1))
    store.limit_gb = sizes(store) / 1e9
    with three[1].lock():
        assert store.make_room(50_000)  # the third, though it was used last
        assert there(three) == [True, True, False]
        assert not store.make_room(123_456)
        assert there(three) == [True, True, False]
    assert len(said()) == 2
    for part in ("123,456 bytes", str(store.folder), f"{store.limit_gb:g} GB", "goes on without", "Raise CLIPTUNE_CACHE_GB"):
        assert part in said()[1]
    assert store.make_room(123_456)
    assert there(three) == [True, False, False]
    assert not store.make_room(200_000)
    del table
    assert store.make_room(200_000)
    assert there(three) == [False, False, False]


def test_another_process_keeps_what_it_uses(
    kind: str, store: RowStore, shelf: Shelf, three: list[Shelf], other: Callable[[str], subprocess.Popen[str]]
) -> None:
    fill(shelf, items(0, 1_000))
    os.utime(shelf.folder / "used", (0, 0))
    other(kind)
    store.limit_gb = sizes(store) / 1e9
    assert store.make_room(1)
    assert there([shelf, *three]) == [True, True, False, True]


def test_no_limit_of_zero_is_passed(store: RowStore, shelf: Shelf) -> None:
    store.limit_gb = 0
    with shelf.lock():
        assert not store.make_room(1)


def test_clear_goes_by_age_and_leaves_what_is_not_ours(store: RowStore, three: list[Shelf]) -> None:
    (three[0].folder / "notes.txt").write_text("mine")
    (store.folder / "photos").mkdir()
    (store.folder / "photos" / "rows.bin").write_bytes(b"mine")
    assert store.clear(older_than=1) == ([], [])
    removed, in_use = store.clear(older_than=2.5 / 24)
    assert ([shelf.about["view"] for shelf in removed], in_use) == (["1"], [])
    assert [shelf.about["view"] for shelf in store.clear()[0]] == ["0", "2"]
    kept = {path.relative_to(store.folder).as_posix() for path in store.folder.rglob("*") if path.is_file() and "locks" not in path.parts}
    assert kept == {f"{three[0].folder.name}/notes.txt", "photos/rows.bin"}
