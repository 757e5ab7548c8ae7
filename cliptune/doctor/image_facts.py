"""What one image is like: read once, decoded once, in the process that reads it; a chunk of rows comes back as a few arrays."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image
from threadpoolctl import ThreadpoolController

from cliptune.data.split import Row
from cliptune.doctor.headers import read_header
from cliptune.doctor.signatures import SIGNATURE, Signer
from cliptune.errors import DataError
from cliptune.images import decode

Pixels = npt.NDArray[np.uint8]  # [3, H, W]

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
KNOWN = {suffix for listed in SUFFIXES.values() for suffix in listed}
NO_DIGEST = bytes(16)
HELD = 1 << 20  # bytes of files that wait to be decoded
TINY = 8  # times smaller than the model's input
EXTREME = 4.0  # a side to the other; the crop of evaluation then shows a quarter of the image at most
BLANK = 1.5  # levels of 255: the deviation of an image that shows nothing
GREY = 2.0  # levels between the channels


class Look(NamedTuple):
    """What one image file is like, without its pixels.

    Args:
        mode: as Pillow names it; "" where the file is no image.
        format: likewise.
        size: upright, (width, height); 0 where it cannot be decoded.
        length: of the file, in bytes.
        digest: of the file, 16 bytes.
    """

    mode: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    length: int = 0
    digest: bytes = NO_DIGEST


class Chunk:
    """What a chunk of rows is like; arrays have a line for each row.

    Args:
        split: of all of them.
        numbers: of the rows.

    Attributes:
        looks: at each.
        signatures: [N, 768], uint8.
        decoded: [N], whether there are pixels.
        plain: [N], whether there is a picture to compare: decoded, and not blank.
        grey: images without colour.
        odd: row, kind, path, detail.
    """

    def __init__(self, split: str, numbers: Sequence[int]) -> None:
        self.split, self.rows = split, np.array(numbers, np.int64)
        count = len(self.rows)
        self.sizes = np.zeros((count, 2), np.int32)
        self.bytes = np.zeros(count, np.int64)
        self.digests = np.zeros((count, 2), np.uint64)
        self.signatures = np.zeros((count, SIGNATURE), np.uint8)
        self.decoded, self.plain = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.grey = 0
        self.odd: list[tuple[int, str, str, str]] = []

    def put_looks(self, looks: list[Look]) -> None:
        """Take what is known of each file."""
        self.modes, self.formats = Counter(one.mode for one in looks if one.mode), Counter(one.format for one in looks if one.format)
        self.sizes[:] = [one.size for one in looks]
        self.bytes[:] = [one.length for one in looks]
        self.digests[:] = np.frombuffer(b"".join([one.digest for one in looks]), np.uint64).reshape(-1, 2)

    def put_signatures(self, signer: Signer, places: list[int]) -> list[int]:
        """Take the signatures of the pictures at these places; those that show nothing."""
        found = signer.signatures
        np.add(found, 0.5, out=self.signatures.reshape(found.shape), casting="unsafe")
        self.decoded[places] = True
        self.plain[:] = self.decoded & (signer.deviation >= BLANK)
        self.grey = int((self.decoded & (np.ptp(found.reshape(-1, 16, 3, 16)[:, ::2, :, ::2], axis=2).max(axis=(1, 2)) < GREY)).sum())
        return np.flatnonzero(self.decoded & ~self.plain).tolist()


def most_pixels() -> int:
    """Beyond so many, Pillow takes an image for a decompression bomb."""
    return 2 * (Image.MAX_IMAGE_PIXELS or 1 << 60)


def look_at(split: str, numbers: Sequence[int], rows: Sequence[Row], model_side: int) -> Chunk:
    """Look at the rows of a chunk: files are read some at once, and their images decoded one at a time, and not held.

    No library may use more threads here: their products are small, and there may be such a process for each core.

    Args:
        split: of the rows.
        numbers: of the rows.
        rows: with images.
        model_side: of the model's input, in pixels.
    """
    with _threads().limit(limits=1, user_api="blas"):
        return _look_at(Chunk(split, numbers), rows, model_side)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """Finds the libraries that have threads, which takes longer than an image."""
    return ThreadpoolController()


def _look_at(chunk: Chunk, rows: Sequence[Row], model_side: int) -> Chunk:
    signer = Signer(len(rows))
    looks: list[Look] = []
    decoded: list[int] = []
    for i, first, data, kinds in (one for files in _files(rows) for one in files):
        one, pixels = _see(first, data, rows[i].key, model_side, kinds)
        looks.append(one)
        if pixels is not None:
            signer.add(i, pixels)
            decoded.append(i)
        if kinds:
            chunk.odd += [(int(chunk.rows[i]), kind, rows[i].key, detail) for kind, detail in kinds.items()]
    signer.finish()
    chunk.put_looks(looks)
    blank = chunk.put_signatures(signer, decoded)
    chunk.odd += [(int(chunk.rows[i]), "blank", rows[i].key, "one colour") for i in blank]
    return chunk


def look(row: Row, model_side: int, kinds: dict[str, str]) -> tuple[Look, Pixels | None]:
    """Read and decode one image; what is unusual is put into `kinds`, with a detail each."""
    first, data = _open(row, kinds)
    return _see(first, data, row.key, model_side, kinds)


def _files(rows: Sequence[Row]) -> Iterator[list[tuple[int, Look, bytes, dict[str, str]]]]:
    """What files say of themselves, those of a megabyte at once: between two images that are decoded it takes several times as long."""
    found: list[tuple[int, Look, bytes, dict[str, str]]] = []
    held = 0
    for i, row in enumerate(rows):
        kinds: dict[str, str] = {}
        one, data = _open(row, kinds)
        found.append((i, one, data, kinds))
        held += len(data)
        if held >= HELD:
            yield found
            found, held = [], 0
    yield found


def _open(row: Row, kinds: dict[str, str]) -> tuple[Look, bytes]:
    """What a file says of itself, and its bytes where they should be decoded."""
    data = _read(row.image, kinds)  # type: ignore[arg-type]
    if not data:
        return Look(), b""
    digest, length = xxhash.xxh128_digest(data), len(data)
    header = read_header(data, kinds)
    if header is None:
        kinds["not_image"] = _beginning(data)
        return Look(length=length, digest=digest), b""
    if isinstance(row.image, str):
        _check_suffix(row.key, header.format, kinds)
    if header.width * header.height > most_pixels():
        kinds["bomb"] = f"{header.width} x {header.height} pixels in {length:,} bytes"
    return Look(header.mode, header.format, (0, 0), length, digest), b"" if "bomb" in kinds else data


def _see(first: Look, data: bytes, name: str, model_side: int, kinds: dict[str, str]) -> tuple[Look, Pixels | None]:
    """Decode an image that was opened."""
    pixels = _decode(data, name, kinds) if data else None
    if pixels is None:
        return first, None
    if "truncated" in kinds:  # by its header's reading, and yet all of it is there
        kinds["odd_end"] = kinds.pop("truncated")
    _, height, width = pixels.shape
    short, long = (height, width) if height < width else (width, height)
    if short * TINY < model_side:
        kinds["tiny"] = f"{width} x {height} pixels"
    if long > EXTREME * short:
        kinds["extreme_aspect"] = f"{width} x {height} pixels"
    return Look(first.mode, first.format, (width, height), first.length, first.digest), pixels


def _read(image: bytes | str, kinds: dict[str, str]) -> bytes:
    try:
        if isinstance(image, bytes):
            data = image
        else:
            with open(image, "rb") as file:  # noqa: PTH123 - a Path takes as long to make as a small file to read
                data = file.read()
    except FileNotFoundError:
        kinds["missing"] = "there is no such file"
    except (OSError, ValueError) as error:  # the latter for what no file can be called
        kinds["broken"] = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        if not data:
            kinds["empty"] = "0 bytes"
        return data
    return b""


def _decode(data: bytes, name: str, kinds: dict[str, str]) -> Pixels | None:
    try:
        return decode(data, name).numpy()
    except DataError as error:
        if "truncated" not in kinds:
            kinds["truncated" if "truncated" in str(error) else "broken"] = str(error)
    return None


def _check_suffix(name: str, format: str, kinds: dict[str, str]) -> None:
    suffix = name[name.rfind(".") :].lower()
    if suffix not in SUFFIXES.get(format, (suffix,)) and suffix in KNOWN:
        kinds["wrong_suffix"] = f"{format} called {suffix}"


def _beginning(data: bytes) -> str:
    """What the file begins with, as far as it is text."""
    text = data[:40].decode("ascii", "replace").replace("\ufffd", ".")
    return f"begins with {text!r}" if text.isprintable() else f"begins with the bytes {data[:8].hex(' ')}"
