"""`cliptune fit --seeds [1,2,3]`: the same fit with several seeds, each in a process and a run folder of its own, and what they come to.

The spread of few-shot results over draws is as large as what methods differ by, so that one seed says little (Zhou et al. 2022, CoOp,
report means of three). A seed whose run has ended is not run again; one that was cut off goes on.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import yaml

from cliptune.errors import ConfigError, Stopped, TrainingError
from cliptune.processes import tell
from cliptune.summary import spreads
from cliptune.sweep.planned import Planned
from cliptune.tables import print_spreads
from cliptune.whole import write_whole

Resolve = Callable[[list[str]], str]  # from a command line to the config that it would run with
Start = Callable[[list[str]], int]  # runs a command line in a process of its own, and gives its status
LARGEST = 2**32 - 1  # that numpy takes


class Seeded(NamedTuple):
    """The run of one seed."""

    seed: int
    words: list[str]
    planned: Planned


def asked_seeds(words: Sequence[str], configs: Sequence[str]) -> list[int] | None:
    """The seeds that a command line or a config wants a run each for; a command line's win.

    Args:
        words: the command line, whose first is the command.
        configs: the paths of its configs.

    Raises:
        ConfigError: they are no list of different whole numbers, or belong to no fit that begins.
    """
    values = [yaml.safe_load(Path(path).read_text(encoding="utf-8")) for path in configs]
    known = [value["seeds"] for value in values if "seeds" in value]
    told = _told(words)
    if words[0] != "fit":
        if told:
            raise ConfigError(f"--seeds is for fit, not {words[0]}. Score each run by --ckpt_path, or read the seeds' summary.json.")
        return None
    seeds = (told or known or [None])[-1]
    if seeds is None:
        return None
    checked = checked_seeds(seeds)
    other = [key for key in (word.partition("=")[0] for word in words) if key in ("--ckpt_path", "--extend")]
    if other or any(value.get("ckpt_path") for value in values):
        raise ConfigError(
            f"seeds {checked}: each begins a run, and {other[0] if other else 'ckpt_path'} goes on with one. Give one of both."
        )
    processes = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    if processes > 1:
        raise ConfigError(f"seeds {checked}: this is one of {processes} processes already. Launch each seed by itself: --seed_everything.")
    return checked


def _told(words: Sequence[str]) -> list[Any]:
    """What stands behind each --seeds."""
    found: list[Any] = []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        flag, equals, value = word.partition("=")
        if flag == "--seeds":
            try:
                found.append(yaml.safe_load(value if equals else after))
            except yaml.YAMLError:
                raise ConfigError(f"seeds {value or after} is no list. Write --seeds [1,2,3], without spaces.") from None
    return found


def checked_seeds(seeds: Any) -> list[int]:
    """Seeds as given, which must be different whole numbers.

    Raises:
        ConfigError: they are not.
    """
    if not isinstance(seeds, list) or any(not isinstance(seed, int) or isinstance(seed, bool) for seed in seeds):
        raise ConfigError(f"seeds {seeds} is no list of whole numbers. Write --seeds [1,2,3], without spaces.")
    if not seeds:
        raise ConfigError("seeds [] names no seed. Write --seeds [1,2,3], or leave it out for one run.")
    odd = next((seed for seed in seeds if not 0 <= seed <= LARGEST), None)
    if odd is not None:
        raise ConfigError(f"seeds: {odd} is not in 0..{LARGEST}. Take small whole numbers, such as [1,2,3].")
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise ConfigError(f"seeds {seeds} names {twice} twice, which would make the spread look smaller. Name each once.")
    return seeds


def run_seeds(words: list[str], seeds: list[int], resolve: Resolve, start: Start | None = None) -> None:
    """Run the seeds one after another, and write and print mean and spread.

    Args:
        words: the command line of `fit`.
        seeds: to run.
        resolve: see there.
        start: see there; a Python of its own where not given, which gives all memory back, and whose failure is its own.

    Raises:
        Stopped: it was asked to; the seed under way has saved.
        TrainingError: seeds failed; the others have been run and are reported.
    """
    base = resolve([*words, "--seeds=null"])
    values = yaml.safe_load(base)
    root, name = Path(values["run"]["root"]), values["run"]["name"]
    runs = []
    for seed in seeds:
        own = [*words, "--seeds=null", f"--seed_everything={seed}", f"--run.name={name}-seed{seed}"]
        runs.append(Seeded(seed, own, Planned(f"{name}-seed{seed}", root, resolve(own))))
    failed: dict[int, int] = {}
    for number, run in enumerate(runs, 1):
        folder, ended = run.planned.folder()
        tell(f"seed {run.seed} ({number} of {len(runs)})" + (f": {folder} has ended, and is not run again" if ended else ""))
        if not ended:
            status = (start or _in_process)(run.words + ([f"--ckpt_path={folder}"] if folder is not None else []))
            if status:
                failed[run.seed] = status
    found = {run.seed: _result(run) for run in runs if run.seed not in failed}
    if found:
        told = {"command": "seeds", "seeds": seeds, "failed": {str(seed): status for seed, status in failed.items()}, **spreads(found)}
        told["monitor"] = values.get("watch", {}).get("monitor")
        folder = _own_folder(root, f"{name}-seeds", f"{base}seeds: {seeds}\n")
        write_whole(folder / "summary.json", lambda file: file.write((json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()))
        print_spreads(told, folder)
    if failed:
        which = ", ".join(str(seed) for seed in failed)
        rest = f"; mean and spread are of the other {len(found)}" if found else ""
        raise TrainingError(
            f"seed {which} failed, for the reason told above{rest}. The same command runs again what failed, and only that."
        )


def _result(run: Seeded) -> dict[str, Any]:
    """What is kept of a seed's run."""
    folder, ended = run.planned.folder()
    if folder is None or not ended:
        raise TrainingError(
            f"seed {run.seed} has ended, and {run.planned.root} holds no {run.planned.name} with a summary.json: it was moved. "
            "Run it again."
        )
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    scores = {part: {k: v for k, v in summary[part].items() if k.startswith("test/")} for part in ("zero_shot", "adapted")}
    chosen = {"few_shot": summary["few_shot"]} if "few_shot" in summary else {}
    return {"folder": str(folder), **chosen, **scores}


def _own_folder(root: Path, name: str, config: str) -> Path:
    """The folder of these seeds with this config; another config's is not written over."""
    for number in range(1, 10_000):
        folder = root / (name if number == 1 else f"{name}-{number}")
        file = folder / "config.yaml"
        if not folder.exists():
            folder.mkdir(parents=True)
            file.write_text(config, encoding="utf-8")
        if file.is_file() and file.read_text(encoding="utf-8") == config:
            return folder
    raise ConfigError(f"run.name {name}: there are 9,999 of this name in {root}. Take another.")


def _in_process(words: list[str]) -> int:
    """Run a command in a Python of its own; a signal to this process is the other's, and a second one too."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        child.send_signal(number)

    # of its own session, or a terminal's Ctrl-C would reach it twice, which means to stop at once
    child = subprocess.Popen([sys.executable, "-m", "cliptune", *words], start_new_session=True)
    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise Stopped("stopped. The same command goes on: seeds that have ended are not run again.", 128 + heard[0])
    return status
