"""Frozen towers' rows of images: one that cannot be read is named, has no row, and costs no run."""

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import pixels
from pair import Pair
from PIL import Image
from torch import Tensor

from cliptune.data.batches import Rows
from cliptune.data.columns import Columns
from cliptune.data.kept import cache
from cliptune.data.kept.cache import image_digests, image_tables
from cliptune.data.kept.filling import LOST, Encoder
from cliptune.data.kept.store import RowStore, digest
from cliptune.data.split import Split
from cliptune.data.views import ImageView
from cliptune.errors import DataError
from cliptune.images import decode
from cliptune.preprocess import Preprocess

pytest_plugins = ["stores_fixtures"]
PREPROCESS = Preprocess({"size": 8}, torch.tensor, trim=False)
TORN = b"\x89PNG\r\n\x1a\nno more"
BAD = {"gone": 2, "torn": 5, "torn again": 7}
COUNT = 10


def encode(images: Tensor) -> Tensor:
    return images.float().mean(dim=(2, 3))


ENCODER = Encoder({"tower": "image"}, encode, (3,))


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Ten images, of which one is not there, and two, which are alike, are none."""
    found = [tmp_path / f"{i}.png" for i in range(COUNT)]
    for i, file in enumerate(found):
        Image.fromarray(pixels(12, 12, i)).save(file)
    found[BAD["gone"]].unlink()
    for name in ("torn", "torn again"):
        found[BAD[name]].write_bytes(TORN)
    return [str(file) for file in found]


def rows_of(paths: list[str]) -> Rows:
    table = datasets.Dataset.from_dict({"image": paths, "label": ["a"] * len(paths)})
    return Rows([Split(table, Columns("image", None, "label"), [Path()], "made")])


def tables(folder: Path, paths: list[str], views: int) -> tuple[list[Tensor], dict[int, str]]:
    found = image_tables(RowStore(folder, 1), ENCODER, rows_of(paths), ImageView(PREPROCESS, views, (0.9, 1.0), 0.0, 0), 0, 1.0)
    return [table[:] for table in found], found.bad


def check(found: tuple[list[Tensor], dict[int, str]], paths: list[str], views: int) -> None:
    rows, bad = found
    assert sorted(bad) == sorted(BAD.values())
    assert bad[BAD["gone"]] == "No such file or directory"
    assert bad[BAD["torn"]] == bad[BAD["torn again"]] == "it is no image of a known kind"
    assert len(rows) == max(views, 1)
    for i in set(range(COUNT)) - set(bad):
        if views == 0:
            torch.testing.assert_close(rows[0][i], encode(PREPROCESS.eval(decode(paths[i]))[None])[0])


@pytest.mark.parametrize("views", [0, 2])
def test_images_that_cannot_be_read_are_named_and_the_others_have_their_rows(store: RowStore, paths: list[str], views: int) -> None:
    for _ in range(2):  # computed, and found
        check(tables(store.folder, paths, views), paths, views)
    assert [shelf.rows for shelf in store.shelves()] == [COUNT - len(BAD)] * max(views, 1)


def test_both_processes_know_them(pair: Pair, store: RowStore, paths: list[str]) -> None:
    for found in pair(tables, store.folder, paths, 0):
        check(found, paths, 0)


def test_without_any_image_there_is_no_table(store: RowStore, paths: list[str]) -> None:
    assert tables(store.folder, [paths[i] for i in BAD.values()], 0)[0] == []


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_digests_are_those_of_the_bytes_and_of_what_is_not_there_none(
    paths: list[str], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "AT_ONCE", at_once)
    seen: list[bytes] = []
    found, lost = image_digests(rows_of(paths), seen.append)
    assert lost == {BAD["gone"]: "No such file or directory"}
    assert found[BAD["gone"]] == LOST
    whole = [Path(path).read_bytes() for i, path in enumerate(paths) if i not in lost]
    assert sorted(seen) == sorted(whole)
    assert [bytes(one) for i, one in enumerate(found.view("V16")) if i not in lost] == [digest(data) for data in whole]


def test_a_tower_that_gives_other_rows_is_an_error(store: RowStore, paths: list[str]) -> None:
    wrong: Any = Encoder({"tower": "image"}, encode, (4,))
    with pytest.raises(DataError, match=r"gives rows \(3,\), not \(4,\)\. Set data\.cache to false"):
        image_tables(store, wrong, rows_of(paths[:2]), ImageView(PREPROCESS, 0, (0.9, 1.0), 0.0, 0), 0, 1.0)
