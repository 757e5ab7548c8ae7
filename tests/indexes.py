"""What the tests of the index share: indexes of rows that follow from their images' names, and what they must hold.

No torch at the top: processes that are killed import this file.
"""

from pathlib import Path
from zlib import crc32

import numpy as np

from cliptune.index import Index
from cliptune.index_writer import IndexWriter

WIDTH = 32
Images = dict[str, str]  # stamps by name


def row_of(name: str, stamp: str) -> np.ndarray:
    row = np.random.default_rng(crc32(f"{name} {stamp}".encode("utf-8", "replace"))).standard_normal(WIDTH).astype(np.float32)
    return row / np.linalg.norm(row)


def build(folder: Path, images: Images, stop_after: int | None = None, batch: int = 4) -> list[str]:
    """Bring an index up to date as a command would, or be killed after so many new images. Gives the names of those encoded."""
    encoded: list[str] = []
    names = list(images)
    with IndexWriter(folder, "tiny", "print-1", WIDTH) as writer:
        for start in range(0, len(names), batch):
            new = [name for name in names[start : start + batch] if not writer.known(name, images[name])]
            if stop_after is not None and len(encoded) + len(new) > stop_after:
                raise KeyboardInterrupt
            encoded += new
            writer.add(new, [images[name] for name in new], [row_of(name, images[name]) for name in new])
        writer.finish()
    return encoded


def of_rows(folder: Path, rows: np.ndarray) -> Index:
    with IndexWriter(folder, "tiny", "print-1", rows.shape[1]) as writer:
        writer.add([f"{i}.png" for i in range(len(rows))], ["1"] * len(rows), rows)
        return writer.finish()


def sample(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Unit rows in clusters of about ten."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((max(count // 10, 1), width))
    rows = centres[draw.integers(0, len(centres), count)] + 0.5 * draw.standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def reference(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole matrix in float64, sorted."""
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    numbers = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, numbers, axis=1), numbers


def some(count: int, stamp: str = "1") -> Images:
    return {f"{i}.png": stamp for i in range(count)}


def holds(folder: Path, images: Images) -> None:
    """The index is whole and has these images in this order, each with its row."""
    index = Index.open(folder)
    assert list(index.paths) == list(images)
    np.testing.assert_allclose(index.rows, [row_of(*image) for image in images.items()], atol=1e-6)
    scores, numbers = index.search(index.rows, k=1)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(len(images)))
    np.testing.assert_allclose(scores, 1, atol=1e-6)


def content(folder: Path) -> dict[str, bytes]:
    """The files of the index's part, and the other entries of the folder."""
    part = Index.open(folder).part
    return {file.name: file.read_bytes() for file in part.iterdir()} | {path.name: b"" for path in folder.iterdir() if path != part}
