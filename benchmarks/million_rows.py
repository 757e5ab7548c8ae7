"""Memory over a million rows: an epoch of training batches from a generated parquet, and what is resident at 1 %, 50 % and 100 % of it.

What counts is the anonymous memory (RssAnon): the table's pages are the file's, and the system takes them back when it needs room. The
JPEGs are small, and no two the same. The last line says how much more there was at the end than at 1 %.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from alone import resident
from measure import RESULTS, circumstances
from PIL import Image

from cliptune.data.images import ImageTextData
from cliptune.preprocess import Preprocess

GROUP = 10_000  # rows written at a time
AT = (0.01, 0.5, 1.0)
MOST_MB = 64.0  # growth from the first to the last: the goal
NAMES = ("circle", "square", "star", "cross")


def images(count: int) -> Iterator[list[bytes]]:
    """Small JPEGs, a group at a time; each with its number behind its end, where decoders do not look."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(100):
        buffer = io.BytesIO()
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((24, 24), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=50)
        made.append(buffer.getvalue())
    for start in range(0, count, GROUP):
        yield [made[i % len(made)] + i.to_bytes(4, "big") for i in range(start, min(start + GROUP, count))]


def write(file: Path, count: int) -> None:
    """A parquet of images and labels, never more than a group of it in memory."""
    schema = pa.schema({"image": pa.binary(), "label": pa.string()})
    with pq.ParquetWriter(file, schema) as writer:
        for group in images(count):
            labels = [NAMES[i % len(NAMES)] for i in range(len(group))]
            writer.write_table(pa.table({"image": group, "label": labels}, schema=schema))


def measure(file: Path, batch_size: int, views: bool) -> list[dict[str, float]]:
    """What is resident on the way through an epoch."""
    preprocess = Preprocess({"size": 16}, torch.tensor, trim=False)
    data = ImageTextData(str(file), batch_size=batch_size, workers=0, preprocess=preprocess, needs="classes")
    data.setup()
    loader = data.train_dataloader()
    batches = iter(loader) if views else (loader.dataset[places] for places in loader.sampler)
    wanted = {max(int(share * len(loader)), 1): share for share in AT}
    found, began = [], time.perf_counter()
    for i, _ in enumerate(batches, 1):
        if i in wanted:
            line = {"share": wanted[i], "rows": i * batch_size, "RssAnon_MB": resident("RssAnon"), "RssFile_MB": resident("RssFile")}
            found.append({**line, "seconds": round(time.perf_counter() - began, 1)})
            print("  ".join(f"{name} {value:,.10g}" for name, value in found[-1].items()), flush=True)
    return found


def derived(found: list[dict[str, float]]) -> dict[str, Any]:
    """The page's table, and the goal: what is resident may hardly grow."""
    rows = [
        ["of the epoch", *(f"{one['share']:.0%}" for one in found)],
        ["---"] * (len(found) + 1),
        ["memory of the process's own, MB", *(f"{one['RssAnon_MB']:,.0f}" for one in found)],
        ["pages of the table's file, MB", *(f"{one['RssFile_MB']:,.0f}" for one in found)],
    ]
    grown = found[-1]["RssAnon_MB"] - found[0]["RssAnon_MB"]
    goal = {"case": f"growth of the process's own memory ({grown:.3g} MB, goal <= {MOST_MB:g})", "met": grown <= MOST_MB}
    return {"table": "\n".join("| " + " | ".join(cells) + " |" for cells in rows), "goals": [goal]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--rows-only", action="store_true", help="read rows, without decoding and collating them")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "arrow"
        write(Path(folder) / "rows.parquet", given.rows)
        print(
            f"{(Path(folder) / 'rows.parquet').stat().st_size / 1e6:,.0f} MB of parquet, RssAnon {resident('RssAnon'):,.0f} MB", flush=True
        )
        found = measure(Path(folder) / "rows.parquet", given.batch_size, not given.rows_only)
    grown = found[-1]["RssAnon_MB"] - found[0]["RssAnon_MB"]
    print(f"from 1 % to 100 %: {grown:+.1f} MB, at most {MOST_MB:g}: {'met' if grown <= MOST_MB else 'missed'}")
    result = {**circumstances(), **derived(found), "rows": given.rows, "grown_MB": grown, "lines": found}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "million_rows.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
