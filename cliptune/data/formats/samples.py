"""The samples of WebDataset's tars: files that stand next to one another and share their name up to its first dot."""

import json
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from cliptune.data.formats.reading import is_url
from cliptune.errors import DataError
from cliptune.images import SUFFIXES

CAPTIONS = ("txt", "text", "caption", "caption.txt")
LABELS = ("cls", "label", "cls.txt", "label.txt")
JSONS = ("json", "jsn")
DAMAGED = (tarfile.TarError, EOFError, zlib.error, LZMAError, BadGzipFile)
Members = dict[str, bytes | None]  # by what comes after the common name, in small letters; None for an image that is not wanted


def samples_of(tar: str, images: bool = True) -> Iterator[tuple[str, Members]]:
    """The samples of a tar, in order.

    Args:
        tar: a path or URL.
        images: whether their bytes are wanted.

    Yields:
        The common name, and what the files hold.

    Raises:
        DataError: the tar on this machine is damaged.
        ConnectionError: one from elsewhere broke off.
    """
    key, members = "", Members()
    try:
        with _opened(tar) as opened:
            for entry in opened:
                opened.members.clear()  # type: ignore[attr-defined]  # else it keeps all that it has seen
                found, suffix = _parts(entry.name)
                if not entry.isfile() or not suffix:
                    continue
                file = opened.extractfile(entry) if images or not is_image(suffix) else None
                data = file.read() if file is not None else None
                if found != key and members:
                    yield key, members
                    members = {}
                key = found
                members[suffix] = data
    except DAMAGED as error:
        where, said = f"after {key}" if key else "at its beginning", str(error).partition("\n")[0].rstrip(":")
        if is_url(tar):
            raise ConnectionError(f"{tar} broke off {where}: {said}") from error
        raise DataError(f"data path {tar} is damaged or cut short {where}: {said}. Copy or write it again.") from error
    if members:
        yield key, members


def _parts(name: str) -> tuple[str, str]:
    """The name of a file up to the first dot, with its folder, and the rest; that is empty for what is hidden."""
    folder, _, file = name.removeprefix("./").rpartition("/")
    stem, _, suffix = file.partition(".")
    hidden = not stem or name.startswith("__MACOSX/")
    return f"{folder}/{stem}" if folder else stem, "" if hidden else suffix.lower()


class _Entry(tarfile.TarInfo):
    """A tar's entry. Where one is damaged, tarfile would take the tar to end there."""

    @classmethod
    def fromtarfile(cls, opened: tarfile.TarFile) -> "_Entry":
        try:
            return super().fromtarfile(opened)  # type: ignore[return-value]
        except tarfile.HeaderError as error:
            if type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError"):  # the end
                raise
            raise tarfile.ReadError(str(error)) from error


@contextmanager
def _opened(tar: str) -> Iterator[tarfile.TarFile]:
    """A tar, to be read from beginning to end."""
    far = is_url(tar)
    with (
        fsspec.open(tar, "rb") if far else Path(tar).open("rb") as raw,
        tarfile.open(fileobj=raw, mode="r|*" if far else "r:*", tarinfo=_Entry) as opened,  # only what lies here can be leapt over
    ):
        yield opened


def is_image(suffix: str) -> bool:
    """Whether the suffix of a member is that of an image."""
    return f".{suffix.rpartition('.')[2]}" in SUFFIXES


def image_of(members: Members) -> str | None:
    """The suffix of a sample's image; the plainest, where there are a `jpg` and a `mask.png`."""
    return min(filter(is_image, members), key=lambda suffix: suffix.count("."), default=None)


def text_of(members: Members, suffixes: tuple[str, ...]) -> str | None:
    """What the first of the members with such a suffix says."""
    found = next((members[suffix] for suffix in suffixes if suffix in members), None)
    return None if found is None else found.decode("utf-8-sig", "replace").strip()


def fields_of(members: Members) -> dict[str, Any]:
    """The fields of a sample's JSON member; none where it is no JSON, as one such sample is no reason to end a run."""
    try:
        told = json.loads(text_of(members, JSONS) or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
