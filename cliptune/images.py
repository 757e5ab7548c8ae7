"""From the bytes of an image file to uint8 pixels [3, H, W], by torchvision's decoder, or Pillow's where that has none.

Pixels stay uint8 until they are on the device: a quarter of the bytes between processes and over the bus.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from cliptune.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif", ".ppm")

# What torchvision's own decoders take, by their first bytes; GIFs go to Pillow, which gives the first frame only.
_TORCHVISION = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")


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
    try:
        if data.startswith(_TORCHVISION):
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels = decode_image(buffer, mode=ImageReadMode.RGB, apply_exif_orientation=True)
            # 65535 / 255 = 257, so 16 bits scale exactly
            return (pixels.int() // 257).to(torch.uint8) if pixels.dtype == torch.uint16 else pixels
    except RuntimeError:
        pass  # a variant that torchvision does not know: Pillow may
    try:
        with Image.open(io.BytesIO(data)) as image:
            return from_pil(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot decode the image {name or '(bytes)'}: {error}.") from None


def from_pil(image: Image.Image) -> Tensor:
    """Take a Pillow image of any mode as uint8 [3, H, W], upright."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 or 32 bits of grey, which convert("RGB") would clip at 255
        grey = (np.asarray(image, dtype=np.int64) // 257).clip(0, 255).astype(np.uint8)
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    return F.pil_to_tensor(image.convert("RGB"))
