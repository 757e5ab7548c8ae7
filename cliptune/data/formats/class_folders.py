"""Folders with images in folders of their classes, and nothing that describes them: their table without a reader.

`datasets`' reader of image folders gives the same table, for half a second and a copy of the list on disk; it also reads archives and
metadata files, and has all other folders.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

READ = {*ImageFolder.EXTENSIONS, ".zip"}


def besides(images: Sequence[str], found: Iterable[str]) -> list[str]:
    """What a folder's reader would see in it beside these images.

    Args:
        images: that lie in it.
        found: all that does, folders too.
    """
    folders = {Path(folder) for folder in {os.path.dirname(image) for image in images}}  # noqa: PTH120  # of a million images few
    known = {*images, *(str(parent) for folder in folders for parent in (folder, *folder.parents))}
    return [path for path in found if path not in known and _is_read(Path(path))]


def _is_read(path: Path) -> bool:
    suffixes = {suffix.lower() for suffix in path.suffixes[-2:]}
    linked = path.is_symlink() and path.is_dir()  # what lies in it was not found with the rest
    return not suffixes.isdisjoint(READ) or path.name in ImageFolder.METADATA_FILENAMES or linked


def table_of_classes(parts: Mapping[str, Sequence[str]]) -> DatasetDict | None:
    """The table by split: `image`, not decoded yet, and `label`, a number by the classes' names in order.

    Args:
        parts: by split, the images' paths.

    Returns:
        As `load_dataset("imagefolder")` gives it; None where images do not all lie equally deep, or the first split has a single
        class, and it would give no labels.
    """
    paths = {split: sorted(os.path.abspath(image) for image in images) for split, images in parts.items()}  # noqa: PTH100  # links stay
    labels = {split: [path.rsplit(os.sep, 2)[1] for path in found] for split, found in paths.items()}
    depths = {path.count(os.sep) for found in paths.values() for path in found}
    if len(depths) != 1 or len({*next(iter(labels.values()))}) < 2:
        return None
    names = sorted({name for found in labels.values() for name in found})
    numbers = {name: i for i, name in enumerate(names)}
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return DatasetDict(
        {
            split: Dataset.from_dict({"image": paths[split], "label": [numbers[name] for name in labels[split]]}, features=features)
            for split in paths
        }
    )
