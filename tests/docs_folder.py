"""The folder in which a reader of the docs types: images, configs and runs of which pages speak, and a few rows of each shared set."""

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import pixels
from doc_commands import ROOT, fenced
from PIL import Image

from cliptune.main import main

SHARED = ROOT.parent / "shared" / "data"
PUBLIC, NANO = "{name: ViT-B-32-quickgelu, pretrained: openai}", "{name: nano}"
CLASSES, ROWS = 20, {"train": 8, "validation": 2, "test": 6}  # of an excerpt, and rows of each class in each split
WITHOUT_CLASSES = 24  # rows of each split
BRIEF = "--trainer.limit_train_batches 1 --trainer.limit_val_batches 1 --trainer.limit_test_batches 1 --trainer.accelerator cpu"
BRIEF += " --data.batch_size 8 --data.workers 0 --watch.floor 0"
BRIEF += " --run.report false --run.pictures false --evaluation.resamples 0 --evaluation.curve false"
COMPARED = {
    "lora": "LoRA",
    "probe": "LinearProbe",
    "full": "Full --model.method.train_last 1",
    "lora-16shots": "LoRA --data.shots 2",
    "probe-16shots": "LinearProbe --data.shots 2",
}  # the runs that docs/compare.md speaks of


def make(folder: Path) -> None:
    """Make the folder, and work there: with twelve images of each of three classes, and the own config of docs/start.md on nano."""
    folder.mkdir()
    os.chdir(folder)
    for i in range(36):
        file = folder / "my_images" / ("cat", "dog", "parrot")[i % 3] / f"{i // 3 + 1}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(40, 50, seed=i)).save(file)
    (own,) = (block for block in fenced("yaml", (ROOT / "docs" / "start.md").read_text(encoding="utf-8")) if "my_images/" in block)
    assert PUBLIC in own
    (folder / "own.yaml").write_text(own.replace(PUBLIC, NANO), encoding="utf-8")


def make_runs() -> None:
    """The runs that are compared, in the working folder."""
    for name, method in COMPARED.items():
        words = f"fit --config own.yaml --run.name {name} {BRIEF} --trainer.max_epochs 1 --model.method {method}"
        assert main(words.split()) == 0, name


def write_excerpts(folder: Path) -> None:
    """Write a few rows of each of the shared sets, of as many splits, styles and classes as recipes ask for."""
    for file in SHARED.glob("*/data.parquet"):
        table = pq.read_table(file)
        target = folder / file.parent.name / file.name
        target.parent.mkdir(parents=True)
        pq.write_table(table.take(excerpt(table)), target)


def excerpt(table: pa.Table) -> list[int]:
    """The numbers of the rows that are kept: the first of each style of each split's first classes."""
    label = next((name for name in ("sublabel", "name", "label") if name in table.column_names), None)
    kinds = table[label].to_pylist() if label else [""] * len(table)
    styles = table["style"].to_pylist() if "style" in table.column_names else [""] * len(table)
    splits = table["split"].to_pylist()
    first = {(kind, split) for split in ROWS for kind in sorted({k for k, s in zip(kinds, splits, strict=True) if s == split})[:CLASSES]}
    taken: Counter[tuple[str, ...]] = Counter()
    found: list[int] = []
    for i, (kind, style, split) in enumerate(zip(kinds, styles, splits, strict=True)):
        if (kind, split) in first and taken[kind, style, split] < (ROWS[split] if label else WITHOUT_CLASSES):
            taken[kind, style, split] += 1
            found.append(i)
    return found
