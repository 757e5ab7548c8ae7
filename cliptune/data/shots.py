"""Few-shot subsets: the same images for every method, by the seed, by published lists, or by a list of one's own.

Zhou et al. 2022, "Learning to Prompt for Vision-Language Models" (CoOp), sec. 4.1: K images a class for training, min(K, 4) for validation.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cliptune.data.chosen import image_numbers
from cliptune.data.named import Wanted, find
from cliptune.data.shot_lists import read_list
from cliptune.data.split import Split
from cliptune.errors import DataError, did_you_mean
from cliptune.whole import write_whole

VALIDATION_SHOTS = 4  # at most, of each class
FILE = "few_shot.json"


class Chosen(NamedTuple):
    """The images that few shots left, by names that find them again."""

    about: dict[str, Any]  # how they were chosen
    ids: dict[str, list[str]]  # by split

    @property
    def digest(self) -> str:
        """sha256 of the images' names, in order of names: the same where the same images are seen."""
        ids = {split: sorted(names) for split, names in self.ids.items()}
        return hashlib.sha256(json.dumps(ids, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `few_shot.json`, which `data.shots_file` takes."""
        text = json.dumps({**self.about, "sha256": self.digest, **self.ids}, indent=1, ensure_ascii=False) + "\n"
        write_whole(folder / FILE, lambda file: file.write(text.encode()))


def few_shot(splits: dict[str, Split], shots: int, column: str | None, seed: int) -> dict[str, np.ndarray]:
    """Choose a few images of each class of train and validation.

    Args:
        splits: train and validation of one source, or one of them.
        shots: images of each class in train; validation keeps min(shots, 4), as CoOp does.
        column: of lists that name the subsets a row is in, such as `train_shot16_seed1` and `val_shot16_seed1`; drawn by the seed
            where not given.
        seed: of the draw, or the published list's.

    Returns:
        The rows' numbers, in order, of train and validation.

    Raises:
        DataError: there are no labels, no such column, or no such list.
    """
    found = {}
    for name, short, count in (("train", "train", shots), ("validation", "val", min(shots, VALIDATION_SHOTS))):
        if (split := splits.get(name)) is None:
            continue
        if split.labels is None:
            raise DataError(
                f"data path {split.name}: shots counts images of a class, and there are no labels. Set label_column, or leave shots out."
            )
        found[name] = _draw(split, count, seed) if column is None else _listed(split, column, f"{short}_shot{shots}_seed{seed}")
    return found


def shots_of_file(parts: Sequence[dict[str, Split]], file: str) -> list[dict[str, np.ndarray]]:
    """Choose the images that a file lists.

    Args:
        parts: train and validation of each source, as far as they are used.
        file: see `shot_lists.read_list`.

    Returns:
        Of each source the rows' numbers, of train, and of validation where the file lists any; a source's own test stays whole.

    Raises:
        DataError: the file cannot be read, names an image that no source has, or one twice.
    """
    listed = read_list(file)
    found: list[dict[str, np.ndarray]] = [{} for _ in parts]
    for name in (name for name in ("train", "validation") if listed.get(name)):
        names = listed[name]
        own = [place for place, splits in enumerate(parts) if name in splits]
        for place, rows in zip(own, find([parts[place][name] for place in own], Wanted(names, name, file)), strict=True):
            found[place][name] = rows
    return found


def _draw(split: Split, count: int, seed: int) -> np.ndarray:
    """Rows of `count` images of each class, or all where there are fewer; in order. An image of several classes counts for each."""
    assert split.labels is not None
    codes = split.labels.codes({label: i for i, label in enumerate(split.labels.distinct())})
    image = image_numbers(split.table, split.columns.image)
    order = np.random.default_rng(seed).permutation(len(split))
    order = order[np.sort(np.unique(image[order], return_index=True)[1])]  # a row of each image
    if isinstance(codes, np.ndarray):
        by_class = order[np.argsort(codes[order], kind="stable")]
        ranked = codes[by_class]
        place = np.arange(len(order)) - np.searchsorted(ranked, ranked)
        kept = by_class[(place < count) & (ranked >= 0)]
    else:
        kept = _of_several(codes, order, count)
    return np.flatnonzero(np.isin(image, image[kept]))


def _of_several(codes: list[np.ndarray], order: np.ndarray, count: int) -> np.ndarray:
    """Rows with a class that is not there often enough yet, one after another."""
    have: dict[int, int] = {}
    kept = []
    for row in order.tolist():
        if any(have.get(code, 0) < count for code in codes[row].tolist()):
            kept.append(row)
            have.update({code: have.get(code, 0) + 1 for code in codes[row].tolist()})
    return np.array(kept, dtype=np.int64)


def _listed(split: Split, column: str, name: str) -> np.ndarray:
    if column not in split.whole.column_names:
        raise DataError(f"data path {split.name} has no column {column} (shots_column). {did_you_mean(column, split.whole.column_names)}")
    lists = [value or [] for value in split.whole.select_columns([column])[column]]
    chosen = [i for i, value in enumerate(lists) if name in value]
    if not chosen:
        known = sorted({entry for value in lists for entry in value})
        raise DataError(f"data path {split.name}: no row is in the list {name} of {column}. {did_you_mean(name, known)}")
    return np.array(chosen)
