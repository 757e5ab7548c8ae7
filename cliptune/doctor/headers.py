"""What an image file says of itself, nothing decoded: format, mode, size, and what is unusual about it.

JPEG (ITU-T T.81, annex B) and PNG (W3C PNG, sec. 5) are walked here, in a tenth of the time that Pillow takes to open them, which for small
images is a third of decoding; all other formats are opened by Pillow, lazily.
"""

import io
import struct
import warnings
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from cliptune.images import JPEG

PNG = b"\x89PNG\r\n\x1a\n"
FRAMES = {0xC0 + i for i in range(16)} - {0xC4, 0xC8, 0xCC}  # T.81, table B.1: what begins a frame, less tables
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
END = b"\xff\xd9"
JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
ORIENTATION = 0x0112  # Exif 2.32, sec. 4.6.4
DICOM = b"DICM"  # at byte 128: DICOM PS3.10, sec. 7.1


class Header(NamedTuple):
    """What a file says of itself.

    Args:
        format: as Pillow names it, or DICOM.
        mode: as Pillow names it; "?" where the header does not say.
        width: in pixels as stored; 0 where the header does not say.
        height: likewise.
    """

    format: str
    mode: str = "?"
    width: int = 0
    height: int = 0


def read_header(data: bytes, kinds: dict[str, str]) -> Header | None:
    """Read the header.

    Args:
        data: the file.
        kinds: what is unusual is put here, with a detail: some of `places.ODD`, and `truncated` and `bomb`.

    Returns:
        None for what is no image of a known kind.
    """
    try:
        if data.startswith(JPEG):
            return _jpeg(data, kinds)
        if data.startswith(PNG):
            return _png(data, kinds)
    except (struct.error, IndexError):  # ends, or makes no sense, before its size is known
        kinds["truncated"] = "ends within its header"
        return Header("JPEG" if data.startswith(JPEG) else "PNG")
    if data[128:132] == DICOM:
        kinds["dicom"] = "needs pydicom"
        return Header("DICOM")
    return _other(data, kinds)


def _jpeg(data: bytes, kinds: dict[str, str]) -> Header:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise IndexError("no marker")
        marker = data[at + 1]
        if marker in FRAMES:
            break  # after it come tables and the picture, in which no end marker can occur by chance
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = data[at + 2] << 8 | data[at + 3]
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            _turned(kinds, _orientation(data[at + 10 : at + 2 + length]))
        at += 2 + length
    depth, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
    if channels == 4:
        kinds["cmyk"] = "four inks"
    if depth > 8:
        kinds["16_bit"] = f"{depth} bits of a channel"
    if data.rfind(END, at) < 0:
        kinds["truncated"] = "no end marker"
    return Header("JPEG", JPEG_MODES.get(channels, "?"), width, height)


def _png(data: bytes, kinds: dict[str, str]) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    mode = {(0, 1): "1", (0, 16): "I;16"}.get((colour, depth), PNG_MODES.get(colour, "?"))
    if depth == 16:
        kinds["16_bit"] = "16 bits of a channel"
    if colour == 3:
        kinds["palette"] = "a table of colours"
    if colour in (4, 6):
        kinds["alpha"] = "a channel of transparency"
    at, name = 8, b""
    while at + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"tRNS":
            kinds["alpha"] = "transparent colours"
        elif name == b"acTL":
            _animated(kinds, struct.unpack_from(">I", data, at + 8)[0])
        elif name == b"eXIf":
            _turned(kinds, _orientation(data[at + 8 : at + 8 + length]))
        at += 12 + length
    if name != b"IEND":
        kinds["truncated"] = "no end chunk"
    return Header("PNG", mode, width, height)


def _other(data: bytes, kinds: dict[str, str]) -> Header | None:
    if data.startswith(b"RIFF") and len(data) < 8 + int.from_bytes(data[4:8], "little"):  # RFC 9649, sec. 2.3
        kinds["truncated"] = "shorter than it says"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs and odd tags: told by kinds
            with Image.open(io.BytesIO(data)) as image:
                found = Header(str(image.format), image.mode, image.width, image.height)
                _animated(kinds, int(getattr(image, "n_frames", 1)))
                _turned(kinds, image.getexif().get(ORIENTATION, 1))
                _of_mode(image.mode, "transparency" in image.info, kinds)
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError as error:
        kinds["bomb"] = str(error)
        return Header("?")
    except Exception as error:  # Pillow's readers raise many kinds
        if "truncated" in str(error).lower():
            kinds["truncated"] = str(error)
        return Header("?")
    return found


def _of_mode(mode: str, transparent: bool, kinds: dict[str, str]) -> None:
    if mode.startswith(("I", "F")):
        kinds["16_bit"] = f"mode {mode}"
    if mode == "CMYK":
        kinds["cmyk"] = "four inks"
    if mode in ("P", "PA"):
        kinds["palette"] = "a table of colours"
    if transparent or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        kinds["alpha"] = "transparency"


def _animated(kinds: dict[str, str], frames: int) -> None:
    if frames > 1:
        kinds["animated"] = f"{frames} frames, of which the first is used"


def _turned(kinds: dict[str, str], orientation: object) -> None:
    if orientation in range(2, 9):
        kinds["exif_rotated"] = f"orientation {orientation}"


def _orientation(exif: bytes) -> int:
    """The orientation that a block of EXIF says; 1, upright, where it says none."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for i in range(min(count, 256)):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * i)
            if tag == ORIENTATION:
                return int(value)
    except struct.error:
        pass  # broken EXIF leaves an image as it lies
    return 1
