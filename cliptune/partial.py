"""What a long job has done so far, in a folder beside the file that it will become, so that the same command goes on after a kill.

`OUTPUT.partial/` holds `job.json` and chunks: parquet files of whole batches, named by the first image and the one after the last. A chunk
is whole or not there. At the end `writers` make one file of them, which is put in place as a whole, and the folder is removed.
"""

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from cliptune.data.kept.locks import Hold, acquire
from cliptune.errors import ConfigError, DataError
from cliptune.whole import write_whole
from cliptune.writers import Chunks, Write

CHUNK_IMAGES, CHUNK_SECONDS = 2048, 20.0  # a chunk ends with the batch that reaches either: what a kill can cost at most
NAMELESS = (".npy", ".safetensors")  # formats that hold rows only
JOB = "job.json"
FAILURES = b"cliptune failures"  # in a chunk's metadata: [[name, why], ...]

Failures = list[tuple[str, str]]


class Partial:
    """A job's folder; a context, which keeps what is done when the job fails.

    Args:
        output: the file to come.
        job: all that its content depends on, as plain data by the name that a message shall use.
        overwrite: replace the file where there is one, and begin anew where another job's chunks are in the way.

    Raises:
        ConfigError: there is the file, another job's folder, or another process at work.
        DataError: the disk does not take it.
    """

    def __init__(self, output: Path, job: dict[str, Any], overwrite: bool = False) -> None:
        self.output, self.folder = output, output.with_name(f"{output.name}.partial")
        check_free(output, overwrite)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot write beside {output}: {error.strerror}. Give an output elsewhere.") from None
        self._lock = _lock(self.folder / "lock", output)
        self.files = self._begin(json.loads(json.dumps(job)), overwrite)
        self.done = _place(self.files[-1])[1] if self.files else 0
        self._tables: list[pa.Table] = []
        self._failures: Failures = []
        self._first, self._began = self.done, time.monotonic()

    def _begin(self, job: dict[str, Any], overwrite: bool) -> list[Path]:
        """The chunks that are there, from the first image on without a gap; none where the job is new."""
        file = self.folder / JOB
        before = _read_job(file)
        if before == job:
            found: list[Path] = []
            for chunk in sorted(self.folder.glob("*.parquet")):
                if _place(chunk)[0] == (_place(found[-1])[1] if found else 0):
                    found.append(chunk)
            return found
        if before is not None and not overwrite:
            self._let_go()
            raise ConfigError(f"{self.folder} holds what another job has done ({_difference(before, job)}). {WAY_OUT}")
        self._clear()
        put(file, lambda handle: handle.write(json.dumps(job, indent=1, ensure_ascii=False).encode()))
        return []

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            with suppress(DataError):  # a full disk's, which may be what ends the job
                self.flush()
        if not self.files:
            self._clear()  # nothing was done: nothing stays
        self._let_go()

    def add(self, table: pa.Table, failures: Failures) -> None:
        """Take what came of a batch.

        Args:
            table: a row for each image that could be read; always of the same schema.
            failures: names of the others, and why.
        """
        self._tables.append(table)
        self._failures += failures
        self.done += len(table) + len(failures)
        if self.done - self._first >= CHUNK_IMAGES or time.monotonic() - self._began >= CHUNK_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was taken as a chunk.

        Raises:
            DataError: the disk does not take it.
        """
        if self._tables:
            table = pa.concat_tables(self._tables).replace_schema_metadata({FAILURES: json.dumps(self._failures)})
            file = self.folder / f"{self._first:012d}-{self.done:012d}.parquet"
            put(file, lambda handle: pq.write_table(table, handle, use_dictionary=False))
            self.files.append(file)
        self._tables, self._failures = [], []
        self._first, self._began = self.done, time.monotonic()

    def failures(self) -> Iterator[tuple[str, str]]:
        """Names of the images that could not be read, and why, in order."""
        for file in self.files:
            yield from ((name, why) for name, why in json.loads(pq.read_schema(file).metadata[FAILURES]))

    def finish(self, write: Write) -> list[Path]:
        """Make the file of the chunks, and files beside it of what it does not hold; then remove the folder.

        Args:
            write: see `writers`.

        Returns:
            The files: the output first; `NAME.names.csv` where the format holds rows only; `NAME.failed.csv` where images failed.

        Raises:
            DataError: the disk does not take it.
        """
        self.flush()
        chunks = Chunks(self.files)
        names, failed = self.output.with_suffix(".names.csv"), self.output.with_suffix(".failed.csv")
        made = [self.output]
        if self.output.suffix.lower() in NAMELESS:
            every = (name for table in chunks.tables("name") for name in table["name"].to_pylist())
            made.append(put_csv(names, ("row", "name"), enumerate(every)))
        if next(self.failures(), None) is None:
            failed.unlink(missing_ok=True)  # an earlier job's
        else:
            made.append(put_csv(failed, ("name", "why"), self.failures()))
        put(self.output, lambda handle: write(handle, chunks))
        self._clear()
        self._let_go()
        return made

    def _clear(self) -> None:
        """Remove what is ours from the folder; the job last, without which chunks count for nothing."""
        for pattern in ("*.parquet", ".*.tmp", JOB):
            for file in self.folder.glob(pattern):
                file.unlink()
        self.files = []

    def _let_go(self) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock = None
        if not (self.folder / JOB).exists():
            (self.folder / "lock").unlink(missing_ok=True)
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()


WAY_OUT = "Run that one again to its end, give another output, or --overwrite it."


def check_free(output: Path, overwrite: bool) -> None:
    """Raise ConfigError where a file may not be written."""
    if output.is_dir():
        raise ConfigError(f"output {output} is a folder. Name a file in it.")
    if output.exists() and not overwrite:
        raise ConfigError(f"output {output} is there already. Give another output, or --overwrite it.")


def put(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through `write`, which gets it open for bytes: beside its place, on the disk for certain, then in its place.

    Raises:
        DataError: the disk does not take it; what was in its place still is.
    """
    try:
        write_whole(path, write)
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"cannot write {path}: {why}. Make room, and run the same command again: it goes on from here.") from None


def put_csv(path: Path, header: Iterable[str], lines: Iterable[Iterable[object]]) -> Path:
    """Write lines under a header, whole or not at all."""

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
        text.detach()

    put(path, write)
    return path


def _lock(file: Path, output: Path) -> Hold | None:
    try:
        hold = acquire(file, shared=False, wait=False)
    except OSError:  # a file system that knows no locks
        return None
    if hold is None:
        raise ConfigError(f"another process is at work on {output}. Wait for it, or give another output.")
    return hold


def _place(chunk: Path) -> tuple[int, int]:
    """The first image of a chunk, and the one after its last."""
    first, _, end = chunk.stem.partition("-")
    return int(first), int(end)


def _read_job(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In what two jobs differ first."""
    key = next(key for key in {**now, **before} if before.get(key) != now.get(key))
    was, is_now = (_shown(job.get(key)) for job in (before, now))
    return f"{key}: {was}; now: {is_now}"


def _shown(value: Any, most: int = 60) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= most else f"{text[:most]}..."
