"""From the bytes of an image file to uint8 pixels [3, H, W]: JPEGs by torchvision's decoder, the faster, all else by Pillow's.

Pixels stay uint8 until they are on the device: a quarter of the bytes between processes and over the bus.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from cliptune.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif", ".ppm")

JPEG = b"\xff\xd8\xff"  # the only kind for torchvision: one wrong byte in a PNG ends the process there, and WebPs are not turned upright


def decode(data: bytes | str | Path, name: str = "") -> Tensor:
    """Decode one image, upright (EXIF) and in RGB.

    Args:
        data: the bytes of an image file, or its path.
        name: what to call the image in an error; the path where there is one.

    Returns:
        [3, H, W], uint8. An image of 16 bits is scaled to 8, never clipped.

    Raises:
        DataError: the file is missing or is no image.
    """
    if isinstance(data, (str, Path)):
        name = name or str(data)
        try:
            data = Path(data).read_bytes()
        except OSError as error:
            raise DataError(f"cannot read the image {name}: {error.strerror}.") from None
    if data.startswith(JPEG):
        try:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return decode_image(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
        except RuntimeError:
            pass  # a variant that torchvision does not know: Pillow may
    try:
        with Image.open(io.BytesIO(data)) as image:
            return from_pil(image)
    except UnidentifiedImageError:
        why = "it is no image of a known kind" if data else "the file is empty"
    except Exception as error:  # Pillow's readers raise many kinds
        why = str(error) or type(error).__name__
    raise DataError(f"cannot decode the image {name or '(bytes)'}: {why}. Mend it, or take its row out of the data.")


def from_pil(image: Image.Image) -> Tensor:
    """Take a Pillow image of any mode as uint8 [3, H, W], upright."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 or 32 bits of grey, which convert("RGB") would clip at 255; 65535 / 255 = 257
        grey = (np.asarray(image, dtype=np.int64) // 257).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    return F.pil_to_tensor(image.convert("RGB"))
