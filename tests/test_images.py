"""Decoding, against Pillow's own pixels."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import pixels
from PIL import Image, ImageOps

from cliptune.errors import ConfigError, DataError
from cliptune.images import MOST_PIXELS, colour, decode, from_pil

RGB = Image.fromarray(pixels(37, 53))
TURNED = Image.Exif()
TURNED[0x0112] = 6  # "the right side is up": a quarter turn
TRANSPARENT = Image.merge("RGBA", [*RGB.split(), RGB.convert("L")])
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
    "png, RGBA": lambda: encoded(TRANSPARENT, "PNG"),
    "png, RGBA without a hole": lambda: encoded(RGB.convert("RGBA"), "PNG"),
    "png, grey with alpha": lambda: encoded(Image.merge("LA", [RGB.getchannel("R"), RGB.getchannel("G")]), "PNG"),
    "png, turned": lambda: encoded(RGB, "PNG", exif=TURNED),
    "webp": lambda: encoded(RGB, "WEBP"),
    "webp, turned": lambda: encoded(RGB, "WEBP", exif=TURNED),
    "webp, animated": lambda: encoded(RGB, "WEBP", save_all=True, append_images=[RGB.transpose(Image.Transpose.ROTATE_180)]),
    "gif": lambda: encoded(RGB.quantize(16), "GIF"),
    "gif, animated": lambda: encoded(RGB.quantize(16), "GIF", save_all=True, append_images=[ImageOps.mirror(RGB).quantize(16)]),
    "bmp": lambda: encoded(RGB, "BMP"),
    "webp, RGBA": lambda: encoded(TRANSPARENT, "WEBP", lossless=True, exact=True),
    "tiff, RGBA": lambda: encoded(TRANSPARENT, "TIFF"),
    "tiff, CMYK": lambda: encoded(RGB.convert("CMYK"), "TIFF"),
    "tiff": lambda: encoded(RGB, "TIFF", compression="tiff_lzw"),
}


def over(data: bytes, background: tuple[int, int, int]) -> np.ndarray:
    """What a file shows over a colour, [H, W, 3]: Pillow's own pixels, laid over it by hand."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if not upright.has_transparency_data:
            return np.array(upright.convert("RGB"))
        whole = np.array(upright.convert("RGBA")).astype(float)
    share = whole[..., 3:] / 255
    return (whole[..., :3] * share + np.array(background) * (1 - share)).round().astype(np.uint8)


@pytest.mark.parametrize("background", [(255, 255, 255), (255, 0, 90)])
@pytest.mark.parametrize("kind", FILES)
def test_decode_gives_the_upright_rgb_pixels_that_pillow_gives_over_the_background(kind: str, background: tuple[int, int, int]) -> None:
    data = FILES[kind]()
    expected = torch.from_numpy(over(data, background)).permute(2, 0, 1)
    found = decode(data, background=background)
    assert (found.dtype, found.shape) == (torch.uint8, expected.shape)
    most = JPEG_LEVELS if "jpeg" in kind else 1 if "RGBA" in kind or "alpha" in kind else 0  # half a level may go either way
    assert (found.int() - expected.int()).abs().max() <= most


@pytest.mark.parametrize("kind", ["jpeg, turned", "png, turned", "webp, turned"])
def test_a_picture_taken_on_its_side_is_turned_upright(kind: str) -> None:
    assert decode(FILES[kind]()).shape == (3, RGB.width, RGB.height)


ALPHA = 51  # a fifth


def of_palette(entry: int) -> Image.Image:
    image = Image.new("P", (4, 4), entry)
    image.putpalette([0, 0, 0, 9, 9, 9, 250, 0, 0, 250, 250, 250])
    return image


KNOWN: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {  # a file of one colour, and what it shows over (0, 100, 200)
    "RGBA": (lambda: encoded(Image.new("RGBA", (4, 4), (250, 0, 0, ALPHA)), "PNG"), (50, 80, 160)),
    "RGBA, nothing there": (lambda: encoded(Image.new("RGBA", (4, 4), (250, 9, 9, 0)), "PNG"), (0, 100, 200)),
    "LA": (lambda: encoded(Image.new("LA", (4, 4), (250, ALPHA)), "PNG"), (50, 130, 210)),
    "palette with a clear entry": (lambda: encoded(of_palette(3), "PNG", transparency=3), (0, 100, 200)),
    "palette with a half clear entry": (lambda: encoded(of_palette(0), "PNG", transparency=bytes([ALPHA])), (0, 80, 160)),
    "RGB with a clear colour": (lambda: encoded(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7)), (0, 100, 200)),
    "grey with a clear level": (lambda: encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9), (0, 100, 200)),
    "grey of 16 bits with a clear level": (lambda: encoded(Image.new("I;16", (4, 4), 999), "PNG", transparency=999), (0, 100, 200)),
    "gif with a clear entry": (lambda: encoded(of_palette(3), "GIF", transparency=3), (0, 100, 200)),
    "grey": (lambda: encoded(Image.new("L", (4, 4), 77), "PNG"), (77, 77, 77)),
    "one bit": (lambda: encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255)),
    "grey of 16 bits": (lambda: encoded(Image.new("I;16", (4, 4), 100 * 257), "PNG"), (100, 100, 100)),
    "tiff of 16 bits": (lambda: encoded(Image.new("I;16", (4, 4), 100 * 257), "TIFF"), (100, 100, 100)),
    "tiff of 16 bits, high byte first": (lambda: encoded(Image.new("I;16B", (4, 4), 100 * 257), "TIFF"), (100, 100, 100)),
    "tiff of 32 bits": (lambda: encoded(Image.new("I", (4, 4), 100 * 257), "TIFF"), (100, 100, 100)),
    "tiff of floats to 1": (lambda: encoded(Image.new("F", (4, 4), 0.4), "TIFF"), (102, 102, 102)),
    "tiff of floats to 255": (lambda: encoded(Image.new("F", (4, 4), 102.2), "TIFF"), (102, 102, 102)),
    "tiff of floats to 65535": (lambda: encoded(Image.new("F", (4, 4), 102.0 * 257), "TIFF"), (102, 102, 102)),
    "tiff in CMYK": (lambda: encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 51)), "TIFF"), (204, 0, 0)),
    "jpeg in CMYK, inverted as Adobe does": (lambda: encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 51)), "JPEG"), (204, 0, 0)),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_a_known_pixel_comes_out_right(kind: str) -> None:
    make, expected = KNOWN[kind]
    found = decode(make(), background=(0, 100, 200))
    assert (found.int() - torch.tensor(expected)[:, None, None]).abs().max() <= (JPEG_LEVELS if "jpeg" in kind else 0)


def test_the_jpeg_in_cmyk_is_stored_inverted() -> None:
    assert b"Adobe" in KNOWN["jpeg in CMYK, inverted as Adobe does"][0]()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_upper_left_corner_is_where_exif_says(kind: str, orientation: int) -> None:
    """Exif 2.32, sec. 4.6.4: what the first row and the first column of the file are."""
    rows = ("top", "top", "bottom", "bottom", "left", "right", "right", "left")
    columns = ("left", "right", "right", "left", "top", "top", "bottom", "bottom")
    image = Image.new("RGB", (48, 32))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(image, kind, exif=exif))
    sides = {rows[orientation - 1], columns[orientation - 1]}
    y, x = (0 if "top" in sides else -1), (0 if "left" in sides else -1)
    assert found.shape == ((3, 32, 48) if orientation <= 4 else (3, 48, 32))
    assert found[:, y, x].min() > 250
    assert sum(int(found[0, i, j] > 128) for i in (0, -1) for j in (0, -1)) == 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_an_animation_the_first_frame_is_seen(kind: str) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    found = decode(encoded(first, kind, save_all=True, append_images=[second]))
    assert (found[:, 8, 8] - torch.tensor([255, 0, 0])).abs().max() <= (4 if kind == "AVIF" else 1)


def test_floats_that_are_no_levels_are_stretched_and_holes_are_the_least() -> None:
    heights = np.array([[-100.0, 0.0, 100.0, np.nan]], np.float32)
    assert from_pil(Image.fromarray(heights))[0].tolist() == [[0, 128, 255, 0]]


def test_whole_numbers_beyond_16_bits_are_stretched() -> None:
    assert from_pil(Image.fromarray(np.array([[-10, 0, 1_000_010]], np.int32)))[0].tolist() == [[0, 0, 255]]


def test_an_image_of_one_value_is_not_divided_by_nothing() -> None:
    assert from_pil(Image.fromarray(np.full((2, 2), -5.0, np.float32))).max() == 0


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises much."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return FILES["png"]()[:8] + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + FILES["png"]()[33:]


def jpeg(width: int, height: int, stuffing: bytes = b"", **options: object) -> bytes:
    data = bytearray(encoded(RGB, "JPEG", exif=TURNED, **options))
    at = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data[:at] + stuffing + data[at:])


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png(30_000, 20_000),
    "jpeg": lambda: jpeg(30_000, 20_000),
    "jpeg, progressive": lambda: jpeg(30_000, 20_000, progressive=True),
    "jpeg with bytes between its segments": lambda: jpeg(30_000, 20_000, b"\x12\x34\xff\xff"),
    "gif": lambda: b"GIF89a" + struct.pack("<HH", 30_000, 20_000) + FILES["gif"]()[10:],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_decompression_bomb_is_refused(kind: str) -> None:
    with pytest.raises(DataError, match=r"^the image photo 7 has 600,000,000 pixels, and more than 178,956,970 are .+ take its row out"):
        decode(BOMBS[kind](), "photo 7")


def test_the_limit_is_pillows_own() -> None:
    assert MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


def test_a_jpeg_of_as_many_pixels_as_are_allowed_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cliptune.images.MOST_PIXELS", 37 * 53)
    assert decode(jpeg(53, 37)).shape == (3, 53, 37)
    with pytest.raises(DataError, match="has 2,014 pixels"):
        decode(jpeg(53, 38))


def test_colours_have_names_and_numbers() -> None:
    assert [colour(name) for name in ("white", "#ff8800", "Black")] == [(255, 255, 255), (255, 136, 0), (0, 0, 0)]


@pytest.mark.parametrize(
    ("name", "why"), [("whit", "'whit' is no colour. Give"), ("", "is no colour"), ("#ff880080", "is transparent itself")]
)
def test_what_is_no_colour_is_a_config_error(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        colour(name)


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
