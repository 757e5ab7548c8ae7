"""A run over images that cannot be read: it goes on, counts and lists them, and stops where there are too many."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from cliptune.data.bad import Bad
from cliptune.errors import DataError
from cliptune.run import Run
from cliptune.unreadable import Unreadable


def bad(split: str, number: int) -> Bad:
    return Bad(split, number, f"{number}.png", "the file is empty")


class Data(L.LightningDataModule):
    """Three batches of each split; the second one has what is bad of it."""

    def __init__(self, rows: int = 1000, known: dict[str, list[Bad]] | None = None, **found: Any) -> None:
        super().__init__()
        self.counts = dict.fromkeys(("train", "validation", "test"), rows)
        self.max_bad, self.bad_known, self.found = 0.01, known or {}, found

    def _loader(self, split: str) -> DataLoader[Any]:
        class Batches(torch.utils.data.IterableDataset[dict[str, Any]]):
            def __iter__(batches) -> Iterator[dict[str, Any]]:  # noqa: N805
                for i in range(3):
                    numbers = self.found.get(split, [])
                    yield {"row": torch.arange(2), **({"bad": [bad(split, number) for number in numbers]} if i == 1 and numbers else {})}

        return DataLoader(Batches(), batch_size=None)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader("test")

    predict_dataloader = test_dataloader


class Module(L.LightningModule):
    """Takes steps on batches, of which it must not see what is bad."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.steps = nn.Parameter(torch.zeros(())), 0

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.steps += 1
        assert set(batch) == {"row"}
        return self.weight * batch["row"].sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        assert set(batch) == {"row"}

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def made(tmp_path: Path) -> tuple[L.Trainer, Unreadable]:
    run = Run(root=str(tmp_path))
    run.folder = tmp_path
    found = Unreadable(run)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[found], num_sanity_val_steps=0, **quiet), found  # type: ignore[arg-type]


def listed(folder: Path) -> list[tuple[str, int]]:
    return [(row.split, row.row) for row in pd.read_csv(folder / "bad_samples.csv").itertuples()]


def test_a_run_goes_on_and_counts_and_lists_each_image_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    trainer, found = made(tmp_path)
    data, module = Data(train=[5, 7], validation=[1], test=[2]), Module()
    with caplog.at_level(logging.WARNING, "cliptune"):
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data, verbose=False)
        trainer.predict(module, datamodule=data)
    assert module.steps == 6
    assert found.left_out == {"train": 2, "validation": 1, "test": 1}
    assert sorted(listed(tmp_path)) == [("test", 2), ("train", 5), ("train", 7), ("validation", 1)]
    file = tmp_path / "bad_samples.csv"
    assert [line for line in capsys.readouterr().out.splitlines() if "cannot be read" in line] == [
        f"validation: 1 of 1,000 images cannot be read, left out: {file}",
        f"train: 2 of 1,000 images cannot be read, others take their place: {file}",
        f"test: 1 of 1,000 images cannot be read, left out: {file}",
    ]
    first = [message.partition(":")[0] for message in caplog.messages if message.startswith("cannot")]
    assert first == ["cannot read 5.png (train)", "cannot read 1.png (validation)", "cannot read 2.png (test)"]


def test_a_run_without_any_leaves_no_list(tmp_path: Path) -> None:
    trainer, found = made(tmp_path)
    trainer.fit(Module(), datamodule=Data())
    assert found.left_out == {"train": 0, "validation": 0, "test": 0}
    assert not (tmp_path / "bad_samples.csv").exists()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_too_many_of_a_split_end_the_run_with_the_list(tmp_path: Path, split: str) -> None:
    trainer, found = made(tmp_path)
    found.run.made = True
    data = Data(rows=100, **{split: [3, 4]})
    command = trainer.test if split == "test" else trainer.fit
    with (
        pytest.raises(DataError, match=f"2 of the 100 images of {split} .2.0%. cannot be read, more than max_bad 1.0%: 3.png"),
        found.run.tidy(),
    ):
        command(Module(), datamodule=data)
    assert listed(tmp_path) == [(split, 3), (split, 4)]
    data.max_bad = 0.05
    other, _ = made(tmp_path)
    (other.test if split == "test" else other.fit)(Module(), datamodule=data)


def test_what_frozen_towers_could_not_see_counts_before_the_first_step(tmp_path: Path) -> None:
    known = {"train": [bad("train", 3)], "validation": [bad("validation", 4)], "test": [bad("test", 5)]}
    trainer, found = made(tmp_path)
    trainer.fit(Module(), datamodule=Data(known=known))
    assert found.left_out == {"train": 1, "validation": 1, "test": 0}
    other, _ = made(tmp_path / "other")
    module = Module()
    with pytest.raises(DataError, match="1 of the 10 images of train"):
        other.fit(module, datamodule=Data(rows=10, known={"train": known["train"]}))
    assert module.steps == 0


def test_a_resumed_run_knows_those_of_before(tmp_path: Path) -> None:
    trainer, _ = made(tmp_path)
    trainer.fit(Module(), datamodule=Data(train=[5]))
    again, found = made(tmp_path)
    again.fit(Module(), datamodule=Data(train=[5, 6]))
    assert found.left_out["train"] == 2
    assert listed(tmp_path) == [("train", 5), ("train", 6)]


def test_processes_put_together_what_each_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, found = made(tmp_path)
    other = [bad("train", 8), bad("train", 5)]
    monkeypatch.setattr("cliptune.unreadable.world", lambda: 2)
    monkeypatch.setattr("cliptune.unreadable.gathered", lambda fresh: [*fresh, *other])
    trainer.fit(Module(), datamodule=Data(train=[5]))
    assert listed(tmp_path) == [("train", 5), ("train", 8)]
    assert found.left_out["train"] == 2


def test_a_process_that_does_not_write_puts_its_list_down_when_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = made(tmp_path)
    monkeypatch.setattr("cliptune.unreadable.is_main", lambda: False)
    with pytest.raises(DataError):
        trainer.fit(Module(), datamodule=Data(rows=10, train=[5]))
    assert listed(tmp_path) == [("train", 5)]
