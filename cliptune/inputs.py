"""From what the user names to a lazy stream of images: files, folders, patterns, lists of paths, and whatever `data.sources` opens.

What holds the images is in `image_sources`, decoding in `stream`.
"""

import glob
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cliptune.data.formats.reading import READERS
from cliptune.errors import ConfigError, DataError, did_you_mean
from cliptune.image_sources import Files, Label, Table, open_tables, stamp
from cliptune.image_sources import Item as Item
from cliptune.images import SUFFIXES

SAVED = ("dataset_dict.json", "dataset_info.json")  # what `save_to_disk` leaves in a folder
BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8


class Inputs:
    """All images that the user names, in that order; one that is named twice comes once.

    Args:
        sources: image files; folders, of which all images at any depth are taken, hidden ones left out; patterns such as `shots/*.png`;
            tables and data sets, see `data.sources.open_source`, all splits or one by `SOURCE@split`, which opens a folder of images as a
            data set too, with its classes; `.txt` files with a path per line, and `-` for such lines on standard input.

    Raises:
        ConfigError: no source is named.
        DataError: a source cannot be read, or there is no image in any.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        if not sources:
            raise ConfigError("no input is given. Name images, folders or tables, or - for paths on standard input.")
        self.sources = list(dict.fromkeys(str(source) for source in sources))
        self.parts: list[Files | Table] = []
        for source in self.sources:
            for part in _open(source):
                self._add(part)
        if not len(self):
            raise DataError(f"there is no image in {', '.join(self.sources)}. Images end in {', '.join(SUFFIXES)}.")

    def _add(self, part: Files | Table) -> None:
        if isinstance(part, Table):
            if all(other.rows.name != part.rows.name for other in self.parts if isinstance(other, Table)):
                self.parts.append(part)
            return
        known = [other.labels for other in self.parts if isinstance(other, Files)]
        new = {path: label for path, label in part.labels.items() if not any(path in labels for labels in known)}
        if self.parts and isinstance(self.parts[-1], Files):  # thousands of names that the shell made of a pattern are one part
            self.parts[-1].labels.update(new)
        else:
            self.parts.append(Files(new))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def labelled(self) -> bool:
        """Whether any image may have a label."""
        return any(part.labelled for part in self.parts)

    def __iter__(self) -> Iterator[Item]:
        return self.items()

    def items(self, first: int = 0) -> Iterator[Item]:
        """Give the images from number `first` on; what comes before is not read."""
        for part in self.parts:
            yield from part.items(min(first, len(part)))
            first = max(first - len(part), 0)

    def fingerprint(self) -> str:
        """Identify the images: names, sizes and times of all files; of a table 64 rows, and its file's size and time."""
        digest = hashlib.sha256()
        for part in self.parts:
            for text in part.about():
                digest.update(text.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]


def _open(source: str) -> Iterable[Files | Table]:
    if source == "-":
        return [_listed(sys.stdin.buffer.read(), Path())]
    path, split = _parted(source)
    local = Path(path).expanduser()
    if glob.has_magic(path) and not local.exists():
        return _matching(str(local), split)
    if path == "digits" or split is not None:
        return open_tables(path, split)
    if local.is_dir() and not any((local / name).exists() for name in SAVED):
        images: dict[str, Label] = dict.fromkeys(_walk(str(local)))
        if images:
            return [Files(images)]
    if local.is_file() and local.suffix.lower() == ".txt":
        return [_listed(local.read_bytes(), local.parent)]
    if local.is_file() and local.suffix.lower() in ("", *SUFFIXES):
        return [Files({str(local): None})]
    if not local.exists() and local.suffix.lower() in (".txt", *SUFFIXES):  # `open_source` would look for it on the hub
        near = did_you_mean(local.name, (entry.name for entry in local.parent.iterdir())) if local.parent.is_dir() else ""
        raise DataError(f"there is no file {path}. {near if near.startswith('Did') else ''}".rstrip())
    return open_tables(path, None)


def _parted(source: str) -> tuple[str, str | None]:
    """`SOURCE@split`, unless a file is called so."""
    found = None if Path(source).expanduser().exists() else re.fullmatch(r"(.+)@([\w-]+)", source)
    return (found[1], found[2]) if found else (source, None)


def _matching(pattern: str, split: str | None) -> list[Files | Table]:
    """What a pattern matches: images and folders of them; tables, where there are neither."""
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a Path's own knows no pattern with a root
    tables = [match for match in found if Path(match).suffix.lower() in READERS]
    images = [match for match in found if match.lower().endswith(SUFFIXES) or (Path(match).is_dir() and any(_walk(match)))]
    chosen = images if images and split is None else tables
    if not chosen:
        raise DataError(f"no image, folder of images or table matches {pattern}.")
    return [part for match in chosen for part in _open(match if split is None else f"{match}@{split}")]


def _walk(folder: str) -> Iterator[str]:
    """The images of a folder and the folders in it, sorted; links to folders are not followed, since they may lead in circles."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not entry.name.startswith((".", "__MACOSX"))), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}. Change its rights, or leave it out.") from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry.path


def _listed(data: bytes, folder: Path) -> Files:
    """A path per line, from the working folder, or where it is not there from the list's own."""
    lines = [line.strip() for line in os.fsdecode(data.removeprefix(BOM)).split("\n")]
    return Files({line if stamp(line) else str(folder / line): None for line in lines if line})
