"""The same image twice: files, resized, recompressed and cropped copies, across splits, and what only looks alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from broken import encoded
from PIL import Image

from cliptune.data.split import Row
from cliptune.doctor.alike import candidates, near_pairs
from cliptune.doctor.duplicates import find_duplicates
from cliptune.doctor.findings import Duplicates
from cliptune.doctor.gathered import Images, SplitRows
from cliptune.doctor.image_facts import look_at
from cliptune.doctor.signatures import differing

REAL = Path(__file__).parents[2] / "shared" / "data"


def found(
    **splits: list[bytes],
) -> Duplicates:
    """The duplicates of images of splits; the label of a row is `cat` in every split but test."""
    images, rows = Images(sum(map(len, splits.values()))), {}
    for name, files in splits.items():
        rows[name] = SplitRows(
            name, [f"{name}:{i}" for i in range(len(files))], [[] for _ in files], [("dog" if name == "test" else "cat",)] * len(files)
        )
        images.add(look_at(name, range(len(files)), [Row(data, [], "cat", f"{name}:{i}") for i, data in enumerate(files)], 64))
    return find_duplicates(images, rows)


def photo(seed: int) -> Image.Image:
    """Noise with the spectrum of photographs, amplitude falling with frequency (Field 1987), 128 x 96."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(128)[None])
    frequency[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, 96, 128))) / frequency**1.2).real
    field = field[:1] + 0.4 * field  # the colours go together
    return Image.fromarray((128 + 50 * field / field.std()).clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height)))


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "recompressed": lambda image: encoded(image, "JPEG", quality=40),
    "halved": lambda image: encoded(image.resize((64, 48)), "JPEG", quality=90),
    "enlarged": lambda image: encoded(image.resize((300, 225)), "PNG"),
    "squashed": lambda image: encoded(image.resize((96, 96)), "JPEG", quality=90),
    "brighter": lambda image: encoded(image.point(lambda level: round(level * 0.9 + 20)), "JPEG", quality=90),
    "cropped": lambda image: encoded(cropped(image, 0.02, 0.02, 0.02, 0.02), "JPEG", quality=90),
    "cropped on one side": lambda image: encoded(cropped(image, 0.03, 0, 0, 0), "JPEG", quality=90),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str) -> None:
    others = [encoded(photo(i), "PNG") for i in range(100, 130)]
    told = found(train=[encoded(photo(i), "PNG") for i in range(10)] + others, test=[CHANGES[change](photo(i)) for i in range(10)])
    assert {(pair.first.row, pair.second.row) for pair in told.pairs} == {(i, i) for i in range(10)}
    assert told.across == {"test in train": 10}
    assert (told.near, told.bytes) == (10, 0)


def test_pictures_that_differ_are_no_duplicates() -> None:
    assert found(train=[encoded(photo(i), "JPEG") for i in range(60)]) == Duplicates()


def test_blank_pictures_are_the_same_by_their_bytes_alone() -> None:
    greys = [encoded(Image.new("RGB", (40, 40), (level,) * 3), "PNG") for level in (10, 90, 200)]
    told = found(train=[*greys, greys[0]])
    assert (told.bytes, told.near) == (1, 0)


def test_a_file_that_is_there_thrice_is_two_pairs() -> None:
    one, other = encoded(photo(1), "PNG"), encoded(photo(2), "PNG")
    told = found(train=[one, other, one, one])
    assert [(pair.kind, pair.first.row, pair.second.row) for pair in told.pairs] == [("bytes", 0, 2), ("bytes", 0, 3)]
    assert (told.inside, told.across, told.bytes) == ({"train": 2}, {}, 2)


def test_pairs_of_test_and_train_come_first_and_test_is_named_first() -> None:
    files = [encoded(photo(i), "PNG") for i in range(3)]
    told = found(train=[files[0], files[0], files[1], files[2]], validation=[files[1]], test=[encoded(photo(2), "JPEG", quality=80)])
    assert [(pair.first.split, pair.second.split) for pair in told.pairs] == [
        ("test", "train"),
        ("validation", "train"),
        ("train", "train"),
    ]
    assert told.across == {"test in train": 1, "validation in train": 1}


def test_same_image_with_another_label_is_a_conflict() -> None:
    file = encoded(photo(1), "PNG")
    told = found(train=[file], test=[file])
    assert told.conflicts == 1
    assert told.pairs[0].labels == ("dog", "cat")
    assert found(train=[file], validation=[file]).conflicts == 0


def test_near_copies_of_a_file_that_is_in_both_splits_count_in_both() -> None:
    file, copy = encoded(photo(1), "PNG"), encoded(photo(1), "JPEG", quality=70)
    told = found(train=[file, copy], test=[file])
    assert told.across == {"test in train": 1}
    assert told.inside == {"train": 1}


def test_files_that_cannot_be_read_are_no_duplicates() -> None:
    assert found(train=[b"", b"", encoded(photo(1), "PNG")]) == Duplicates()


def test_candidates_are_all_pairs_of_few_bits() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 1 << 63, 300, dtype=np.uint64)
    flips = np.array([sum(1 << int(bit) for bit in rng.choice(64, 5, replace=False)) for _ in range(300)], np.uint64)
    hashes = np.concatenate([base, base ^ flips])[:, None]
    told = {
        tuple(pair)
        for pair in candidates(np.concatenate([hashes, rng.integers(0, 1 << 63, hashes.shape, dtype=np.uint64)], axis=1)).tolist()
    }
    assert told >= {(i, i + 300) for i in range(300)}


def test_bits_are_counted() -> None:
    a, b = np.array([0, 5, (1 << 64) - 1], np.uint64), np.array([0, 6, 0], np.uint64)
    assert differing(a, b).tolist() == [0, 2, 64]


def test_candidates_that_are_all_far_apart_are_no_pairs() -> None:
    signatures = np.random.default_rng(0).integers(0, 256, (4, 768), dtype=np.uint8)
    pairs, _ = near_pairs(np.zeros((4, 2), np.uint64), signatures)
    assert len(candidates(np.zeros((4, 2), np.uint64))) == 6
    assert len(pairs) == 0


def test_nothing_is_near_nothing() -> None:
    pairs, distances = near_pairs(np.zeros((1, 2), np.uint64), np.zeros((1, 768), np.uint8))
    assert pairs.shape == (0, 2)
    assert len(distances) == 0


@pytest.mark.parametrize("count", [3000])
def test_moles_that_look_alike_are_not_taken_for_copies(count: int) -> None:
    """Dermoscopy is the hard case: smooth, and all of one composition. By eye, no two of these are one picture."""
    table = REAL / "ham10000_96" / "data.parquet"
    if not table.exists():
        pytest.skip("shared/data/ham10000_96 is absent")
    import pyarrow.parquet as pq

    files = [image["bytes"] for image in next(pq.ParquetFile(table).iter_batches(count, columns=["image"]))["image"].to_pylist()]
    assert found(train=files).near <= 4
