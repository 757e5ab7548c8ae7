"""Decoding, against Pillow's own pixels."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import pixels
from PIL import Image, ImageOps

from cliptune.errors import DataError
from cliptune.images import decode, from_pil

RGB = Image.fromarray(pixels(37, 53))
TURNED = Image.Exif()
TURNED[0x0112] = 6  # "the right side is up": a quarter turn
JPEG_LEVELS = 2  # two builds of libjpeg may round a pixel differently


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(RGB, "JPEG"),
    "jpeg, progressive": lambda: encoded(RGB, "JPEG", progressive=True),
    "jpeg, grey": lambda: encoded(RGB.convert("L"), "JPEG"),
    "jpeg, CMYK": lambda: encoded(RGB.convert("CMYK"), "JPEG"),
    "jpeg, turned": lambda: encoded(RGB, "JPEG", exif=TURNED),
    "png": lambda: encoded(RGB, "PNG"),
    "png, grey": lambda: encoded(RGB.convert("L"), "PNG"),
    "png, one bit": lambda: encoded(RGB.convert("1"), "PNG"),
    "png, palette": lambda: encoded(RGB.quantize(16), "PNG"),
    "png, transparent palette": lambda: encoded(RGB.quantize(16), "PNG", transparency=3),
    "png, RGBA": lambda: encoded(Image.merge("RGBA", [*RGB.split(), RGB.convert("L")]), "PNG"),
    "png, grey with alpha": lambda: encoded(RGB.convert("LA"), "PNG"),
    "png, turned": lambda: encoded(RGB, "PNG", exif=TURNED),
    "webp": lambda: encoded(RGB, "WEBP"),
    "webp, turned": lambda: encoded(RGB, "WEBP", exif=TURNED),
    "webp, animated": lambda: encoded(RGB, "WEBP", save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_180)]),
    "gif": lambda: encoded(RGB.quantize(16), "GIF"),
    "gif, animated": lambda: encoded(RGB.quantize(16), "GIF", save_all=True, append_images=[ImageOps.mirror(RGB).quantize(16)]),
    "bmp": lambda: encoded(RGB, "BMP"),
    "tiff": lambda: encoded(RGB, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("kind", FILES)
def test_decode_gives_the_upright_rgb_pixels_that_pillow_gives(kind: str) -> None:
    data = FILES[kind]()
    with Image.open(io.BytesIO(data)) as image:
        expected = torch.from_numpy(np.array(ImageOps.exif_transpose(image).convert("RGB"))).permute(2, 0, 1)
    found = decode(data)
    assert (found.dtype, found.shape) == (torch.uint8, expected.shape)
    assert (found.int() - expected.int()).abs().max() <= (JPEG_LEVELS if "jpeg" in kind else 0)


@pytest.mark.parametrize("kind", ["jpeg, turned", "png, turned", "webp, turned"])
def test_a_picture_taken_on_its_side_is_turned_upright(kind: str) -> None:
    assert decode(FILES[kind]()).shape == (3, RGB.width, RGB.height)


def test_grey_of_16_bits_is_scaled_exactly() -> None:
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decode(encoded(Image.fromarray(grey), "PNG"))
    assert torch.equal(found, torch.from_numpy(grey.astype(np.int64) * 255 // 65535).to(torch.uint8).expand(3, -1, -1))


def test_from_pil_takes_a_picture_that_was_opened_already() -> None:
    assert torch.equal(from_pil(RGB), torch.from_numpy(np.array(RGB)).permute(2, 0, 1))


def test_decode_reads_a_path_that_is_not_ascii(picture: Callable[[str], Path]) -> None:
    file = picture("사진 모음/고양이.png")
    assert torch.equal(decode(file), decode(file.read_bytes()))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", [kind for kind in FILES if "animated" not in kind])  # of those the first frame may be whole
def test_a_file_cut_in_half_is_a_data_error(kind: str) -> None:
    data = FILES[kind]()
    with pytest.raises(DataError, match=r"cannot decode the image photo 7: .+ Mend it"):
        decode(data[: len(data) // 2], "photo 7")


@pytest.mark.parametrize("at", [40, 100, -20])
def test_a_wrong_byte_in_a_png_is_a_data_error_and_not_the_end_of_the_process(at: int) -> None:
    data = bytearray(FILES["png"]())
    data[at] ^= 0xFF
    with pytest.raises(DataError, match="cannot decode the image"):
        decode(bytes(data))


@pytest.mark.parametrize(("data", "why"), [(b"", "the file is empty"), (b"<html>not found</html>", "no image of a known kind")])
def test_what_is_no_image_is_a_data_error(data: bytes, why: str) -> None:
    with pytest.raises(DataError, match=why):
        decode(data)


def test_a_missing_file_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.png: No such file"):
        decode(tmp_path / "nowhere.png")
