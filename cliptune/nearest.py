"""Which rows are most like a query: exactly, in blocks over rows that may lie on the disk, or among candidates that faiss finds.

The candidates come from product codes (Jégou et al. 2011) of two bits per value, all of which are scanned in registers (André et al. 2015).
No lists are probed (IVF), since those are drawn around images: in the same time they lost a tenth of the rows that are right for a text.
Where rows are kept is not known here. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cliptune.errors import DataError

BLOCK = 32_768  # rows compared at a time: 64 MB of 512 values each
QUERIES = 128  # compared at a time: 16 MB of scores
MARGIN = 16  # candidates beyond k, whose order in float32 may be another than that of the sums in float64
VALUES_PER_CODE = 2  # a code has 4 bits; with 4 values per code recall@10 fell from 0.999 to 0.83 on rows without clusters
SAMPLE = 16_384  # rows that the codes are trained on; four times as many gave the same recall
FOUND_FEWEST, FOUND_PER_HIT = 300, 10  # candidates of faiss: recall@10 of 0.997, of 0.988 on rows at random; 100 candidates gave 0.94
FOUND_MOST = 5_000  # beyond it, reading them here and there takes as long as exact search
HINT = "Install it: pip install 'cliptune[search]'"


def unit_rows(values: Any, names: Sequence[str] | None = None) -> np.ndarray:
    """Give rows as float32 of unit length.

    Args:
        values: [N, D], an array or a tensor of any device and precision.
        names: what to call each in an error; queries by default.

    Returns:
        [N, D], on the CPU.

    Raises:
        DataError: a row has no direction: it is zero, infinite or not a number.
    """
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    rows = np.ascontiguousarray(values, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"rows are {list(rows.shape)}, but must be [N, D].")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)  # [N, 1]
    odd = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(odd):
        name = f"query {odd[0]}" if names is None else names[odd[0]]
        raise DataError(
            f"the row of {name} has length {lengths[odd[0], 0]:g}, but must point somewhere. Mend its file or the model's weights."
        )
    return rows / lengths


def nearest(rows: np.ndarray, queries: np.ndarray, k: int, codes: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of the greatest products with each query; of equal ones, those of lower number.

    Args:
        rows: [N, D], float32, may be a memory map: they are read in blocks.
        queries: [Q, D], float32.
        k: how many, at most N.
        codes: from `read_codes` of these rows; found exactly without.

    Returns:
        The scores, [Q, k] float32, falling, and the rows' numbers, [Q, k] int64.
    """
    scores, numbers = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        candidates = _by_blocks(rows, part, k + MARGIN) if codes is None else _by_codes(codes, part, k)
        for i, found in enumerate(candidates, start):
            scores[i], numbers[i] = _best(rows, queries[i], found, k)
    return scores, numbers


def _best(rows: np.ndarray, query: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Score candidates as one sum in float64, which does not depend on what they were found beside."""
    ordered = np.sort(candidates)  # the order on the disk
    scores = (rows[ordered].astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    first = np.argsort(-scores, kind="stable")[:k]
    return scores[first], ordered[first]


def _by_blocks(rows: np.ndarray, queries: np.ndarray, count: int) -> list[np.ndarray]:
    """Numbers of the `count` best rows, or of all, for each query."""
    numbers = [np.empty(0, dtype=np.int64) for _ in queries]
    scores = [np.empty(0, dtype=np.float32) for _ in queries]
    for start in range(0, len(rows), BLOCK):
        for i, line in enumerate(queries @ rows[start : start + BLOCK].T):  # [n] of [Q, n]
            if len(numbers[i]) == count and line.max() <= scores[i][-1]:
                continue
            best = _greatest(line, count)
            both, whose = np.concatenate((scores[i], line[best])), np.concatenate((numbers[i], best + start))
            kept = _greatest(both, count)
            scores[i], numbers[i] = both[kept], whose[kept]
    return numbers


def _greatest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the greatest values, falling; of equal ones the first."""
    at = np.arange(len(values))
    if len(values) > count:
        at = np.flatnonzero(values >= np.partition(values, -count)[-count])
    return at[np.argsort(-values[at], kind="stable")][:count]


def has_faiss() -> bool:
    """Whether codes can be written and read here."""
    return find_spec("faiss") is not None


def fits_codes(k: int) -> bool:
    """Whether codes find the best k sooner than exact search does."""
    return _candidate_count(k) <= FOUND_MOST


def _candidate_count(k: int) -> int:
    return FOUND_FEWEST + FOUND_PER_HIT * k


def write_codes(rows: np.ndarray, file: Path) -> None:
    """Write the codes of rows; takes a sixteenth of their size, in memory too.

    Args:
        rows: [N, D], float32, read in blocks.
        file: where.

    Raises:
        OSError: the disk does not take it.
    """
    import faiss

    width = rows.shape[1]
    pieces = width // VALUES_PER_CODE if width % VALUES_PER_CODE == 0 else width
    codes = faiss.IndexPQFastScan(width, pieces, 4, faiss.METRIC_INNER_PRODUCT)
    chosen = np.random.default_rng(0).choice(len(rows), min(len(rows), SAMPLE), replace=False)
    codes.train(rows[np.sort(chosen)])
    for start in range(0, len(rows), BLOCK):
        codes.add(rows[start : start + BLOCK])
    try:
        faiss.write_index(codes, str(file))
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[-1]) from None


def read_codes(file: Path, shape: tuple[int, ...]) -> Any:
    """Read the codes of rows of a shape, [N, D].

    Raises:
        RuntimeError: the file is damaged, or of other rows.
    """
    import faiss

    codes = faiss.read_index(str(file))
    if (codes.ntotal, codes.d) != shape:
        raise RuntimeError(f"{codes.ntotal} codes of width {codes.d}")
    return codes


def _by_codes(codes: Any, queries: np.ndarray, k: int) -> list[np.ndarray]:
    return list(codes.search(queries, min(_candidate_count(k), codes.ntotal))[1])
