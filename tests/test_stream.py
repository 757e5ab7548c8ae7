"""From images to rows by threads: the same rows, in order, in bounded memory, and nothing left behind."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import pixels
from PIL import Image
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.image_sources import Item
from cliptune.images import decode
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.stream import AHEAD, Encoded, encode

Picture = Callable[[str], Path]
WAIT = 30.0  # seconds until a test that is stuck fails


@pytest.fixture(scope="module")
def model(tiny: dict[str, str]) -> AdaptedCLIP:
    """An untouched ViT; read-only."""
    backbone, method = Backbone(tiny["vit"]).eval(), Full()
    method.attach(backbone, ClassTexts([], [], backbone.preprocess))
    return AdaptedCLIP(backbone, method, {"class_names": [], "class_texts": []})


def as_items(images: Iterable[Any]) -> list[Item]:
    return [Item(f"image {i}", image, "") for i, image in enumerate(images)]


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def joined(batches: Iterable[Encoded]) -> tuple[list[str], Tensor]:
    found = list(batches)
    return [item.name for batch in found for item in batch.items], torch.cat([batch.rows for batch in found])


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2), (64, 4)])
def test_rows_are_those_of_encode_images_in_order(model: AdaptedCLIP, picture: Picture, batch_size: int, workers: int) -> None:
    files = [picture(f"{i}.png") for i in range(8)]
    images = [*files[:3], *(file.read_bytes() for file in files[3:6]), *(Image.open(file) for file in files[6:])]
    names, rows = joined(encode(model, as_items(images), batch_size, workers))
    assert names == [f"image {i}" for i in range(8)]
    torch.testing.assert_close(rows, model.encode_images(files), atol=1e-6, rtol=0)


def test_order_is_kept_where_the_first_image_takes_longest(model: AdaptedCLIP, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    data = [picture(f"{i}.png").read_bytes() for i in range(4)]
    last = threading.Event()

    def slow_at_first(given: bytes, name: str = "") -> Tensor:
        if name == "image 0":
            assert last.wait(WAIT)
        elif name == "image 3":
            last.set()
        return decode(given, name)

    monkeypatch.setattr(model.backbone.preprocess, "decode", slow_at_first)
    names, rows = joined(encode(model, as_items(data), 4, 2))
    assert names == [f"image {i}" for i in range(4)]
    torch.testing.assert_close(rows, model.encode_images(data), atol=1e-6, rtol=0)


def test_as_many_threads_decode_at_once_as_workers(model: AdaptedCLIP, picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(3, timeout=WAIT)
    cores = []

    def meet(data: bytes, name: str = "") -> Tensor:
        meeting.wait()
        cores.append(torch.get_num_threads())
        return decode(data, name)

    monkeypatch.setattr(model.backbone.preprocess, "decode", meet)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(encode(model, as_items([picture("a.png").read_bytes()] * 6), 6, 3))
        assert (cores, torch.get_num_threads()) == ([1] * 6, 2)
        told: list[int] = []
        thread = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert told == [2], "later threads begin with what was set before"
    finally:
        torch.set_num_threads(before)


def test_what_cannot_be_decoded_is_named_and_the_rest_goes_on(model: AdaptedCLIP, picture: Picture, tmp_path: Path) -> None:
    good, flat = picture("a.png"), Image.new("RGB", (0, 5))
    half = good.read_bytes()[:60]
    batches = list(encode(model, as_items([b"hello", good, tmp_path / "gone.png", half, Image.open(good), b"", flat]), 3, 2))
    assert [[item.name for item in batch.items] for batch in batches] == [["image 1"], ["image 4"], []]
    assert [tuple(batch.rows.shape) for batch in batches] == [(1, 24), (1, 24), (0, 24)]
    why = dict(failure for batch in batches for failure in batch.failures)
    assert list(why) == ["image 0", "image 2", "image 3", "image 5", "image 6"]
    assert why["image 0"].startswith("cannot decode the image image 0: it is no image of a known kind.")
    assert why["image 2"] == "cannot read the image image 2: No such file or directory."
    assert "the file is empty" in why["image 5"]
    assert why["image 6"].startswith("cannot prepare the image image 6: ")
    assert all("\n" not in text for text in why.values())
    torch.testing.assert_close(batches[0].rows, model.encode_images([good]), atol=1e-6, rtol=0)


class Alive:
    """Counts tensors that are alive, and the most that ever were."""

    def __init__(self) -> None:
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def seen(self, tensor: Tensor) -> Tensor:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        weakref.finalize(tensor, self.gone)
        return tensor

    def gone(self) -> None:
        with self.lock:
            self.now -= 1


def test_memory_does_not_grow_with_the_number_of_images(model: AdaptedCLIP, monkeypatch: pytest.MonkeyPatch) -> None:
    count, batch_size, workers = 300, 4, 2
    whole, ready, drawn = Alive(), Alive(), 0
    prepare = model.backbone.preprocess.eval
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    monkeypatch.setattr(model.backbone.preprocess, "decode", lambda data, name: whole.seen(image.clone()))
    monkeypatch.setattr(model.backbone.preprocess, "eval", lambda pixels: ready.seen(prepare(pixels)), raising=False)

    def items() -> Iterator[Item]:
        nonlocal drawn
        for i in range(count):
            drawn += 1
            yield Item(str(i), b"", "")

    for done, batch in enumerate(encode(model, items(), batch_size, workers), start=1):
        assert len(batch.rows) == batch_size
        assert drawn <= (done + AHEAD - 1) * batch_size + 1
    assert done == count // batch_size
    assert 1 <= whole.most <= workers + 1  # a thread may begin on the next while it hands on the last
    assert batch_size <= ready.most <= AHEAD * batch_size + 1
    assert (whole.now, ready.now) == (0, 0)


def test_threads_end_with_the_stream_and_with_a_consumer_that_stops_early(model: AdaptedCLIP, picture: Picture) -> None:
    data = as_items([picture("a.png").read_bytes()] * 12)
    assert decoders() == []
    stopped = encode(model, data, 2, 3)
    next(stopped)
    assert decoders()
    stopped.close()
    assert decoders() == []
    for _ in encode(model, data, 2, 3):
        break
    assert decoders() == []
    assert len(list(encode(model, data, 2, 3))) == 6
    assert decoders() == []


@pytest.mark.parametrize("where", ["items", "model"])
def test_an_error_comes_out_and_the_threads_end(model: AdaptedCLIP, picture: Picture, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    data = as_items([picture("a.png").read_bytes()] * 12)

    def items() -> Iterator[Item]:
        yield from data[:8]
        if where == "items":
            raise KeyError("broken")
        yield from data[8:]

    def broken(pixels: Tensor) -> Tensor:
        raise KeyError("broken")

    if where == "model":
        monkeypatch.setattr(model, "encode_pixels", broken)
    with pytest.raises(KeyError, match="broken"):
        list(encode(model, items(), 2, 2))
    assert decoders() == []


def test_nothing_is_read_before_it_is_wanted(model: AdaptedCLIP) -> None:
    drawn: list[int] = []

    def items() -> Iterator[Item]:
        for i in range(100):
            drawn.append(i)
            yield Item(str(i), Image.fromarray(pixels(8, 8)), "")

    batches = encode(model, items(), 2, 1)
    assert drawn == []
    assert len(list(islice(batches, 2))) == 2
    assert len(drawn) <= 3 * AHEAD
    batches.close()
    assert list(encode(model, [], 2, 1)) == []


@pytest.mark.parametrize(("batch_size", "workers", "message"), [(0, 1, "batch_size 0"), (1, 0, "workers 0")])
def test_numbers_that_cannot_be_are_refused_at_once(model: AdaptedCLIP, batch_size: int, workers: int, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message} is not positive\. Take \d+\.$"):
        encode(model, [], batch_size, workers)
