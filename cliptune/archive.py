"""Whether a torch file that anybody may have written can be read: it shall take no more memory than it takes room on the disk.

That nothing of it is run is what `torch.load(weights_only=True)` sees to. Here: no entry is compressed, no two share their bytes, what is
written once is not meant a million times, and no tensor is larger than what it is stored in.
"""

import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ZIP = b"PK\x03\x04"  # how torch tells an archive from its format of before 1.6
SLACK = 16  # times that what is written once may be meant, on the average
DEEPEST = 64  # nested lists and dicts; Lightning's states have a dozen
LONGEST = 500  # characters of a name that a message may repeat


class RefusedError(Exception):
    """Why a file is not read, in words that follow `it`."""


def load(path: Path) -> Any:
    """Read an archive as plain data.

    Raises:
        RefusedError: it would take more memory than its length allows.
        Exception: zipfile's and torch's many kinds, of what is damaged, no archive, or more than plain data.
    """
    _check_entries(path)
    return _checked(torch.load(path, map_location="cpu", weights_only=True, mmap=True), path)


def check(path: Path) -> None:
    """Refuse what `load` would, but for torch's format of before 1.6, leaving the tensors' values on the disk; errors as for `load`."""
    archive = _is_archive(path)
    if archive:
        _check_entries(path)
    _checked(torch.load(path, map_location="cpu", weights_only=True, mmap=archive), path)


def mapped(path: Path) -> AbstractContextManager[Any]:
    """While it lasts, `torch.load` maps an archive instead of copying it, so that what is read is read once, into its place."""
    if not _is_archive(path):
        return nullcontext()
    try:
        from torch.utils.serialization import config  # of torch 2.7
    except ImportError:
        return nullcontext()
    return config.patch("load.mmap", True)  # type: ignore[no-any-return,attr-defined]


def _is_archive(path: Path) -> bool:
    """Whether a file is of torch's format since 1.6, whose tensors can be mapped."""
    with path.open("rb") as file:
        return file.read(len(ZIP)) == ZIP


def is_name(text: Any) -> bool:
    """Whether a file's word can stand in a message of one line."""
    return isinstance(text, str) and len(text) <= LONGEST and text.splitlines() in ([], [text]) and "\x1b" not in text


def _checked(found: Any, path: Path) -> Any:
    length = path.stat().st_size
    if _weight(found, {}, 0) > length:
        raise RefusedError(f"unfolds to more than its {length:,} bytes can hold")
    return found


def _check_entries(path: Path) -> None:
    """Torch writes entries as they are, one after another, and their directory behind them."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        entries, begin = archive.infolist(), archive.start_dir
        length = file.seek(0, 2)
        file.seek(max(length - 98, 0))
        if begin != _stated(file.read(), length):  # or torch might read another directory than the one that is looked at here
            raise RefusedError("is no archive as torch writes it")
    read = [entry for entry in entries if "/code/" not in entry.filename]  # a script's, compressed: `torch.load` takes no scripts
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in read):
        raise RefusedError("holds compressed entries, which torch never writes")
    if sum(entry.file_size for entry in entries) > length:
        raise RefusedError("holds entries that are larger than the file")


def _stated(tail: bytes, length: int) -> int:
    """Where the end of an archive without a comment says that its directory begins; -1 where it is no such end.

    APPNOTE.TXT 4.3.14 to 4.3.16: the record of 56 bytes and its locator of 20 where the archive is large, then the record of 22.
    """
    if tail[-22:-18] != b"PK\x05\x06":
        return -1
    if tail[-42:-38] != b"PK\x06\x07":
        return int.from_bytes(tail[-6:-2], "little")
    there = tail[-98:-94] == b"PK\x06\x06" and int.from_bytes(tail[-34:-26], "little") == length - 98
    return int.from_bytes(tail[-50:-42], "little") if there else -1


def _weight(value: Any, known: dict[int, int], depth: int) -> int:
    """The bytes that a file needs at least to hold this, where nothing in it is written once and meant more than `SLACK` times."""
    if isinstance(value, Tensor):
        return 1 + _size(value) // SLACK
    if isinstance(value, (str, bytes)):
        return 1 + len(value) // SLACK
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if depth == DEEPEST:
        raise RefusedError(f"is nested deeper than {DEEPEST} lists")
    if id(value) not in known:
        parts: Iterable[Any] = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_weight(part, known, depth + 1) for part in parts)
    return known[id(value)]


def _size(value: Tensor) -> int:
    """The bytes of a tensor's values, all of which the file must hold."""
    shape = tuple(value.shape)
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        raise RefusedError(f"holds a tensor of shape {shape}, of a kind that cliptune never writes")
    size = value.numel() * value.element_size()
    if size > value.untyped_storage().nbytes():
        raise RefusedError(f"holds a tensor of shape {shape} that claims more values than the file has")
    return size
