"""Checkpoints whole or not at all: a full disk and a kill leave the one of before."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from cliptune.errors import CheckpointError
from cliptune.safe_io import SafeCheckpointIO
from cliptune.whole import write_whole


def test_a_checkpoint_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    for value in (1, 2):
        SafeCheckpointIO().save_checkpoint({"value": torch.tensor(value)}, path)
        assert torch.load(path, weights_only=True)["value"] == value
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_is_one_line_and_leaves_the_one_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    SafeCheckpointIO().save_checkpoint({"value": 1}, path)

    def half(content: Any, file: Any) -> None:
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(
        CheckpointError, match=r"cannot write .*last\.ckpt: .*\. The one of before is as it was\. Make room, and go on"
    ) as told:
        SafeCheckpointIO().save_checkpoint({"value": 2}, path)
    assert "\n" not in str(told.value)
    assert torch.load(path, weights_only=True) == {"value": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_it_is_on_the_disk_before_it_takes_the_place_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("cliptune.whole.os.fsync", lambda handle: order.append("fsync"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: order.append("replace") or replace(self, target))
    write_whole(tmp_path / "a", lambda file: order.append("write"))
    assert order == ["write", "fsync", "replace", "fsync"]
