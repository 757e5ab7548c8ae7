"""The course of a sweep: what has ended is read, the rest is run, each result is checked, and all is told together."""

import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cliptune.errors import Stopped, TrainingError
from cliptune.page.numbers import duration
from cliptune.processes import tell
from cliptune.run import versions
from cliptune.sweep.cells import Cell
from cliptune.sweep.page import write_page
from cliptune.sweep.plots import draw_accuracy, draw_forgetting
from cliptune.sweep.recommending import recommend
from cliptune.sweep.results import Result, Table, check_same_images, result_of
from cliptune.sweep.running import Ended, Job, Lane, Work, run_jobs
from cliptune.sweep.telling import Failure, Outcome, print_outcome, write_data

Keep = Literal["best", "all", "none"]
ALIKE = 3  # runs that fail with the same words before any succeeds, after which the others are not tried
CUT_OFF = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # the statuses of a run that was asked to stop
SOME_FAILED = 1  # the status where there are results, but not of all cells


@dataclass(frozen=True)
class Sweep:
    """What is to be run.

    Args:
        name: of the recipe.
        command: that repeats it.
        output: its folder.
        methods: entries' names, in order.
        shots: of training, in order.
        keep: which checkpoints stay when a run has ended: `best`, `all` (with what going on needs) or `none`.
        lanes: as many runs go on at a time.
        imported: modules that each run needs.
    """

    name: str
    command: str
    output: Path
    methods: Sequence[str]
    shots: Sequence[int | None]
    keep: Keep
    lanes: Sequence[Lane]
    imported: Sequence[str]


def run_sweep(sweep: Sweep, cells: Sequence[Cell], work: Work) -> Outcome:
    """Run the cells that have not ended, and write and print what all come to.

    Args:
        sweep: see there.
        cells: of it.
        work: runs a command line; see `running.run_jobs`.

    Raises:
        TrainingError: cells failed, or have seen different images; the others have been run and are told.
        Stopped: it was asked to stop; what had ended by then has been told.
    """
    found = {cell: result for cell in cells if (result := result_of(cell)) is not None}
    check_same_images(list(found.values()))
    failed: dict[Cell, str] = {}
    known = f", of which {len(found)} have ended before" if found else ""
    tell(f"{len(cells)} runs{known}; results: {sweep.output}")
    stopped: Stopped | None = None
    try:
        _run(sweep, [cell for cell in cells if cell not in found], work, found, failed)
    except Stopped as error:
        stopped = error
    if found:
        outcome = conclude(sweep, cells, found, failed)
    if stopped is not None:
        raise stopped
    if failed:
        raise _failure(failed, len(cells), bool(found))
    return outcome


def _run(sweep: Sweep, cells: Sequence[Cell], work: Work, found: dict[Cell, Result], failed: dict[Cell, str]) -> None:
    """Run cells; results and failures are put where they belong."""
    began, whole = time.monotonic(), len(cells)
    jobs = [Job(cell, cell.words, cell.log) for cell in cells]
    with closing(run_jobs(jobs, sweep.lanes, work, sweep.imported)) as all_ended:
        for number, ended in enumerate(all_ended, 1):
            told = _take(sweep, ended, found, failed)
            left = (time.monotonic() - began) / number * (whole - number)
            about = f", about {duration(left)} left" if number < whole else ""
            tell(f"[{number} of {whole}{about}] {ended.key.told()}: {told}")
            if not found and len(failed) >= ALIKE and len(set(failed.values())) == 1:
                return


def _take(sweep: Sweep, ended: Ended, found: dict[Cell, Result], failed: dict[Cell, str]) -> str:
    """Put what became of a cell where it belongs, and tell it."""
    cell = ended.key
    if ended.status in CUT_OFF:
        return "cut off"
    result = result_of(cell) if ended.status == 0 else None
    if result is None:
        reason = reason_of(ended)
        alike = next((other.told() for other, said in failed.items() if said == reason), None)
        failed[cell] = reason
        return f"failed. {reason}" if alike is None else f"failed like {alike}"
    found[cell] = result
    check_same_images(list(found.values()))
    _tidy(result, sweep.keep)
    zero = result.test.get("zero_shot")
    before = "" if zero is None else f" (zero-shot {zero:.3f})"
    return f"test/{result.metric} {result.test['adapted']:.3f}{before}, {duration(ended.seconds)}"


def reason_of(ended: Ended) -> str:
    """Why a run has no result."""
    if ended.status < 0:
        name = signal.Signals(-ended.status).name
        why = " Systems end so what takes more memory than there is: take fewer --jobs." if name == "SIGKILL" else ""
        return f"ended by {name}.{why}"
    return ended.said or f"status {ended.status}"


def _tidy(result: Result, keep: Keep) -> None:
    """Remove checkpoints that nobody needs: of many runs they would fill the disk."""
    folder = result.folder / "checkpoints"
    if keep == "none":
        shutil.rmtree(folder, ignore_errors=True)
    elif keep == "best":
        (folder / "last.ckpt").unlink(missing_ok=True)


def conclude(sweep: Sweep, cells: Sequence[Cell], found: dict[Cell, Result], failed: dict[Cell, str]) -> Outcome:
    """Write the data, the pictures and the page, and print the table."""
    table = Table([found[cell] for cell in cells if cell in found], sweep.methods, sweep.shots)
    lacking = [Failure(cell, failed.get(cell, "")) for cell in cells if cell not in found]
    outcome = Outcome(sweep.name, sweep.command, sweep.output, table, recommend(table), lacking, versions())
    write_data(outcome)
    draw_accuracy(sweep.output / "accuracy.png", table, sweep.name)
    draw_forgetting(sweep.output / "forgetting.png", table)
    write_page(outcome)
    print_outcome(outcome)
    return outcome


def _failure(failed: dict[Cell, str], whole: int, some: bool) -> TrainingError:
    """What ends a sweep with failed cells, whose reasons have been told as they failed."""
    if some:
        told = f"{len(failed)} of {whole} runs failed, for the reasons told above"
        error = TrainingError(f"{told}. The same command runs these again, and only these.")
        error.status = SOME_FAILED
        return error
    more, untried = len(failed) - 1, whole - len(failed)
    why = "for the reasons told above"
    if len(set(failed.values())) == 1:
        why = "for the reason told above" + (f", the same for {more} more" if more else "")
    cell = next(iter(failed))
    return TrainingError(f"no run succeeded, {why}{f'; not tried: {untried}' if untried else ''}. The log of {cell.told()}: {cell.log}")
