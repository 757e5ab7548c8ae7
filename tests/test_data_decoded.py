"""Decoded images that are kept: the same crops as of the files, small ones to the bit; each decoded once; bad ones named."""

import io
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import pixels
from pair import Pair
from PIL import Image
from torch import Tensor

from cliptune.augment import PRESETS
from cliptune.data.batches import Rows
from cliptune.data.columns import Columns
from cliptune.data.kept import decoded
from cliptune.data.kept.decoded import DecodedImages, decoded_images, kept_box, shrunk
from cliptune.data.kept.store import RowStore
from cliptune.data.split import Split
from cliptune.errors import DataError
from cliptune.images import decode
from cliptune.preprocess import Preprocess

pytest_plugins = ["stores_fixtures"]
PREPROCESS = Preprocess({"size": 16}, torch.tensor, trim=False)
SMALL = [(16, 16), (9, 30), (1, 40), (20, 12)]  # of no more pixels than are kept for an input of 16
LARGE = [(60, 80), (200, 50)]
SCALE = (0.5, 1.0)
TORN = b"\x89PNG\r\n\x1a\nno more"
Said = Callable[[], list[str]]


def png(height: int, width: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(height, width, height)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(images: list[Any]) -> Rows:
    table = datasets.Dataset.from_dict({"image": images, "label": ["a"] * len(images)})
    return Rows([Split(table, Columns("image", None, "label"), [Path()], "made")])


def kept(store: RowStore, images: list[Any], **options: Any) -> DecodedImages:
    found = decoded_images(store, rows_of(images), PREPROCESS, options.pop("workers", 0), **options)
    assert found is not None
    return found


def train_view(found: DecodedImages, number: int, rng: np.random.Generator, preset: str) -> Tensor:
    """As `Preprocess.train`, of what is kept."""
    cut = found.cut(number, lambda height, width: PREPROCESS.draw_box(height, width, rng, SCALE, preset))
    return PREPROCESS.finish(cut, rng, SCALE, 0.5, preset)


def views(found: DecodedImages, images: list[bytes], preset: str = "clip") -> list[tuple[Tensor, Tensor]]:
    """A view of each image from what is kept, and one from the file, by generators that must stay together."""
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    pairs = []
    for i, data in enumerate(images):
        ours = train_view(found, i, one, preset)
        pairs.append((ours, PREPROCESS.train(decode(data), other, SCALE, 0.5, preset)))
        assert one.bit_generator.state == other.bit_generator.state
    return pairs


@pytest.mark.parametrize("preset", PRESETS)
def test_views_of_small_images_are_the_same_to_the_bit(store: RowStore, preset: str) -> None:
    images = [png(*size, mode=mode) for size in SMALL for mode in ("RGB", "P", "L")] * 3
    for ours, files in views(kept(store, images, scale=SCALE), images, preset):
        assert ours.shape == (3, 16, 16)
        assert torch.equal(ours, files)


def test_views_of_large_images_show_the_same_part(store: RowStore) -> None:
    across = [np.stack(np.broadcast_arrays(np.arange(h)[:, None], np.arange(w), 0), -1).astype(np.uint8) for h, w in LARGE * 5]
    images = []
    for picture in across:  # red says how far down a pixel was, green how far to the right
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        images.append(buffer.getvalue())
    found = kept(store, images, scale=SCALE)
    assert found.image(0)[1] == LARGE[0]
    assert found.image(0)[0].shape == (3, 21, 28)
    for i, (ours, files) in enumerate(views(found, images)):
        step = LARGE[i % 2][0] / found.image(i)[0].shape[1]  # pixels of the file for one that is kept
        assert (ours.float() - files.float()).abs().mean(dim=(1, 2)).max() < step / 2 + 0.5


def test_a_box_is_taken_to_the_nearest_pixels_and_is_never_empty() -> None:
    assert kept_box((10, 20, 50, 60), (100, 200), (50, 50)) == (5, 5, 25, 15)
    assert kept_box((0, 0, 100, 200), (100, 200), (7, 13)) == (0, 0, 7, 13)
    assert kept_box((99, 199, 1, 1), (100, 200), (10, 10)) == (9, 9, 1, 1)
    assert kept_box((3, 4, 5, 6), (20, 30), (20, 30)) == (3, 4, 5, 6)


@pytest.mark.parametrize("size", [(1, 90_000), (90_000, 1), (300, 500), (4, 30_000), (30, 30)])
def test_what_is_kept_has_no_more_pixels_than_asked_and_the_images_shape(size: tuple[int, int]) -> None:
    image = torch.zeros(3, *size, dtype=torch.uint8)
    height, width = shrunk(image, 1024, PREPROCESS).shape[1:]
    assert 0 < height * width <= 1024
    assert size != (300, 500) or (height, width) == (24, 41)
    assert size != (30, 30) or (height, width) == size


def test_sprites_take_no_more_room_than_they_need(store: RowStore) -> None:
    wide = Preprocess({"size": 224}, torch.tensor, trim=False)
    assert decoded_images(store, rows_of([png(32, 32), png(8, 8)]), wide, 0) is not None
    assert store.shelves()[0].size < 2 * (decoded.HEADER + 3 * 1024) + 2_000
    assert decoded_images(store, rows_of([png(400, 500)]), wide, 0) is not None
    assert max(shelf.size for shelf in store.shelves()) < 1.7 * 3 * 224**2


def test_an_image_is_decoded_once_for_all_runs_and_splits(store: RowStore, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    images = [png(20 + i, 31) for i in range(6)]
    first = kept(store, images)
    assert "cached: the pixels of 6 images, 6 computed" in said()[-1]
    monkeypatch.setattr(Preprocess, "decode", None)
    again = kept(store, images[::-1] + images[:1])
    assert "7 images, all there already" in said()[-1]
    assert len(again) == 7
    assert torch.equal(again.image(1)[0], first.image(4)[0])


def test_other_sizes_of_input_crops_and_backgrounds_are_other_rows(store: RowStore) -> None:
    images = [png(60, 60)]
    for side, scale in ((16, (0.9, 1.0)), (16, (0.5, 1.0)), (20, (0.9, 1.0))):
        assert decoded_images(store, rows_of(images), Preprocess({"size": side}, torch.tensor, trim=False), 0, scale) is not None
    assert decoded_images(store, rows_of(images), Preprocess({"size": 16}, torch.tensor, trim=False, background="black"), 0) is not None
    assert [shelf.rows for shelf in store.shelves()] == [1, 1, 1, 1]


def test_what_cannot_be_read_is_named_and_the_others_are_there(store: RowStore, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(18, 18))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "torn.png").write_bytes(TORN)
    (tmp_path / "again.png").write_bytes(TORN)
    paths = [str(tmp_path / f"{name}.png") for name in ("a", "gone", "empty", "torn", "a", "again")]
    for _ in range(2):  # computed, and found
        found = kept(store, paths)
        assert sorted(found.bad) == [1, 2, 3, 5]
        assert found.bad[1] == "No such file or directory"
        assert found.bad[2] == "the file is empty"
        assert found.bad[5] == found.bad[3]
        for i in (0, 4):
            assert torch.equal(found.image(i)[0], decode(paths[0]))
        with pytest.raises(DataError, match="the file is empty"):
            found.image(2)
        with pytest.raises(DataError, match="No such file"):
            found.cut(1, lambda height, width: (0, 0, height, width))
    Image.fromarray(pixels(9, 9)).save(tmp_path / "torn.png")  # mended
    assert sorted(kept(store, paths).bad) == [1, 2, 5]


def test_where_nothing_can_be_read_nothing_is_kept(store: RowStore, tmp_path: Path) -> None:
    assert decoded_images(store, rows_of([str(tmp_path / "gone.png"), b"\x89PNG"]), PREPROCESS, 0) is None
    assert decoded_images(store, rows_of([TORN]), PREPROCESS, 0) is None


def test_without_room_it_is_none_and_a_line_says_so(store: RowStore, said: Said) -> None:
    store.limit_gb = 1e-9
    assert decoded_images(store, rows_of([png(20, 20)]), PREPROCESS, 0) is None
    assert "do not fit in the cache" in said()[-1]


def test_worker_processes_make_and_read_it(store: RowStore) -> None:
    images = [png(12, 20 + i) for i in range(3)]
    found = kept(store, images, workers=1)
    again = pickle.loads(pickle.dumps(found))
    for i, data in enumerate(images):
        assert torch.equal(again.image(i)[0], decode(data))


def both(folder: Path, paths: list[str]) -> tuple[dict[int, str], list[Any], list[str]]:
    logging.getLogger("cliptune").setLevel(logging.INFO)
    found = decoded_images(RowStore(folder, 1), rows_of(paths), PREPROCESS, 0)
    assert found is not None
    good = [i for i in range(len(paths)) if i not in found.bad]
    return found.bad, [found.image(i)[0].sum().item() for i in good], [str(i) for i in good]


def test_both_processes_know_what_either_could_not_read(pair: Pair, store: RowStore, tmp_path: Path) -> None:
    paths = []
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(TORN + bytes([i]) if i in (2, 5) else png(12, 20 + i))
        paths.append(str(tmp_path / f"{i}.png"))
    (tmp_path / "6.png").unlink()
    one, other = pair(both, store.folder, paths)
    assert one == other
    assert sorted(one[0]) == [2, 5, 6]
    assert one[1] == [decode(paths[i]).sum().item() for i in range(9) if i not in one[0]]
