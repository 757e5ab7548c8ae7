"""Small pictures of images, as text that a page can hold."""

import base64
import io

from PIL import Image

from cliptune.errors import DataError
from cliptune.images import decode


def thumbnail(image: bytes | str, key: str, side: int = 96) -> str:
    """A JPEG in base64; empty where the image cannot be read.

    Args:
        image: bytes of a file, or its path.
        key: its name, for messages.
        side: pixels at most.
    """
    try:
        pixels = decode(image, key)
    except DataError:
        return ""
    small = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
