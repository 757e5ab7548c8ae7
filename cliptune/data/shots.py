"""Few-shot subsets: the same images for every method, by the seed or by published lists."""

import numpy as np
from datasets import Dataset

from cliptune.errors import DataError, did_you_mean

VALIDATION_SHOTS = 4  # at most, of each class: Zhou et al. 2022, CoOp, sec. 4.1


def few_shot(named: dict[str, Dataset], label: str | None, shots: int, column: str | None, seed: int, path: str) -> dict[str, Dataset]:
    """Keep a few images of each class of train and validation.

    Args:
        named: tables by split.
        label: the column of labels.
        shots: images of each class in train; validation keeps min(shots, 4), as CoOp does.
        column: of lists that name the subsets a row is in, such as `train_shot16_seed1` and `val_shot16_seed1`; drawn by the seed
            where not given.
        seed: of the draw, or the published list's.
        path: the source, for messages.

    Raises:
        DataError: there are no labels, no such column, or no such list.
    """
    if label is None:
        raise DataError(f"data path {path}: shots counts images of a class, and there are no labels. Set label_column, or leave shots out.")
    kept = dict(named)
    for split, short, count in (("train", "train", shots), ("validation", "val", min(shots, VALIDATION_SHOTS))):
        table = named[split]
        if column is None:
            chosen = _draw(np.array([str(value) for value in table[label]]), count, seed)
        else:
            chosen = _listed(table, column, f"{short}_shot{shots}_seed{seed}", path)
        kept[split] = table.select(chosen)
    return kept


def _draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of `count` of each class, or all where there are fewer; in order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == name][:count] for name in np.unique(labels)]))


def _listed(table: Dataset, column: str, name: str, path: str) -> np.ndarray:
    if column not in table.column_names:
        raise DataError(f"data path {path} has no column {column} (shots_column). {did_you_mean(column, table.column_names)}")
    lists = [value or [] for value in table[column]]
    chosen = [i for i, value in enumerate(lists) if name in value]
    if not chosen:
        known = sorted({entry for value in lists for entry in value})
        raise DataError(f"data path {path}: no row is in the list {name} of {column}. {did_you_mean(name, known)}")
    return np.array(chosen)
