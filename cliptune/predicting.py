"""`cliptune predict MODEL INPUT...`: images of any number in, a file of labels and scores or of rows out; goes on after a kill.

This is the course of such a job; `inputs` says what comes in, `stream` encodes it, `partial` and `writers` put it on the disk.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cliptune.adapted import AdaptedCLIP
from cliptune.data.classes import as_words, read_names
from cliptune.errors import ConfigError
from cliptune.image_sources import Label
from cliptune.inputs import Inputs
from cliptune.partial import Partial, check_free
from cliptune.stream import Encoded, encode
from cliptune.writers import FEATURES, LABELS, ROWS, Chunks

LINE_SECONDS = 10.0  # between lines of progress, where no terminal shows a bar


@dataclass(frozen=True)
class Predicted:
    """What came of a job."""

    count: int  # images in the output, those of an interrupted run included
    failed: int  # images that cannot be read
    correct: int | None  # images of `labelled`; None where there are none
    labelled: int  # images in the output that the source says are of one of the classes; none for rows
    resumed: int  # images that an interrupted run had done, readable or not
    images_per_second: float  # of this run
    files: list[Path]  # the output first


def predict(
    model: AdaptedCLIP,
    sources: Sequence[str],
    output: Path,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
    rows: bool = False,
    top_k: int = 1,
    batch_size: int = 64,
    workers: int = 4,
    overwrite: bool = False,
    precision: str = "32-true",
    model_key: str,
) -> Predicted:
    """Say of each image which class it is of, or give its row.

    Args:
        model: ready for use.
        sources: see `inputs.Inputs`.
        output: `.csv`, `.jsonl` or `.parquet` for labels and scores; `.npy`, `.safetensors`, or `.parquet` with `rows`, for rows.
        classes: any words; those that the model was adapted to where not given.
        templates: texts around a class name; those of the adaptation where not given.
        rows: write rows.
        top_k: how many classes of each image, the likeliest first.
        batch_size: images of a batch.
        workers: threads that decode.
        overwrite: replace an output that is there.
        precision: see `AdaptedCLIP.in_precision`.
        model_key: tells the model from others; a job goes on with the same one only.

    Raises:
        ConfigError: no classes are known, or fewer than `top_k`; the output is of no known format, or there already; or another job's
            chunks are beside it.
        DataError: an input cannot be read, or there is no image in any; or the disk is full.
    """
    output = Path(output).expanduser()
    rows = _wants_rows(output, rows, classes=classes, templates=templates, top_k=None if top_k == 1 else top_k)
    check_free(output, overwrite)
    inputs = Inputs(sources)
    with model.in_precision(precision):
        as_table = Rows(model, inputs.labelled) if rows else Labels(model, classes, templates, top_k, inputs.labelled)
    job = {
        "model": model_key,
        "inputs": inputs.sources,
        "images": f"{len(inputs):,}, {inputs.fingerprint()}",
        "classes": list(classes or ["the model's own"]),
        "templates": list(templates or ["the model's own"]),
        "wanted": "rows" if rows else f"labels, top_k {top_k}",
        "precision": precision,
    }
    with Partial(output, job, overwrite) as partial:
        resumed, began = partial.done, time.perf_counter()
        batches = encode(model, inputs.items(resumed), batch_size, workers)
        with model.in_precision(precision), closing(batches), _progress(len(inputs), resumed) as advance:
            for batch in batches:
                partial.add(as_table(batch), batch.failures)
                advance(partial.done, len(batch.failures))
        rate = (partial.done - resumed) / max(time.perf_counter() - began, 1e-9)
        partial.flush()
        chunks, failed = Chunks(partial.files), sum(1 for _ in partial.failures())
        correct, labelled = as_table.score(chunks)
        files = partial.finish((ROWS if rows else LABELS)[output.suffix.lower()])
    return Predicted(chunks.count, failed, correct if labelled else None, labelled, resumed, rate, files)


class Labels:
    """From a batch to a table of names, likeliest classes and their probabilities; the class rows are computed once."""

    def __init__(
        self, model: AdaptedCLIP, classes: Sequence[str] | None, templates: Sequence[str] | None, top_k: int, labelled: bool
    ) -> None:
        self.model, self.top_k, self.labelled = model, top_k, labelled
        if not (classes or model.class_names):
            raise ConfigError("no classes are known: the model was adapted without. Give --classes 'a cat, a dog', or --rows.")
        self.names, self.class_rows = model.class_rows(_checked(classes) if classes else None, list(templates) if templates else None)
        if not 1 <= top_k <= len(self.names):
            raise ConfigError(f"top_k {top_k} is not in 1..{len(self.names)}, the number of classes. Take one of these.")

    def __call__(self, batch: Encoded) -> pa.Table:
        """A row for each image, in order."""
        best = self.model.logits(batch.rows, self.class_rows).softmax(dim=-1).topk(self.top_k, dim=1)  # [B, top_k]
        columns = {"name": pa.array([item.name for item in batch.items], pa.string())}
        for k in range(self.top_k):
            suffix = f"_{k + 1}" if k else ""
            columns[f"predicted{suffix}"] = pa.array([self.names[i] for i in best.indices[:, k].tolist()], pa.string())
            columns[f"probability{suffix}"] = pa.array(best.values[:, k].float().numpy())
        return pa.table(columns | _truth(batch, self.names, self.labelled))

    def score(self, chunks: Chunks) -> tuple[int, int]:
        """How many images were said right, of how many that are labelled with one of the classes."""
        correct = labelled = 0
        for table in chunks.tables("predicted", "label") if self.labelled else ():
            known = table.filter(pc.is_in(table["label"], pa.array(self.names, pa.string())))
            labelled += len(known)
            correct += pc.sum(pc.equal(known["predicted"], known["label"])).as_py() or 0
        return correct, labelled


class Rows:
    """From a batch to a table of names and rows."""

    def __init__(self, model: AdaptedCLIP, labelled: bool) -> None:
        self.width, self.labelled = int(model.backbone.config["embed_dim"]), labelled

    def __call__(self, batch: Encoded) -> pa.Table:
        """A row for each image, in order."""
        names = pa.array([item.name for item in batch.items], pa.string())
        rows = pa.FixedSizeListArray.from_arrays(pa.array(batch.rows.float().flatten().numpy()), self.width)
        return pa.table({"name": names, FEATURES: rows} | _truth(batch, [], self.labelled))

    def score(self, chunks: Chunks) -> tuple[int, int]:
        """Rows are neither right nor wrong."""
        return 0, 0


def _checked(classes: Sequence[str]) -> list[str]:
    names = read_names(list(classes)) or []
    odd = next((name for i, name in enumerate(names) if name in names[:i] or not name.strip()), None)
    if odd is not None:
        raise ConfigError(f"classes holds {odd!r} {'twice' if odd.strip() else 'as a name'}. Give each class a name of its own.")
    return names


def _truth(batch: Encoded, names: Sequence[str], labelled: bool) -> dict[str, pa.Array]:
    """The column of labels, where any image may have one."""
    return {"label": pa.array([_word(item.label, names) for item in batch.items], pa.string())} if labelled else {}


def _word(label: Label, names: Sequence[str]) -> str | None:
    """A label as the class that it is, where it is one of these; else as the source has it."""
    if isinstance(label, int):
        return None if label < 0 else names[label] if label < len(names) else str(label)
    return next((word for word in (label, as_words(label)) if word in names), label) if label is not None else None


def _wants_rows(output: Path, rows: bool, **of_labels: object) -> bool:
    """Whether the output is one of rows; ConfigError where it is nothing that can be written."""
    suffix = output.suffix.lower()
    formats = f"Can be {', '.join(LABELS)} for labels, {', '.join(ROWS)} for rows."
    if suffix not in {**LABELS, **ROWS}:
        raise ConfigError(f"output {output}: files that end in {suffix or 'nothing'} are not written. {formats}")
    if rows and suffix not in ROWS:
        raise ConfigError(f"output {output}: rows are not written as {suffix}. {formats}")
    rows = rows or suffix not in LABELS
    useless = next((name for name, value in of_labels.items() if value), None)
    if rows and useless:
        raise ConfigError(f"{useless} is of no use for rows, which {output} is to hold. Leave it out. {formats}")
    return rows


@contextmanager
def _progress(total: int, done: int) -> Iterator[Callable[[int, int], None]]:
    """Show how far a job is, as a bar on a terminal and as lines elsewhere.

    Yields:
        To be called with the number of images that are done, and how many could not be read since the last call.
    """
    if done:
        print(f"going on after {done:,} of {total:,} images", flush=True)
    console, began, told, failed = Console(), time.monotonic(), time.monotonic(), 0
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)

        def advance(now: int, lost: int) -> None:
            nonlocal told, failed
            failed += lost
            rate = (now - done) / max(time.monotonic() - began, 1e-9)
            text = f"{rate:,.0f} images/s" + (f", {failed:,} cannot be read" if failed else "")
            bar.update(task, completed=now, description=text)
            if not console.is_terminal and time.monotonic() - told >= LINE_SECONDS:
                print(f"{now:,} of {total:,} images, {text}", flush=True)
                told = time.monotonic()

        yield advance
