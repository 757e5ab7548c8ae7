"""Checkpoints that are whole or not there: written beside the old one, on the disk for certain, then put in its place.

And what Lightning cannot take from one, told in one line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from cliptune.errors import CheckpointError, CliptuneError
from cliptune.whole import write_whole

RESTORES = ("restore", "_restore", "resume")  # how those functions of Lightning's checkpoint_connector.py begin that take a state


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's, but a kill or a full disk at any moment leaves the previous checkpoint whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: it cannot be written; the previous one is as it was.
        """
        write_checkpoint(checkpoint, Path(path))


@contextmanager
def restoring(checkpoint: str | None) -> Iterator[None]:
    """Say that a checkpoint's state is not what Lightning keeps, where that is what went wrong; anything else stays as it is.

    Raises:
        CheckpointError: instead of the many kinds of errors that states of other shapes raise.
    """
    try:
        yield
    except CliptuneError:
        raise
    except Exception as error:
        calls = [frame.f_code for frame, _ in walk_tb(error.__traceback__) if Path(frame.f_code.co_filename).stem == "checkpoint_connector"]
        if checkpoint is None or not any(call.co_name.startswith(RESTORES) for call in calls):
            raise
        why = f"its state is not as training writes it ({type(error).__name__})"
        raise CheckpointError(f"{checkpoint} cannot be restored: {why}. Give one that cliptune wrote.") from error


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; whole, or not at all.

    Raises:
        CheckpointError: the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: torch.save(checkpoint, file))
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter for the former
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        left = "The one of before is as it was. " if path.is_file() else ""
        raise CheckpointError(f"cannot write {path}: {why}. {left}Make room, and go on with --ckpt_path {path.parent.parent}.") from None
