"""Metadata files beside images, as `datasets` has them: tables whose column `file_name` is a path from the file's own folder.

`datasets`' reader of image folders gives the same tables, but asks for each file, at each start: 50,000 images take half a minute.
"""

import os
from collections.abc import Iterable, Mapping

import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, Image, concatenate_datasets
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from cliptune.data.formats.reading import escaped, load_files, suffix_of
from cliptune.errors import DataError

METADATA = tuple(ImageFolder.METADATA_FILENAMES)
NAME = "file_name"


def files_of(found: Iterable[str]) -> list[str]:
    """Which of a folder's files are metadata."""
    return [path for path in found if path.endswith(METADATA) and os.path.basename(path) in METADATA]  # noqa: PTH119


def described_tables(folder: str, files: Mapping[str, str], splits: Iterable[str]) -> DatasetDict | None:
    """Read metadata files.

    Args:
        folder: that was given, for messages.
        files: by split, its file.
        splits: that need one each.

    Returns:
        By split, the file's columns, with `image`, not decoded yet, in the place of `file_name`; None where files are of several kinds, or
        have other columns of paths, or lists of them, which `datasets`' reader knows.

    Raises:
        DataError: a file cannot be read, or a split has none.
    """
    if lacking := [split for split in splits if split not in files]:
        raise DataError(
            f"data path {folder}: {next(iter(files.values()))} describes images, and those of {lacking[0]} have no such file. "
            "Write one for each split, or a single one above their folders."
        )
    if len({suffix_of(file) for file in files.values()}) > 1:
        return None
    tables: dict[str, Dataset] = {}
    for split, file in files.items():
        tables |= load_files(file, {split: [escaped(file)]}, file)
    if any(_is_odd(table) for table in tables.values()):
        return None
    return DatasetDict({split: _with_images(table, os.path.dirname(files[split])) for split, table in tables.items()})  # noqa: PTH120


def _is_odd(table: Dataset) -> bool:
    """Whether there are other columns of paths than `file_name`, or none."""
    paths = [name for name in table.column_names if name.endswith((NAME, f"{NAME}s"))]
    return paths != [NAME] or "image" in table.column_names or getattr(table.features[NAME], "dtype", "") not in ("string", "large_string")


def _with_images(table: Dataset, folder: str) -> Dataset:
    start = os.path.abspath(folder)  # noqa: PTH100  # links stay
    names = table.with_format("arrow")[:][NAME].to_pylist()
    paths = [name and os.path.join(start, os.path.normpath(name).replace("\\", "/")) for name in names]  # noqa: PTH118
    images = Dataset.from_dict({"image": paths}, features=Features({"image": Image()}))
    order = ["image" if name == NAME else name for name in table.column_names]
    return concatenate_datasets([images, table.remove_columns(NAME)], axis=1).select_columns(order)


def paths_of(table: Dataset) -> list[str]:
    """The path of each image of a table, empty where it has none."""
    return [path or "" for path in pc.struct_field(table.with_format("arrow")[:]["image"], "path").to_pylist()]
