"""A lost worker is told with the image at which it died, wherever torch's error comes out; else a watched loader is as any."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

import cliptune.data.workers
from cliptune.data.workers import NONE, Marks, WatchedLoader, lost
from cliptune.errors import DataError


class Deadly(Dataset[torch.Tensor]):
    """Rows in batches; at one the process ends."""

    def __init__(self, marks: Marks, at: int = NONE, how: int = 0) -> None:
        self.marks, self.at, self.how = marks, at, how

    def __len__(self) -> int:
        return 12

    def __getitem__(self, numbers: list[int]) -> torch.Tensor:
        for number in numbers:
            self.marks.at(number)
            if number == self.at:
                if self.how < 0:
                    os.kill(os.getpid(), -self.how)
                os._exit(self.how)
        self.marks.at(NONE)
        return torch.tensor(numbers)


class Order(Sampler[list[int]]):
    """Three batches; knows the epoch that it was told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[list[int]]:
        yield from ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11])

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def loader(at: int = NONE, how: int = 0, workers: int = 1, **options: Any) -> WatchedLoader:
    marks = Marks(workers)
    rows = Deadly(marks, at, how)
    named = {"marks": marks, "describe": lambda number: f"row {number} (images/{number}.png)"}
    return WatchedLoader(rows, batch_size=None, sampler=Order(), num_workers=workers, **{**named, **options})


ENDS = {
    "status": (3, "ended with status 3 while it decoded row 6 (images/6.png). Take its row out of the data, or look at what happens with"),
    "killed": (-signal.SIGKILL, "was ended by SIGKILL while it decoded row 6 (images/6.png). Systems end so what takes more memory"),
    "shared memory": (-signal.SIGBUS, "was ended by SIGBUS while it decoded row 6 (images/6.png). Shared memory may be full"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_lost_worker_is_told_with_its_image(end: str) -> None:
    how, said = ENDS[end]
    with pytest.raises(DataError) as caught:
        list(loader(6, how))
    assert said in str(caught.value)


def test_of_several_workers_the_one_that_died_is_told() -> None:
    with pytest.raises(DataError, match=r"while it decoded row 5 \("):
        list(loader(5, 1, workers=2))


@pytest.mark.slow
def test_spawned_workers_mark_too() -> None:
    with pytest.raises(DataError, match=r"while it decoded 9\."):
        list(loader(9, 1, describe=str, multiprocessing_context="spawn"))


def killed(row: int) -> int:
    """The number of an idle worker that was killed when it had marked a row."""
    watched = loader(persistent_workers=True)
    assert len(list(watched)) == 3
    worker = watched._iterator._workers[0]  # type: ignore[union-attr]
    watched.marks.places[0] = row  # type: ignore[union-attr]
    os.kill(worker.pid, signal.SIGKILL)
    with suppress(RuntimeError):  # torch's, in the midst of something else, where it is the first to see
        worker.join()
    return int(worker.pid)


def test_an_error_that_comes_out_elsewhere_is_understood() -> None:
    pid = killed(7)
    for text in (
        f"DataLoader worker (pid {pid}) is killed by signal: Killed. ",
        f"DataLoader worker (pid(s) 1, {pid}) exited unexpectedly",
    ):
        assert "was ended by SIGKILL while it decoded row 7 (images/7.png)" in str(lost(RuntimeError(text)))
    assert lost(RuntimeError("DataLoader worker (pid 1) exited unexpectedly")) is None
    assert lost(RuntimeError("something else")) is None


def test_a_worker_that_dies_between_batches_blames_no_image() -> None:
    assert "was ended by SIGKILL between two batches" in str(lost(RuntimeError(f"DataLoader worker (pid {killed(NONE)}) is killed")))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), FileNotFoundError(2, "no such socket"), EOFError()])
def test_a_batch_that_died_with_its_worker_is_a_lost_worker_too(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(self: Any, timeout: float = 5.0) -> Any:
        self._workers[0].join(1.0)
        raise error

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data", fetch)
    with pytest.raises(DataError, match=r"status 3 while it decoded row 6 \("):
        list(loader(6, 3))
    with pytest.raises(type(error)):  # of workers that live the error is its own
        list(loader())


def test_torch_may_say_so_while_the_loss_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler of a child's end raises wherever the main process is, in the handling of the first sign too."""
    pid = killed(7)
    told, first = cliptune.data.workers._told, [True]

    def interrupted(pids: list[int | None]) -> DataError | None:
        if first.pop() if first else False:
            raise RuntimeError(f"DataLoader worker (pid {pid}) exited unexpectedly with exit code 1.")
        return told(pids)

    monkeypatch.setattr("cliptune.data.workers._told", interrupted)
    assert "while it decoded row 7 (" in str(lost(RuntimeError("DataLoader worker (pid 1) is killed")))

    def fetch(self: Any, timeout: float = 5.0) -> Any:
        raise ConnectionResetError(104, "reset")

    monkeypatch.setattr("torch.utils.data.dataloader._MultiProcessingDataLoaderIter._try_get_data", fetch)
    first.append(True)
    with pytest.raises(DataError, match=r"while it decoded row 7 \("):
        list(loader())


class Steps(L.LightningModule):
    """Sums rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen += batch.tolist()
        return self.weight * batch.sum()

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Data(L.LightningDataModule):
    """Hands on the loader, which Lightning makes anew to predict."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.options = options

    def predict_dataloader(self) -> WatchedLoader:
        return loader(**self.options)


def test_lightning_trains_and_predicts_with_it() -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", use_distributed_sampler=False, **quiet)  # type: ignore[arg-type]
    module, watched = Steps(), loader(persistent_workers=True)
    trainer.fit(module, watched)
    assert module.seen == [*range(12)] * 2
    assert watched.sampler.epochs[-1] == 1  # type: ignore[attr-defined]
    found = trainer.predict(module, datamodule=Data())
    assert torch.cat(found).tolist() == [*range(12)]  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"while it decoded row 9 \("):
        trainer.predict(module, datamodule=Data(at=9, how=1))


def test_without_marks_it_is_a_plain_loader() -> None:
    plain = loader(marks=None)
    assert isinstance(plain, DataLoader)
    assert torch.cat(list(plain)).tolist() == [*range(12)]
