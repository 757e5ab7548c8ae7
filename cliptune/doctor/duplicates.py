"""Images that are there several times: the same file by its digest, nearly the same picture by its signature."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cliptune.doctor.alike import near_pairs
from cliptune.doctor.findings import Duplicates, Pair
from cliptune.doctor.gathered import SPLITS, Images, SplitRows
from cliptune.doctor.places import LISTED

ACROSS = (("test", "train"), ("validation", "train"), ("test", "validation"))  # the worst first
ORDER = {"test": 0, "validation": 1, "train": 2}

Groups = list[npt.NDArray[np.int64]]


def find_duplicates(images: Images, rows: dict[str, SplitRows]) -> Duplicates:
    """Find pairs of images, and count what they do."""
    groups = same_files(images)
    pairs = [pair for group in groups if len(group) > 1 for pair in _byte_pairs(group, images, rows)]
    found = Duplicates(bytes=len(pairs))
    first = np.array([group[0] for group in groups if images.plain[group[0]]], np.int64)
    members = {int(group[0]): group for group in groups}
    near, distances = near_pairs(images.hashes[first], images.signatures[first])
    near = first[near]
    pairs += [_near_pair(members[a], members[b], float(d), images, rows) for (a, b), d in zip(near.tolist(), distances, strict=True)]
    found.near = len(near)
    found.conflicts = sum(pair.conflict for pair in pairs)
    found.pairs = sorted(pairs, key=_worst_first)[:LISTED]
    _count(found, groups, near, images)
    return found


def same_files(images: Images) -> Groups:
    """The images of each distinct file, in the order in which they came; those that could not be read are none."""
    there = np.flatnonzero(images.bytes > 0)
    digests = np.ascontiguousarray(images.digests[there]).view([("a", np.uint64), ("b", np.uint64)]).ravel()
    order = np.argsort(digests, kind="stable")
    ends = np.flatnonzero(digests[order][1:] != digests[order][:-1]) + 1 if len(order) else np.zeros(0, np.int64)
    return [there[part] for part in np.split(order, ends) if len(part)]


def _byte_pairs(group: npt.NDArray[np.int64], images: Images, rows: dict[str, SplitRows]) -> Iterator[Pair]:
    """The first image of a group with each of the others."""
    for other in group[1:].tolist():
        yield _pair("bytes", int(group[0]), other, 0.0, images, rows)


def _near_pair(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], distance: float, images: Images, rows: dict[str, SplitRows]) -> Pair:
    """One pair of two groups of the same files: that of test and train, where there is one."""
    options = [(int(i), int(j)) for i in _one_of_each(a, images) for j in _one_of_each(b, images)]
    pairs = [_pair("near", i, j, distance, images, rows) for i, j in options]
    return min(pairs, key=_worst_first)


def _one_of_each(group: npt.NDArray[np.int64], images: Images) -> npt.NDArray[np.int64]:
    return group[np.unique(images.split[group], return_index=True)[1]]


def _pair(kind: str, i: int, j: int, distance: float, images: Images, rows: dict[str, SplitRows]) -> Pair:
    i, j = sorted((i, j), key=lambda k: (ORDER[SPLITS[images.split[k]]], images.row[k]))
    (split, row), (other, other_row) = images.where(i), images.where(j)
    labels = (rows[split].label(row), rows[other].label(other_row))
    return Pair(kind, rows[split].place(row), rows[other].place(other_row), round(distance, 4), labels)


def _worst_first(pair: Pair) -> tuple[int, bool, float]:
    splits = (pair.first.split, pair.second.split)
    return ACROSS.index(splits) if splits in ACROSS else len(ACROSS), not pair.conflict, pair.distance


def _count(found: Duplicates, groups: Groups, near: npt.NDArray[np.int64], images: Images) -> None:
    """Count the images of a split that are in another one too, and those that are not the first of their kind in their own."""
    like: dict[int, set[int]] = defaultdict(set)  # from the first of a group to those of groups like it
    for a, b in near.tolist():
        like[a].add(b)
        like[b].add(a)
    splits = {int(group[0]): images.split[group] for group in groups}
    first = {key: {int(s): int(images.row[group[images.split[group] == s][0]]) for s in set(splits[key].tolist())}
             for key, group in ((int(group[0]), group) for group in groups if len(group) > 1 or int(group[0]) in like)}  # fmt: skip
    across: dict[str, int] = {f"{a} in {b}": 0 for a, b in ACROSS}
    inside: dict[str, int] = dict.fromkeys(SPLITS, 0)
    for key, own in first.items():
        others = [first[other] for other in like[key]]
        for s, row in own.items():
            count = int((splits[key] == s).sum())
            earlier = any(s in other and other[s] < row for other in others)
            inside[SPLITS[s]] += count - 1 + earlier
            for target, source in ACROSS:
                if SPLITS[s] == target and any(SPLITS.index(source) in other for other in (own, *others)):
                    across[f"{target} in {source}"] += count
    found.across = {name: count for name, count in across.items() if count}
    found.inside = {name: count for name, count in inside.items() if count}
