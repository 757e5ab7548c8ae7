"""Files that are whole or not there: written beside their place, on the disk for certain, then put in it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through `write`, which gets it open for bytes; what was in its place is there until the new one is whole.

    Raises:
        Exception: whatever `write` or the disk raises; no draft is left then.
    """
    draft = path.with_name(f".{path.name}.tmp")  # what a kill leaves is written over next time
    try:
        with draft.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except Exception:
        draft.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too, where the system can say so."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
