"""Several processes as one program: the first one speaks and writes; when one of them fails, all end, and the reason is told once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGKILL
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from cliptune.distributed import rank, world
from cliptune.errors import CliptuneError, TrainingError
from cliptune.launcher import launched_rank
from cliptune.run import Run

GRACE = 3.0  # seconds that the first process gets to say what all processes found wrong


def is_main() -> bool:
    """Whether this is the first of the processes; before they have met, by the launcher's environment (torchrun, SLURM, Lightning)."""
    return rank() == 0 if world() > 1 else launched_rank() == 0


def tell(text: str) -> None:
    """Print, once for all processes."""
    if is_main():
        print(text, flush=True)


class SameFolder(Callback):
    """Tells every process the run folder, which only the first one made."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Called when the processes have met."""
        self.run.folder = trainer.strategy.broadcast(self.run.folder)


@contextmanager
def together(trainer: L.Trainer) -> Iterator[None]:
    """End all processes that this one started, when it fails; and where another failed first, say so instead of what that did to this one.

    Raises:
        TrainingError: another process failed, and has told why.
    """
    try:
        yield
    except BaseException as error:
        launcher: Any = trainer.strategy.launcher
        started = getattr(launcher, "procs", [])
        broken = not isinstance(error, (CliptuneError, KeyboardInterrupt, SystemExit)) and _one_has_failed(started)
        if started:
            launcher.kill(SIGKILL)  # Lightning answers SIGTERM with a collective, which would wait for this process
            started.clear()  # or Lightning's own watch over them would kill this process too, before it has told why
        if isinstance(error, SystemExit) and trainer.interrupted:  # Lightning's answer to Ctrl-C outside of training
            raise KeyboardInterrupt from None
        if broken:
            raise TrainingError("another process failed, for the reason told above; all are ended.") from None
        raise


def _one_has_failed(started: list[Any]) -> bool:
    """Whether a process that was started has ended with an error, or does so within moments."""
    until = time.monotonic() + GRACE
    while started and time.monotonic() < until:
        if any(process.poll() for process in started):
            return True
        time.sleep(0.1)
    return False
