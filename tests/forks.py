"""A process that imports everything once and forks a child for each command, so that runs can be killed by the dozen."""

import io
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

LOG = "log.txt"  # in the command's working folder: what all commands there have said


def _serve(pipe: Connection) -> None:
    import sklearn.datasets  # noqa: F401 - the digits
    import torch.utils.tensorboard  # imported late by those who use them, and so once per child

    import cliptune.launch  # noqa: F401

    torch.set_num_threads(1)
    assert threading.active_count() == 1, "a fork has only the thread that forks"
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        pid = os.fork()
        if pid == 0:
            _run(*order)
        pipe.send(pid)
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _run(folder: Path, words: Sequence[str], before: Callable[[], None] | None) -> None:
    """Be the program, and never return."""
    from cliptune.main import main

    status = 70
    try:
        os.chdir(folder)
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if before is not None:
            before()
        status = main(words)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


class Forks:
    """Runs commands, one at a time, each in a process of its own."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.server = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.server.start()
        self.pipe.recv()
        self.pid = 0  # of the command under way

    def start(self, folder: Path, words: Sequence[str], before: Callable[[], None] | None = None) -> None:
        """Begin a command.

        Args:
            folder: to work in.
            words: after `cliptune`.
            before: called in the new process first; importable there.
        """
        self.pipe.send((folder, list(words), before))
        self.pid = self.pipe.recv()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, less than zero for a signal; None where the command has not ended by then."""
        if not self.pipe.poll(seconds):
            return None
        self.pid = 0
        return int(self.pipe.recv())

    def send(self, number: int) -> None:
        """Send a signal; nothing where the command has ended a moment ago."""
        if not self.pipe.poll(0):
            os.kill(self.pid, number)

    def run(self, folder: Path, words: Sequence[str], before: Callable[[], None] | None = None) -> int:
        """Run a command to its end."""
        self.start(folder, words, before)
        status = self.wait()
        assert status is not None
        return status

    def end(self) -> None:
        """Let the process go, and a command that a failed test left running."""
        if self.pid:
            self.send(signal.SIGKILL)
        self.pipe.send(None)
        self.server.join(20)


Moment = Literal["half", "drafted", "replaced"]


def term_at(step: int) -> None:
    """Have this process get a SIGTERM in a step, from 1."""
    from cliptune.module import AdaptModule

    own = AdaptModule.optimizer_step

    def ask(self: AdaptModule, *arguments: Any, **more: Any) -> None:
        own(self, *arguments, **more)
        if self.global_step == step - 1:  # counted when this returns
            os.kill(os.getpid(), signal.SIGTERM)

    AdaptModule.optimizer_step = ask  # type: ignore[method-assign]


def die_in_write(name: str, number: int, moment: Moment, asked: int = 0) -> None:
    """Have this process killed in a write of a checkpoint.

    Args:
        name: of the file.
        number: which of its writes, from 1.
        moment: `half` of the draft is written; it is whole, `drafted`, and not in its place; it is `replaced`, and no more.
        asked: the step that gets a SIGTERM, for a write in the middle of an epoch; 0 for none.
    """
    import torch

    from cliptune import safe_io, whole

    written = 0
    write_as_it_is, save, replace, sync = safe_io.write_whole, torch.save, Path.replace, whole._sync_folder

    def die(at: Moment) -> None:
        if written == number and at == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_whole(path: Path, write: Callable[[Any], object]) -> None:
        nonlocal written
        written += path.name == name
        write_as_it_is(path, write)

    def save_half(content: Any, file: Any) -> None:
        buffer = io.BytesIO()
        save(content, buffer)
        file.write(buffer.getvalue()[: buffer.tell() // 2])
        file.flush()
        die("half")
        file.write(buffer.getvalue()[buffer.tell() // 2 :])

    def replace_or_die(draft: Path, target: Path) -> Path:
        die("drafted")
        return replace(draft, target)

    def sync_or_die(folder: Path) -> None:
        die("replaced")
        sync(folder)

    if asked:
        term_at(asked)
    patches: list[tuple[Any, str, Any]] = [
        (safe_io, "write_whole", write_whole),
        (torch, "save", save_half),
        (Path, "replace", replace_or_die),
        (whole, "_sync_folder", sync_or_die),
    ]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
