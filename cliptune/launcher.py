"""Which of several processes this is, by what its launcher says: before the processes have met, and without importing anything heavy.

torchrun sets RANK and LOCAL_RANK, SLURM its own for each task, Lightning LOCAL_RANK for those it starts, the user NODE_RANK.
"""

import os


def launched_rank() -> int:
    """This process's number; 0 only for the first of all, where Lightning itself starts some on several machines."""
    known = next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), "0")  # Lightning's order
    on_another = "RANK" not in os.environ and os.environ.get("NODE_RANK", "0") != "0"
    return int(known) + on_another


def leads_machine() -> bool:
    """Whether this is the first process of its machine."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0
