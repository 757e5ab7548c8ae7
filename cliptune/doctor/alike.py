"""Which pictures are nearly the same: candidates by their hashes, each proved on the signatures.

No picture is compared with all others: hashes that agree in two of eight bytes meet in a sorted table (as in Norouzi et al. 2012, "Fast
search in Hamming space with multi-index hashing", sec. 3). A candidate is laid over the other by a least-squares shift and scale of each
axis (Lucas and Kanade 1981), brightness and contrast free; what is left is measured against how much each part of the picture varies,
since smooth pictures of one kind agree in the large without being the same.
"""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from cliptune.doctor.signatures import SIDE, Floats, differing

Ints = npt.NDArray[np.int64]

BITS = 10  # of 64 that may differ: of crops by 5 % 9 in 10 do not differ in more (measured on flickr8k and caltech101)
NEIGHBOURS = 24  # in a sorted table that are looked at: pictures of which there are more are found as a chain
MOST = 200_000  # candidates that are laid over each other, those with the fewest bits first
GATE = 0.7  # squared distance of two pictures of unit contrast, beyond which no shift or crop is likely
NEAR = 0.12  # what is left of a part, over its variance, on average of 16 parts; crops by 2 % of flickr8k 0.06, moles alike 0.4
WORST = 0.4  # the same of the second worst part: a small thing on an empty ground differs in few parts
FLOOR = 0.02  # of the whole variance, added to each part's
FURTHEST = 0.15  # of half a side: the largest shift
ROUNDS = (0.35, 0.2)  # of the squared difference may be left after each step without colour: crops by 8 % 0.3 and 0.1
BLOCK = 512  # pairs at once
AT = ((np.arange(SIDE) + 0.5) * 2 / SIDE - 1).astype(np.float32)  # the middles of the parts


def near_pairs(hashes: npt.NDArray[np.uint64], signatures: npt.NDArray[np.uint8]) -> tuple[Ints, Floats]:
    """Find pairs of nearly the same picture.

    Args:
        hashes: [N, 2], see `signatures.hashes`.
        signatures: [N, 768].

    Returns:
        [P, 2], the smaller number first, and their distances, 0 to `NEAR`, the nearest first.
    """
    pairs = candidates(hashes)
    distances = np.concatenate([_distances(signatures, pairs[i : i + BLOCK]) for i in range(0, len(pairs), BLOCK)] or [np.zeros(0)])
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= NEAR]
    return pairs[order], distances[order].astype(np.float32)


def candidates(hashes: npt.NDArray[np.uint64]) -> Ints:
    """Pairs whose hashes differ in few bits, all with all or all with inside, [P, 2]."""
    count = len(hashes)
    if count < 2:
        return np.zeros((0, 2), np.int64)
    both = np.concatenate([hashes[:, 0], hashes[:, 1]])
    found: dict[str, list[npt.NDArray[np.int64]]] = {"code": [], "bits": []}
    for first, second in combinations(range(8), 2):
        key = (both >> np.uint64(8 * first) & np.uint64(255)) << np.uint64(8) | both >> np.uint64(8 * second) & np.uint64(255)
        order = np.argsort(key.astype(np.uint16), kind="stable")
        key, places = key[order], np.arange(len(order))
        for step in range(1, NEIGHBOURS + 1):
            places = places[: np.searchsorted(places, len(order) - step)]
            places = places[key[places] == key[places + step]]
            if not len(places):
                break
            bits = differing(both[order[places]], both[order[places + step]])
            close = bits <= BITS
            a, b = order[places[close]], order[places[close] + step]
            fits = ((a < count) | (b < count)) & (a % count != b % count)  # not the insides of both
            low, high = np.minimum(a % count, b % count)[fits], np.maximum(a % count, b % count)[fits]
            found["code"].append(low * count + high)
            found["bits"].append(bits[close][fits])
    code, bits = np.concatenate(found["code"] or [np.zeros(0, np.int64)]), np.concatenate(found["bits"] or [np.zeros(0, np.int64)])
    order = np.lexsort((bits, code))
    order = order[np.concatenate([[True], np.diff(code[order]) != 0])] if len(order) else order
    if len(order) > MOST:
        order = order[np.argsort(bits[order], kind="stable")[:MOST]]
    return np.stack([code[order] // count, code[order] % count], axis=1)


def _distances(signatures: npt.NDArray[np.uint8], pairs: Ints) -> npt.NDArray[np.float64]:
    """The distance of each pair; infinite where they are not nearly the same."""
    out = np.full(len(pairs), np.inf)
    a, b = (_unit(signatures[pairs[:, i]]) for i in (0, 1))
    here = np.flatnonzero(np.square(a - b).mean(axis=(1, 2, 3)) < GATE)
    place = np.tile(np.array([1, 0], np.float32), (len(here), 2, 1))  # scale and shift of x, of y
    for most in ROUNDS:  # without colour, a third of the work
        if not len(here):
            return out
        left, place = overlaid(a[here].mean(axis=1, keepdims=True), b[here].mean(axis=1, keepdims=True), place)
        close = left.mean(axis=(1, 2, 3)) < most
        here, place = here[close], place[close]
    if not len(here):
        return out
    left, _ = overlaid(a[here], b[here], place)
    varies = b[here].reshape(-1, 3, 4, 4, 4, 4).var(axis=(3, 5)).mean(axis=1)  # [P, 4, 4]
    ratio = (left.reshape(-1, 3, 4, 4, 4, 4).mean(axis=(1, 3, 5)) / (varies + FLOOR)).reshape(len(here), -1)
    worst = np.partition(ratio, -2, axis=1)[:, -2]
    out[here] = np.where(worst <= WORST, ratio.mean(axis=1), np.inf)
    return out


def _unit(signatures: npt.NDArray[np.uint8]) -> Floats:
    """Signatures as pictures [P, 3, 16, 16] of mean 0 and variance 1."""
    found = signatures.reshape(-1, SIDE, 3, SIDE).transpose(0, 2, 1, 3).astype(np.float32)
    found -= found.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(found / np.maximum(np.sqrt((found**2).mean(axis=(1, 2, 3), keepdims=True)), 1e-3), np.float32)


def overlaid(a: Floats, b: Floats, place: Floats) -> tuple[Floats, Floats]:
    """Lay pictures over others by one linear step, and tell what is left.

    Args:
        a: [P, C, 16, 16], to be moved.
        b: [P, C, 16, 16].
        place: [P, 2, 2], scale and shift of x and of y from which the step starts.

    Returns:
        The squared difference of each number, and the place after the step.
    """
    across, down = (_sampling(place[:, axis, :1] * AT + place[:, axis, 1:]) for axis in (0, 1))
    moved = np.asarray(down[:, None] @ a @ across[:, None].transpose(0, 1, 3, 2), np.float32)
    terms = np.empty((len(a), 6, *a.shape[1:]), np.float32)
    terms[:, 0], terms[:, 1] = 1, moved
    terms[:, 2], terms[:, 4] = _slope(moved), _slope(moved.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    terms[:, 3], terms[:, 5] = terms[:, 2] * AT, terms[:, 4] * AT[:, None]
    terms, target = terms.reshape(len(a), 6, -1), b.reshape(len(a), -1, 1)
    square = terms @ terms.transpose(0, 2, 1) + 1e-3 * np.eye(6, dtype=np.float32)
    solved = np.linalg.solve(square, terms @ target)
    left = np.square(target - terms.transpose(0, 2, 1) @ solved).reshape(b.shape)
    contrast = np.where(abs(solved[:, 1:2]) < 0.3, 1, solved[:, 1:2])
    shift, grow = (np.clip((solved[:, i::2] / contrast)[:, :, 0], -FURTHEST, FURTHEST) for i in (2, 3))  # of x, of y
    scale = np.clip(place[:, :, 0] * (1 + grow), 0.8, 1.25)
    moved_by = np.clip(place[:, :, 1] + place[:, :, 0] * shift, -FURTHEST, FURTHEST)
    return left, np.stack([scale, moved_by], axis=2)


def _slope(pictures: Floats) -> Floats:
    """The derivative along the last axis, whose length is 2."""
    out = np.empty_like(pictures)
    out[..., 1:-1] = (pictures[..., 2:] - pictures[..., :-2]) * (SIDE / 4)
    out[..., 0], out[..., -1] = (pictures[..., 1] - pictures[..., 0]) * (SIDE / 2), (pictures[..., -1] - pictures[..., -2]) * (SIDE / 2)
    return out


def _sampling(places: Floats) -> Floats:
    """Cubic interpolation (Keys 1981) at places [P, 16] of -1 to 1, as matrices [P, 16, 16]."""
    at = np.clip((places + 1) * (SIDE / 2) - 0.5, 0, SIDE - 1)
    d = abs(at[:, :, None] - np.arange(SIDE))
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    weights = np.where(d < 1, near, np.where(d < 2, far, 0))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True), np.float32)  # at an edge some of them fall outside
