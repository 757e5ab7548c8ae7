"""Search of an index by its codes (faiss) against exact search: time of a query, recall, what building takes. Random rows in clusters."""

import argparse
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from types import TracebackType

import faiss
import numpy as np
import torch
from measure import Line, alternate, report, timed

from cliptune.index import Index
from cliptune.index_writer import IndexWriter
from cliptune.nearest import nearest

BATCH = 10_000
SMALLER = {"10k exact, ms": 10_000, "100k exact, ms": 100_000}  # rows; says from where on codes are worth their while


class Clusters:
    """Rows as CLIP gives them: images in one cone, texts in another, both around the same centres."""

    def __init__(self, count: int, width: int) -> None:
        self.draw = np.random.default_rng(0)
        self.width = width
        self.centres, self.cones = unit(self._normal(count)), unit(self._normal(2))

    def rows(self, count: int, cone: int) -> np.ndarray:
        """[count, width]; cosines are about 0.5 between images, 0.7 within a cluster, 0.2 between a text and its images, 0 to others."""
        signal, noise, shared = ((1.0, 0.8, 0.9), (0.8, 1.0, 1.5))[cone]
        chosen = self.centres[self.draw.integers(0, len(self.centres), count)]
        return unit(shared * self.cones[cone] + signal * chosen + noise * self._normal(count) / self.width**0.5)

    def _normal(self, count: int) -> np.ndarray:
        return self.draw.standard_normal((count, self.width), dtype=np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Memory:
    """MB that this process has of its own at most, files that are mapped not counted, while a block runs."""

    def __enter__(self) -> "Memory":
        self.start = self.most = _own()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, _own())


def _own() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def build(folder: Path, clusters: Clusters, count: int) -> dict[str, float]:
    """Make the index; gives the seconds less those of drawing the rows, and the memory, with the batch of rows."""
    with Memory() as memory, IndexWriter(folder, "random", "random", clusters.width) as writer:
        adding = 0.0
        for start in range(0, count, BATCH):
            rows = clusters.rows(min(BATCH, count - start), cone=0)
            names = [f"images/{number:09}.jpg" for number in range(start, start + len(rows))]
            adding += timed(partial(writer.add, names, ["1"] * len(names), rows))
        finishing = timed(writer.finish)
    print(f"building: {adding:.1f} s to add {count:,} rows in batches of {BATCH:,}, {finishing:.1f} s to finish", flush=True)
    return {"build, s": adding + finishing, "build, MB": memory.most - memory.start}


def asking(index: Index, queries: np.ndarray, k: int, exact: bool) -> Callable[[], object]:
    turns: Iterator[np.ndarray] = cycle(queries[:, None])  # each [1, D]
    return lambda: index.search(next(turns), k, exact=exact)


def compare(index: Index, kind: str, queries: np.ndarray, k: int, pairs: int, notes: dict[str, float]) -> Line:
    found, right = index.search(queries, k)[1], index.search(queries, k, exact=True)[1]
    recall = float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, right, strict=True)]))
    if recall < 0.95:
        raise SystemExit(f"recall@{k} of {kind} is {recall:.3f}: the two sides do not do the same work.")
    times = alternate(asking(index, queries, k, exact=False), asking(index, queries, k, exact=True), pairs)
    figures = {"index, ms": 1e3 * median(times.a), "exact, ms": 1e3 * median(times.b), f"recall@{k}": recall}
    return Line(f"{kind}, {len(index):,} rows", times, len(index), notes={**figures, **notes})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--clusters", type=int, help="a hundredth of the rows by default")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--queries", type=int, default=200, help="of each kind, for recall")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)
    clusters = Clusters(given.clusters or max(given.rows // 100, 1), given.width)
    with tempfile.TemporaryDirectory() as folder:
        notes = build(Path(folder) / "index", clusters, given.rows)
        index = Index.open(Path(folder) / "index")
        queries = [clusters.rows(given.queries, cone) for cone in (0, 1)]
        for name, count in SMALLER.items():
            seconds = [timed(partial(nearest, index.rows[:count], queries[0][i : i + 1], given.k)) for i in range(9)]
            notes[name] = 1e3 * median(seconds)
        lines = [compare(index, kind, queries[i], given.k, given.pairs, notes) for i, kind in enumerate(("images", "texts"))]
    report("search", "index", "exact", lines)


if __name__ == "__main__":
    main()
