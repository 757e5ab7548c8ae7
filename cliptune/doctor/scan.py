"""Reads the data once and says what it is like: texts here, images in processes that give back a few arrays of each chunk."""

import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.data import DataLoader, Dataset

from cliptune.data.batches import Rows
from cliptune.data.images import ImageTextData
from cliptune.data.split import Row
from cliptune.doctor.captions import look_at_captions
from cliptune.doctor.classes import look_at_classes, look_at_language
from cliptune.doctor.duplicates import find_duplicates
from cliptune.doctor.findings import Findings, ImageFacts, SplitFacts
from cliptune.doctor.gathered import SPLITS, Images, Job, SplitRows, jobs, read_texts
from cliptune.doctor.image_facts import Chunk, look_at
from cliptune.doctor.places import ODD, UNREADABLE, Kind, spread_of
from cliptune.doctor.thumbnails import choose_examples, draw_thumbnails
from cliptune.errors import ConfigError
from cliptune.preprocess import Preprocess

CHUNK = 128  # images at once
CHUNK_BYTES = 1 << 24  # of images that lie in a table, which are read as a chunk
SIZES = 20  # most frequent sizes that are listed


class _Chunks(Dataset[tuple[str, list[int], list[Row]]]):
    """Rows by split and numbers."""

    def __init__(self, data: ImageTextData) -> None:
        self.rows: dict[str, Rows] = {name: data.rows(name) for name in SPLITS}

    def __getitem__(self, job: Job) -> tuple[str, list[int], list[Row]]:
        split, numbers, paths = job
        if paths is not None:
            return split, numbers, [Row(path, [], (), path) for path in paths]
        return split, numbers, [row for _, _, row in self.rows[split][[(0, number) for number in numbers]]]


class _Looker:
    """Looks at the rows of a chunk, in the process that read them."""

    def __init__(self, model_side: int) -> None:
        self.model_side = model_side

    def __call__(self, read: tuple[str, list[int], list[Row]]) -> Chunk:
        split, numbers, rows = read
        return look_at(split, numbers, rows, self.model_side)


def scan(data: ImageTextData, workers: int | None = None, progress: bool = True) -> Findings:
    """Read all rows of all splits once, and each image of them.

    Args:
        data: with its preprocess; set up if it is not yet.
        workers: processes that read and decode; 0 for none but this one, None for those of the data.
        progress: show a bar, on a terminal.

    Raises:
        ConfigError: the data has no preprocess.
        DataError: the data cannot be opened.
    """
    if data.preprocess is None:
        raise ConfigError("the doctor needs the backbone's preprocess. Pass ImageTextData(..., preprocess=backbone.preprocess).")
    data.setup()
    with _old_objects_left_alone():
        return _scan(data, data.preprocess, data.workers if workers is None else workers, progress)


def _scan(data: ImageTextData, preprocess: Preprocess, workers: int, progress: bool) -> Findings:
    start = time.perf_counter()
    rows = read_texts(data)
    images = look_at_images(data, rows, workers, progress)
    found = Findings([*data.paths, *([data.eval_path] if data.eval_path else [])], notes=list(data.notes), workers=workers)
    found.splits = {name: _split_facts(split, images, data) for name, split in rows.items()}
    found.images = _image_facts(images, rows, min(preprocess.size))
    found.duplicates = find_duplicates(images, rows)
    found.captions, texts = look_at_captions(data, rows, preprocess)
    found.classes = look_at_classes(data, rows, preprocess)
    found.languages = look_at_language(texts, preprocess)
    if images.count:
        found.examples = choose_examples(rows["train"], len(found.classes.names))
        found.thumbnails = draw_thumbnails(found, data)
    found.seconds = time.perf_counter() - start
    found.images_per_second = images.count / found.seconds
    return found


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """What the libraries hold, half a million objects, is not searched for garbage whenever the rows have grown by a quarter of it."""
    before = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not before:
            gc.unfreeze()


def look_at_images(data: ImageTextData, rows: dict[str, SplitRows], workers: int, progress: bool) -> Images:
    """Decode each image once; of data that holds vectors there are none."""
    if data.rows("train").vectors:
        return Images(0)
    images = Images(sum(len(split.images()) for split in rows.values()))
    loader: DataLoader[Any] = DataLoader(
        _Chunks(data),
        batch_size=None,
        sampler=list(jobs(rows.values(), _chunk_size(data))),  # type: ignore[arg-type]
        collate_fn=_Looker(min(data.preprocess.size)),  # type: ignore[union-attr,arg-type]
        num_workers=workers,
    )
    for chunk in _shown(loader, len(images.split), progress):
        images.add(chunk)
    return images


def _chunk_size(data: ImageTextData) -> int:
    """Few images at once where they lie in the table and are large."""
    first = data.rows("train")[[(0, 0)]][0][2].image
    return max(min(CHUNK, CHUNK_BYTES // max(len(first), 1)), 1) if isinstance(first, bytes) else CHUNK


def _shown(chunks: DataLoader[Any], total: int, progress: bool) -> Iterator[Chunk]:
    columns = (TextColumn("reading images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not progress or not sys.stdout.isatty()) as bar:
        task = bar.add_task("", total=total)
        for chunk in chunks:
            yield chunk
            bar.advance(task, len(chunk.rows))


def _split_facts(split: SplitRows, images: Images, data: ImageTextData) -> SplitFacts:
    labels = Counter(label for given in split.labels for label in given)
    left_out: Counter[str] = Counter()
    for lost in data.left_out:
        left_out[lost.reason] += lost.rows if lost.split.endswith(f"/{split.name}") else 0
    return SplitFacts(
        len(split),
        sum(map(len, split.captions)),
        dict(labels.most_common()),
        sum(not given for given in split.labels) if labels else 0,
        dict(+left_out),
        int(images.bytes[images.split == SPLITS.index(split.name)].sum()),
    )


def _image_facts(images: Images, rows: dict[str, SplitRows], model_side: int) -> ImageFacts:
    sizes = images.sizes[images.decoded]
    short = sizes.min(axis=1) if len(sizes) else np.zeros(0, np.int32)
    common = Counter(map(tuple, sizes.tolist())).most_common(SIZES)
    found = ImageFacts(
        len(sizes),
        spread_of(sizes[:, 0]),
        spread_of(sizes[:, 1]),
        spread_of(short),
        spread_of(images.bytes),
        dict(images.modes.most_common()),
        dict(images.formats.most_common()),
        {f"{width}x{height}": count for (width, height), count in common},
        int((short < model_side).sum()),
        images.grey,
    )
    order = {kind: i for i, kind in enumerate((*UNREADABLE, *ODD))}
    for split, row, kind, _, detail in sorted(images.odd, key=lambda one: order[one[2]]):
        found.odd.setdefault(kind, Kind()).add(rows[split].place(row, detail))
    return found
