"""Broken and odd image files of all kinds beside good ones, with what the doctor should say of each."""

import csv
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from conftest import pixels
from PIL import Image

Kinds = dict[str, frozenset[str]]
SPLITS = ("train", "train", "train", "validation", "test")
ORIENTATION = 0x0112


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(seed: int, mode: str = "RGB", height: int = 48, width: int = 64) -> Image.Image:
    """A smooth random picture with a little grain."""
    smooth = pixels(height, width, seed).astype(float)
    grain = np.random.default_rng(seed).normal(scale=4, size=smooth.shape)
    return Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).convert(mode)


def png(width: int, height: int, depth: int, colour: int, lines: bytes) -> bytes:
    """A PNG, as the standard says, of what Pillow would not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def deep(seed: int) -> bytes:
    """A PNG of 16 bits of each of three colours, 32 x 32."""
    levels = np.random.default_rng(seed).integers(0, 65536, (32, 32 * 3), dtype=np.uint16).astype(">u2")
    return png(32, 32, 16, 2, b"".join(b"\0" + line.tobytes() for line in levels))


def claiming(data: bytes, width: int, height: int) -> bytes:
    """A JPEG or GIF whose header says another size."""
    if data.startswith(b"GIF"):
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def turned(orientation: int) -> Image.Exif:
    """EXIF that says how an image lies."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def dicom(file: Path) -> bool:
    """Write a DICOM of 12 bits, where there is pydicom."""
    try:
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
    except ImportError:
        return False
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = FileDataset(str(file), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SOPClassUID, found.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    found.Rows, found.Columns, found.SamplesPerPixel, found.PhotometricInterpretation = 48, 64, 1, "MONOCHROME2"
    found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 16, 12, 11, 0
    found.PixelData = (np.asarray(picture(90, "L"), np.uint16) * 16).tobytes()
    found.save_as(str(file), enforce_file_format=True)
    return True


def broken_files() -> dict[str, tuple[bytes, str]]:
    """From name to bytes and kinds, for what cannot be used."""
    jpeg, other = encoded(picture(1), "JPEG"), encoded(picture(2), "JPEG", progressive=True)
    files = {name: encoded(picture(10 + i), name) for i, name in enumerate(("PNG", "GIF", "WEBP", "BMP", "TIFF"))}
    flipped = bytearray(files["PNG"])
    flipped[len(flipped) // 2] ^= 255
    return {
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "no_end.jpg": (jpeg[:-2], "truncated"),
        "progressive_half.jpg": (other[: len(other) // 2], "truncated"),
        "header_only.jpg": (jpeg[:40], "truncated"),
        "three_bytes.jpg": (jpeg[:3], "truncated"),
        "no_end_chunk.png": (files["PNG"][:-12], "odd_end"),
        "half.png": (files["PNG"][: len(files["PNG"]) // 2], "truncated"),
        "header_only.png": (files["PNG"][:20], "truncated"),
        "half.gif": (files["GIF"][: len(files["GIF"]) // 2], "truncated palette"),
        "half.webp": (files["WEBP"][: len(files["WEBP"]) // 2], "truncated"),
        "half.bmp": (files["BMP"][: len(files["BMP"]) // 2], "truncated"),
        "half.tif": (files["TIFF"][: len(files["TIFF"]) // 2], "truncated"),
        "zero.jpg": (b"", "empty"),
        "zero.png": (b"", "empty"),
        "text.jpg": (b"this is no picture, but a text that was renamed\n" * 9, "not_image"),
        "page.png": (b"<!doctype html><title>404 Not Found</title>", "not_image"),
        "noise.webp": (np.random.default_rng(0).bytes(4000), "not_image"),
        "table.gif": (b'{"image": "a.gif", "caption": "a cat"}', "not_image"),
        "flipped.png": (bytes(flipped), "broken"),
        "bomb.png": (png(60_000, 60_000, 1, 0, b"\0" * 10_000), "bomb"),
        "bomb.jpg": (claiming(jpeg, 65_000, 65_000), "bomb"),
        "bomb.gif": (claiming(encoded(picture(3), "GIF"), 65_000, 65_000), "bomb"),
    }


def odd_files() -> dict[str, tuple[bytes, str]]:
    """From name to bytes and kinds, for what can be used."""
    frames = {"save_all": True, "append_images": [picture(31), picture(32)], "duration": 50}
    seen = picture(33)
    clear = picture(34, "RGBA")
    clear.putalpha(Image.fromarray(pixels(48, 64, 35)[..., 0]))
    return {
        "png_called.jpg": (encoded(picture(20), "PNG"), "wrong_suffix"),
        "jpeg_called.png": (encoded(picture(21), "JPEG"), "wrong_suffix"),
        "webp_called.jpeg": (encoded(picture(22), "WEBP"), "wrong_suffix"),
        "inks.jpg": (encoded(picture(23, "CMYK"), "JPEG"), "cmyk"),
        "inks.tif": (encoded(picture(24, "CMYK"), "TIFF"), "cmyk"),
        "deep_grey.png": (encoded(Image.fromarray(np.asarray(picture(25, "L"), np.uint16) * 257), "PNG"), "16_bit"),
        "deep_colour.png": (deep(26), "16_bit"),
        "deep_grey.tif": (encoded(Image.fromarray(np.asarray(picture(27, "L"), np.uint16) * 257), "TIFF"), "16_bit"),
        "table.png": (encoded(picture(28, "P"), "PNG"), "palette"),
        "table_clear.png": (encoded(picture(29, "P"), "PNG", transparency=0), "palette alpha"),
        "clear.png": (encoded(clear, "PNG"), "alpha"),
        "clear.webp": (encoded(clear, "WEBP"), "alpha"),
        "moving.gif": (encoded(picture(30), "GIF", **frames), "animated palette"),
        "moving.png": (encoded(seen, "PNG", **frames), "animated"),
        "moving.webp": (encoded(seen, "WEBP", **frames), "animated"),
        "turned.jpg": (encoded(picture(36), "JPEG", exif=turned(6)), "exif_rotated"),
        "turned.png": (encoded(picture(37), "PNG", exif=turned(3)), "exif_rotated"),
        "turned.webp": (encoded(picture(38), "WEBP", exif=turned(8)), "exif_rotated"),
        "speck.png": (encoded(picture(39, height=3, width=3), "PNG"), "tiny"),
        "strip.png": (encoded(picture(40, height=20, width=200), "PNG"), "extreme_aspect"),
        "pole.jpg": (encoded(picture(41, height=200, width=20), "JPEG"), "extreme_aspect"),
        "white.jpg": (encoded(Image.new("RGB", (64, 48), "white"), "JPEG"), "blank"),
        "red.png": (encoded(Image.new("RGB", (64, 48), (200, 10, 10)), "PNG"), "blank"),
    }


def good_files(count: int) -> dict[str, bytes]:
    """Files with nothing to say of; names and seeds of their own."""
    kinds = (("jpg", "JPEG", "RGB"), ("png", "PNG", "RGB"), ("jpg", "JPEG", "L"), ("webp", "WEBP", "RGB"), ("bmp", "BMP", "RGB"))
    chosen = [kinds[i % len(kinds)] for i in range(count)]
    return {f"good{i}.{suffix}": encoded(picture(100 + i, mode), format) for i, (suffix, format, mode) in enumerate(chosen)}


def write_broken(folder: Path, good: int = 40) -> tuple[Path, Kinds]:
    """Write all kinds of broken and odd files, good ones, and a table of them.

    Returns:
        The table, with the columns image, caption, label and split; and the kinds of each name, none for the good ones.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    kinds: Kinds = {"gone.jpg": frozenset({"missing"}), "folder.png": frozenset({"broken"})}
    (images / "folder.png").mkdir()
    for name, (data, said) in {**broken_files(), **odd_files()}.items():
        (images / name).write_bytes(data)
        kinds[name] = frozenset(said.split())
    if dicom(images / "scan.dcm"):
        kinds["scan.dcm"] = frozenset({"dicom"})
    for name, data in good_files(good).items():
        (images / name).write_bytes(data)
        kinds[name] = frozenset()
    table = folder / "broken.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "caption", "label", "split"])
        for i, name in enumerate(kinds):
            writer.writerow([f"images/{name}", f"a picture of the thing number {i}", ("cat", "dog")[i % 2], SPLITS[i % len(SPLITS)]])
    return table, kinds
