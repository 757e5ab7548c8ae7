"""From the bytes of an image file to uint8 pixels [3, H, W]: JPEGs by torchvision's decoder, the faster, all else by Pillow's.

Pixels stay uint8 until they are on the device: a quarter of the bytes between processes and over the bus. DICOM is `dicom`'s business.
"""

import io
import re
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode
from torchvision.transforms.v2 import functional as F

from cliptune import dicom
from cliptune.errors import ConfigError, DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif", ".ppm", ".dcm")

JPEG = b"\xff\xd8\xff"  # the only kind for torchvision: one wrong byte in a PNG ends the process there, and WebPs are not turned upright
FRAMES = {0xC0 + i for i in range(16)} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1: markers that a frame begins with, less tables
ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # likewise: without a length
MOST_PIXELS = 178_956_970  # beyond so many Pillow refuses: twice its MAX_IMAGE_PIXELS, a quarter of a GiB of RGB
WHITE = (255, 255, 255)
READ_JPEG = getattr(torch.ops.image, "decode_image", None)  # of torchvision; what it wraps around it takes a tenth of a small image's time

RGB = tuple[int, int, int]


def decode(data: bytes | str | Path, name: str = "", background: RGB = WHITE) -> Tensor:
    """Decode one image, upright (EXIF) and in RGB; of an animation the first frame.

    Args:
        data: the bytes of an image file, or its path.
        name: what to call the image in an error; the path where there is one.
        background: what is seen through transparent pixels.

    Returns:
        [3, H, W], uint8. An image of 16 bits is scaled to 8, never clipped; one of floating point as `from_pil` says.

    Raises:
        DataError: the file is missing, is no image, or has so many pixels that it can only be meant to fill the memory.
    """
    if isinstance(data, (str, Path)):
        name = name or str(data)
        try:
            with open(data, "rb") as file:  # noqa: PTH123 - a Path takes as long to make as a small file to read
                data = file.read()
        except OSError as error:
            raise DataError(f"cannot read the image {name}: {error.strerror}.") from None
    if data.startswith(JPEG) and READ_JPEG is not None:
        _check_size(_jpeg_size(data), name)
        try:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return cast(Tensor, READ_JPEG(buffer, ImageReadMode.RGB.value, True))  # upright
        except RuntimeError:
            pass  # a variant that torchvision does not know: Pillow may
    try:
        return _of_dicom(data, name) if dicom.is_dicom(data) else _by_pillow(data, name, background)
    except DataError:
        raise
    except UnidentifiedImageError:
        why = "it is no image of a known kind" if data else "the file is empty"
    except Exception as error:  # Pillow's readers raise many kinds
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    raise DataError(f"cannot decode the image {name or '(bytes)'}: {why}. Mend it, or take its row out of the data.")


def from_pil(image: Image.Image, background: RGB = WHITE) -> Tensor:
    """Take a Pillow image of any mode as uint8 [3, H, W], upright.

    Args:
        image: of more than 8 bits a channel it is scaled: 16 bits by 257. Floating point is taken as the least of 0..1, 0..255 and 0..65535
            that holds all values, and other values from the least to the greatest; whole numbers of 32 bits likewise, but as 16 bits first.
        background: what is seen through transparent pixels.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":  # which convert("RGB") would clip at 255
        return _of_grey(np.asarray(image), image.info.get("transparency"), background)
    if image.has_transparency_data:
        image = _over(image, background)
    return F.pil_to_tensor(image.convert("RGB"))


def colour(name: str) -> RGB:
    """Read the name of a colour, such as `white` or `#ff8800`.

    Raises:
        ConfigError: it is none.
    """
    try:
        found = ImageColor.getrgb(name)
    except (ValueError, AttributeError):
        raise ConfigError(f"{name!r} is no colour. Give a name such as white, or '#rrggbb' in quotes.") from None
    if len(found) != 3:
        raise ConfigError(f"the colour {name!r} is transparent itself. Give it as '#rrggbb'.")
    return found


def _by_pillow(data: bytes, name: str, background: RGB) -> Tensor:
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_size(image.size, name)
            return from_pil(image, background)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(int(pixels.group()) if pixels else 0, name) from None


def _of_dicom(data: bytes, name: str) -> Tensor:
    dataset = dicom.opened(data, name)
    _check_size(dicom.size_of(dataset), name)
    pixels = torch.from_numpy(dicom.pixels_of(dataset))
    return (pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)).contiguous()


def _over(image: Image.Image, background: RGB) -> Image.Image:
    """Lay a transparent image over a colour."""
    whole = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    if whole.getchannel("A").getextrema() == (255, 255):
        return whole
    return Image.alpha_composite(Image.new("RGBA", whole.size, (*background, 255)), whole)


def _of_grey(values: npt.NDArray[np.generic], transparent: object, background: RGB) -> Tensor:
    """[3, H, W] of grey [H, W] of more than 8 bits, one value of which may mean that nothing is there."""
    pixels = torch.from_numpy(_levels(values)).expand(3, -1, -1).contiguous()
    if isinstance(transparent, int):
        pixels[:, torch.from_numpy(values == transparent)] = torch.tensor(background, dtype=torch.uint8)[:, None]
    return pixels


def _levels(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Scale to 0..255 from the range that the values seem to be meant in."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return (values // 257).astype(np.uint8)  # 65535 / 255
    tops = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else ()
    top = next((top for top in tops if low >= 0 and high <= top), None)
    start, end = (0.0, top) if top else (low, high)
    filled = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return ((filled - start) / ((end - start) or 1.0) * 255).round().astype(np.uint8)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height that a JPEG's header says, 0 where it says none; ITU-T T.81, sec. B.1."""
    at = 2
    while 0 <= at < len(data) - 8:
        marker = data[at + 1]
        if data[at] != 0xFF:
            at = data.find(0xFF, at)  # decoders pass by what lies between segments
        elif marker in FRAMES:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 1 if marker == 0xFF else 2 if marker in ALONE else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _check_size(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise _too_large(size[0] * size[1], name)


def _too_large(pixels: int, name: str) -> DataError:
    return DataError(
        f"the image {name or '(bytes)'} has {pixels:,} pixels, and more than {MOST_PIXELS:,} are taken for a decompression bomb. "
        "Make it smaller, or take its row out of the data."
    )
