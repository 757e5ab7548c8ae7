"""What the doctor sees in one image: headers against Pillow, blank and small pictures, suffixes."""

import io
from pathlib import Path

import numpy as np
import pytest
from broken import encoded, good_files, odd_files, picture, turned
from PIL import Image

from cliptune.data.split import Row
from cliptune.doctor.headers import read_header
from cliptune.doctor.image_facts import look, look_at
from cliptune.doctor.signatures import signature
from cliptune.images import decode


def kinds_of(data: bytes | str, side: int = 64) -> dict[str, str]:
    kinds: dict[str, str] = {}
    look(Row(data, [], None, data if isinstance(data, str) else "table:0"), side, kinds)
    return kinds


@pytest.mark.parametrize("name", [*good_files(5), *odd_files()])
def test_headers_say_what_pillow_says(name: str) -> None:
    data = good_files(5).get(name) or odd_files()[name][0]
    header = read_header(data, {})
    assert header is not None
    with Image.open(io.BytesIO(data)) as image:
        assert header == (image.format, image.mode, image.width, image.height)


@pytest.mark.parametrize(("size", "levels"), [((16, 16), 0.6), ((64, 64), 0.6), ((48, 37), 3), ((100, 37), 4), ((700, 33), 6)])
def test_signatures_are_the_means_of_parts(size: tuple[int, int], levels: float) -> None:
    image = picture(3, height=size[0], width=size[1])
    found = signature(np.asarray(image).transpose(2, 0, 1)).reshape(16, 3, 16).transpose(0, 2, 1)
    assert abs(found - np.asarray(image.resize((16, 16), Image.Resampling.BOX))).mean() < levels  # of high ones not all lines are looked at


def test_pictures_thinner_than_a_signature_have_one() -> None:
    assert signature(np.full((3, 1, 5), 77, np.uint8)) == pytest.approx(77)


def test_blank_is_one_colour_and_not_little_contrast() -> None:
    ramp = np.tile(np.linspace(100, 112, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    noise = np.random.default_rng(0).integers(90, 120, (48, 64, 3), dtype=np.uint8)
    for pixels, blank in ((np.full((48, 64, 3), (9, 200, 30), np.uint8), True), (ramp, False), (noise, False)):
        chunk = look_at("train", [0], [Row(encoded(Image.fromarray(pixels), "PNG"), [], None, "a:0")], 64)
        assert ("blank" in [kind for _, kind, _, _ in chunk.odd]) is blank
        assert bool(chunk.plain[0]) is not blank


def test_tiny_is_measured_against_the_models_input() -> None:
    data = encoded(picture(4, height=24, width=24), "PNG")
    assert kinds_of(data, 192) == {}
    assert kinds_of(data, 200) == {"tiny": "24 x 24 pixels"}


def test_sizes_are_upright() -> None:
    row = Row(encoded(picture(5), "JPEG", exif=turned(6)), [], None, "a:0")
    one, pixels = look(row, 64, {})
    assert pixels is not None
    assert one.size == (48, 64)
    assert np.array_equal(pixels, decode(row.image).numpy())  # type: ignore[arg-type]


def test_end_marker_of_a_thumbnail_is_no_end_of_the_image() -> None:
    exif = b"Exif\0\0" + b"MM\0*" + bytes(20) + encoded(picture(6, height=16, width=16), "JPEG")
    data = encoded(picture(7), "JPEG", exif=exif)
    assert kinds_of(data) == {}
    assert kinds_of(data[:-40])["truncated"] == "no end marker"


def test_what_follows_the_end_of_a_jpeg_does_not_matter() -> None:
    assert kinds_of(encoded(picture(8), "JPEG") + b"appended by a telephone" * 20) == {}


def test_suffixes_are_checked_of_files_alone(tmp_path: Path) -> None:
    data = encoded(picture(9), "PNG")
    assert kinds_of(data) == {}
    for name, wrong in (("a.jpg", True), ("a.PNG", False), ("a", False), ("a.scan", False)):
        (tmp_path / name).write_bytes(data)
        assert ("wrong_suffix" in kinds_of(str(tmp_path / name))) is wrong


def test_a_text_in_place_of_an_image_is_quoted() -> None:
    assert kinds_of(b"404: Not Found")["not_image"] == "begins with '404: Not Found'"


def test_a_path_that_no_file_can_have_is_told_of() -> None:
    assert set(kinds_of("a\0b.jpg")) == {"broken"}
