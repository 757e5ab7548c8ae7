"""Two processes that have met by gloo, kept for the whole session: starting them takes longer than any test."""

import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing as mp

WORLD = 2


def _work(rank: int, meeting: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORLD)
    while (order := pipe.recv()) is not None:
        function, arguments = order
        try:
            pipe.send((True, function(*arguments)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
    dist.destroy_process_group()


class Pair:
    """Runs a function in both processes."""

    def __init__(self, folder: Path) -> None:
        context: Any = mp.get_context("spawn")
        os.environ["OMP_NUM_THREADS"] = "1"
        self.pipes, self.processes = [], []
        for rank in range(WORLD):
            ours, theirs = context.Pipe()
            self.processes.append(context.Process(target=_work, args=(rank, str(folder / "meeting"), theirs), daemon=True))
            self.pipes.append(ours)
        for process in self.processes:
            process.start()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """The function's results, in the order of ranks."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        found = [pipe.recv() for pipe in self.pipes]
        wrong = [text for good, text in found if not good]
        assert not wrong, "\n".join(wrong)
        return [result for _, result in found]

    def end(self) -> None:
        """Let both go."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)
