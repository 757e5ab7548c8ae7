"""Folders of images: in folders of their classes, or with a metadata file; in folders by split, or not."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict

from cliptune.data.formats.class_folders import besides, table_of_classes
from cliptune.data.formats.metadata_files import METADATA, described_tables, files_of, paths_of
from cliptune.data.formats.reading import SPLITS, Source, escaped, load


class Layout:
    """Where a folder's images lie, and which split each is of.

    Args:
        folder: that was given.
        images: in it, in order.
        found: all that lies in it, images too.

    Attributes:
        base: the innermost folder that all images lie in.
        parts: the images of each split, train first; all are train's where no folder is called so.
        lost: images that lie in no folder of a split, where there are such folders.
        whole: the metadata file that is for all splits, which lies above their folders.
    """

    def __init__(self, folder: Path, images: list[str], found: list[str]) -> None:
        self.folder, self.images, self.found = folder, images, found
        parents = [os.path.dirname(image) for image in images]  # noqa: PTH120  # strings: see `visible`
        self.base = Path(os.path.commonpath({*parents}))
        tops = {parent: self._top(parent) for parent in dict.fromkeys(parents)}
        splits = {top: next((split for split, names in SPLITS.items() if top.lower() in names), "") for top in tops.values()}
        nested = any(splits[top] == "train" and Path(parent).parent != self.base for parent, top in tops.items())
        lost = sum(not splits[tops[parent]] for parent in parents)
        self._splits = {} if "train" not in splits.values() or (lost and not nested) else splits  # without, `train`, ... are classes
        self.lost = lost if self._splits else 0
        of_parent = {parent: self.split_of(parent) for parent in tops}
        self.parts: dict[str, list[str]] = {split: [] for split in SPLITS if split in of_parent.values()}
        for image, parent in zip(images, parents, strict=True):
            if split := of_parent[parent]:
                self.parts[split].append(image)
        self.whole = next((path for path in files_of(found) if Path(path).parent == self.base), "") if self._splits else ""

    def split_of(self, folder: str) -> str:
        """The split of what lies in a folder, empty where it is of none."""
        return self._splits.get(self._top(folder), "") if self._splits else "train"

    @property
    def patterns(self) -> dict[str, list[str]]:
        """The folders of each split, as `datasets` is told them; the folder itself where one metadata file is for all."""
        if self.whole:
            return {"train": [escaped(self.base / "**")]}
        if not self._splits:
            return {"train": [escaped(self.folder / "**")]}
        return {split: [escaped(self.base / top / "**") for top in self._splits if self._splits[top] == split] for split in self.parts}

    def metadata(self, beside: Iterable[str]) -> dict[str, str] | None:
        """The metadata file of each split, where nothing else describes its images; of train alone where one is for all.

        Args:
            beside: what `datasets`' reader would see beside the images.
        """
        by_split: dict[str, list[str]] = {}
        for path in beside:
            by_split.setdefault("train" if self.whole else self.split_of(str(Path(path).parent)), []).append(path)
        by_split.pop("", None)  # what lies beside the splits
        plain = all(len(paths) == 1 and Path(paths[0]).name in METADATA for paths in by_split.values())
        return {split: by_split[split][0] for split in SPLITS if split in by_split} if plain else None

    def divided(self, table: Dataset) -> DatasetDict:
        """The rows of a table of all images, by split; a path that leads out is train's, where it is refused."""
        base = self.base.resolve()
        paths = [os.path.dirname(path) for path in paths_of(table)]  # noqa: PTH120
        of_parent = {}
        for parent in dict.fromkeys(paths):
            place = Path(parent).resolve()
            inside = place.relative_to(base).parts[:1] if place.is_relative_to(base) else None
            of_parent[parent] = "train" if inside is None else self._splits.get("".join(inside), "")
        return DatasetDict({split: table.select([i for i, path in enumerate(paths) if of_parent[path] == split]) for split in self.parts})

    def _top(self, folder: str) -> str:
        """The folder right in the base that a folder lies in, or is; empty where it does not."""
        place = Path(folder)
        return "".join(place.relative_to(self.base).parts[:1]) if place.is_relative_to(self.base) else ""


def open_images(folder: Path, images: list[str], found: list[str]) -> Source:
    """Open a folder of images.

    datasets' own search for splits looks at file names too, and then drops all files that speak of none; and it gives all that a
    metadata file above the splits' folders lists to each of them.

    Args:
        folder: that was given.
        images: in it, in order.
        found: all that lies in it, images too.

    Raises:
        DataError: a metadata file cannot be read, or is of some splits alone.
    """
    given = Layout(folder, images, found)
    tables, notes = _tables(given)
    if given.lost:
        notes.insert(0, f"{given.lost} images in no folder of a split are not used")
    return Source(tables, {"train": [folder]}, "; ".join(notes))


def _tables(given: Layout) -> tuple[DatasetDict, list[str]]:
    beside = besides(given.images, given.found)
    files = given.metadata(beside)
    notes: list[str] = []
    tables = None
    if files == {}:
        tables = table_of_classes(given.parts)
    elif files is not None:
        tables = described_tables(str(given.folder), files, () if given.whole else given.parts)
        if tables is not None and (unnamed := _unnamed(given.parts, tables)):
            notes.append(f"{unnamed} images that no metadata file names are not used")
    if tables is None:
        tables = load(str(given.folder), "imagefolder", data_files=given.patterns)
    return given.divided(tables["train"]) if given.whole else tables, notes


def _unnamed(parts: Mapping[str, Sequence[str]], tables: DatasetDict) -> int:
    """How many images no row is of."""
    named = {path for table in tables.values() for path in paths_of(table)}
    return len({os.path.abspath(image) for images in parts.values() for image in images} - named)  # noqa: PTH100  # links stay
