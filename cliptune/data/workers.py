"""Which image a worker process was decoding when it died: torch alone tells the process's number.

Each worker marks the row that it begins in memory that the main process sees too; that costs 4 microseconds an image.
"""

import re
import signal
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from cliptune.errors import DataError

NONE = -1  # the row of a worker that decodes none
WAYS = {  # by what ended the process
    signal.SIGKILL: "Systems end so what takes more memory than there is: set data.workers or data.batch_size lower.",
    signal.SIGBUS: "Shared memory may be full: make /dev/shm larger (docker: --shm-size), or set data.workers lower.",
    None: "Take its row out of the data, or look at what happens with data.workers: 0.",
}


class Marks:
    """The row that each worker is at; goes to workers with whatever holds it, forked or spawned.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        self.places = torch.full((max(workers, 1),), NONE).share_memory_()

    def at(self, number: int) -> None:
        """Say, in a worker, which row is decoded next; `NONE` when a batch is done. In the main process nothing happens."""
        worker = get_worker_info()
        if worker is not None:
            self.places[worker.id] = number


class _Watched(NamedTuple):
    process: Any
    worker: int
    marks: Marks
    describe: Callable[[int], str]


_watched: deque[_Watched] = deque(maxlen=1024)  # the latest: an error may come out when its loader is gone


class WatchedLoader(DataLoader[Any]):
    """A `DataLoader` whose lost workers are told with the image at which they died.

    Args:
        dataset: `DataLoader`'s.
        marks: what the workers write into; none to watch nothing.
        describe: from a row's number to what a person calls it, such as its path.
        kwargs: `DataLoader`'s.
    """

    def __init__(self, dataset: Dataset[Any], *, marks: Marks | None = None, describe: Callable[[int], str] = str, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)  # named, since Lightning reads the names where it makes a loader anew, to predict
        self.marks, self.describe = marks, describe

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.marks is None or self.num_workers == 0:
            return super()._get_iterator()
        self.marks.places.fill_(NONE)
        found = _Iterator(self)
        _watched.extend(_Watched(process, i, self.marks, self.describe) for i, process in enumerate(found._workers))
        return found


class _Iterator(_MultiProcessingDataLoaderIter):
    def __next__(self) -> Any:
        try:
            return super().__next__()
        except (RuntimeError, OSError, EOFError) as error:
            try:
                found = lost(error) or (None if isinstance(error, RuntimeError) else self._lost())
            except RuntimeError as another:  # torch says of a worker's end wherever the main process is: here too
                found = lost(another)
            if found is None:
                raise
            raise found from error

    def _lost(self) -> DataError | None:
        """A batch that was announced cannot be fetched from a worker that ended meanwhile: a connection's error, which names no process."""
        ended = wait([worker.sentinel for worker in self._workers], 1.0)
        for worker in self._workers:
            if worker.sentinel in ended:
                worker.join(1.0)  # its files are closed a moment before its exit code is known
        return _told([worker.pid for worker in self._workers if worker.exitcode])


def lost(error: BaseException) -> DataError | None:
    """What torch's error of a lost worker means; torch may raise it anywhere in the main process, in the middle of a step too.

    Args:
        error: any.

    Returns:
        The image at which the worker died, how, and what helps; None for other errors, and for workers that nobody watches.
    """
    numbers = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)", str(error))
    if numbers is None:
        return None
    try:
        return _told([int(number) for number in numbers[1].split(",")])
    except RuntimeError as another:  # the end of another one, told while this one is looked up
        return lost(another)


def _told(pids: list[int | None]) -> DataError | None:
    for one in reversed(_watched):
        if one.process.pid in pids:
            one.process.join(1.0)  # or its exit code may not be known yet
            return _said(int(one.marks.places[one.worker]), one.describe, one.process.exitcode)
    return None


def _said(number: int, describe: Callable[[int], str], code: int | None) -> DataError:
    ended = signal.Signals(-code) if code is not None and code < 0 else None
    how = f"was ended by {ended.name}" if ended else f"ended with status {code}"
    where = "between two batches" if number == NONE else f"while it decoded {describe(number)}"
    return DataError(f"a worker process {how} {where}. {WAYS.get(ended, WAYS[None])}")
