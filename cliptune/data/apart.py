"""Batches in which no class comes twice, as far as the counts allow: rows of a class are dealt out to batches in turn."""

from collections.abc import Sequence

import numpy as np


def apart(labels: np.ndarray, whole: int, rng: np.random.Generator) -> np.ndarray:
    """Order rows so that those of a class are in different batches.

    Each class's rows lie next to one another, and the batches take a row in turn, so that a class with no more rows than there are batches
    never meets itself, and a larger one as seldom as can be. Rows that fill no batch come last; they are of the largest classes.

    Args:
        labels: [N]; rows of -1 are of no class.
        whole: rows of a batch.
        rng: of the draw.

    Returns:
        [N], each row once; blocks of `whole` are the batches.
    """
    count = len(labels) // whole
    if count < 2:
        return rng.permutation(len(labels))
    classes = np.where(labels < 0, labels.max(initial=-1) + 1 + np.arange(len(labels)), labels)  # each of no class is alone
    names, group = np.unique(classes, return_inverse=True)
    turn = rng.permutation(len(names))[group]
    order = np.lexsort((rng.random(len(labels)), turn))
    starts = np.flatnonzero(np.r_[True, np.diff(turn[order]) != 0])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))  # in its class
    over = np.lexsort((rng.random(len(order)), -place))[: len(order) - count * whole]  # the last of the largest classes
    left = np.zeros(len(order), dtype=bool)
    left[over] = True
    dealt = order[~left]
    batches = dealt.reshape(whole, count).T  # batch i has places i, i + count, ...
    return np.concatenate([rng.permuted(batches, axis=1)[rng.permutation(count)].ravel(), rng.permutation(order[left])])


def apart_in_all(labels: Sequence[np.ndarray], whole: int, rng: np.random.Generator) -> np.ndarray:
    """As `apart`, of rows with several classes: those that share any are kept apart, by taking rows of many and frequent classes first.

    Args:
        labels: N arrays of classes.
        whole: rows of a batch.
        rng: of the draw.
    """
    count = len(labels) // whole
    if count < 2:
        return rng.permutation(len(labels))
    classes = max((int(each.max()) for each in labels if len(each)), default=-1) + 1
    often = np.bincount(np.concatenate([*labels, np.empty(0)]).astype(np.int64), minlength=classes)
    crowd = np.array([often[each].sum() if len(each) else 0 for each in labels])
    has = np.zeros((classes, count), dtype=np.int32)  # how often a batch has each class
    room = np.full(count, whole)
    batches: list[list[int]] = [[] for _ in range(count)]
    chance = rng.permutation(len(labels))
    dealt, left = chance[: count * whole], chance[count * whole :]  # not the last of the order below: they would be the same each epoch
    for row in dealt[np.argsort(-crowd[dealt], kind="stable")].tolist():
        clashes = has[labels[row]].sum(axis=0) if len(labels[row]) else np.zeros(count, dtype=np.int32)
        cost = np.where(room > 0, clashes * (whole + 1.0) - room, np.inf) + rng.random(count) * 0.5  # then the emptiest
        best = int(cost.argmin())
        batches[best].append(row)
        room[best] -= 1
        has[labels[row], best] += 1
    found = [rng.permutation(batches[number]) for number in rng.permutation(count)]
    return np.concatenate([*found, left]).astype(np.int64)
