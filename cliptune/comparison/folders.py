"""From what a user names to the run folders that are compared: runs, seeds' folders, and folders that hold such."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cliptune.errors import CheckpointError, ConfigError, did_you_mean

COMPARED = ("fit", "soup", "seeds")  # commands whose folders are taken from a folder of runs; others when they are named
BEGUN = ("config.yaml", "metrics.csv", "checkpoints")


class Found(NamedTuple):
    """A run folder that has ended."""

    folder: Path
    summary: dict[str, Any]


def find_runs(named: Sequence[Path]) -> tuple[list[Found], list[str]]:
    """Read the summaries of runs.

    Args:
        named: run folders, folders of `fit --seeds`, or folders that hold such.

    Returns:
        The runs, each once, in the order given; and what is to be said of those left out.

    Raises:
        CheckpointError: a folder is no run, has not ended, or holds none.
        ConfigError: it is one run only.
    """
    found: dict[Path, Found] = {}
    notes: list[str] = []
    for path in named:
        if (path / "summary.json").is_file():
            found[path.resolve()] = Found(path, _read(path))
            continue
        inner = [folder for folder in sorted(path.iterdir()) if (folder / "summary.json").is_file()] if path.is_dir() else []
        if not inner:
            raise CheckpointError(_no_run(path))
        runs = [one for one in (Found(folder, _read(folder)) for folder in inner) if one.summary.get("command") in COMPARED]
        inside = set(_of_seeds(runs))
        found.update({one.folder.resolve(): one for one in runs if one.folder.resolve() not in inside})
        notes += _left_out(path, runs)
    if not found:
        raise CheckpointError(f"{', '.join(map(str, named))}: there are no runs of fit. Name the run folders themselves.")
    if len(found) == 1:
        one = next(iter(found.values())).folder
        raise ConfigError(f"compare lays two or more runs side by side, and {one} is one. Look at it alone: cliptune report {one}")
    return list(found.values()), notes


def run_of_seed(seeds: Path, told: dict[str, Any]) -> Path:
    """The folder of a seed's run: where its summary says, or beside the seeds' own folder, if both were moved."""
    folder = Path(told["folder"])
    beside = seeds.parent / folder.name
    return beside if (beside / "summary.json").is_file() else folder


def _of_seeds(runs: Sequence[Found]) -> Iterator[Path]:
    """The runs that stand in a seeds' summary, which speaks for them."""
    for one in runs:
        if one.summary["command"] == "seeds":
            yield from (run_of_seed(one.folder, told).resolve() for told in one.summary["runs"].values())


def _read(folder: Path) -> dict[str, Any]:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not all(isinstance(summary[part], dict) for part in ("zero_shot", "adapted")):
            raise ValueError("it says nothing of zero_shot and adapted")
    except (OSError, ValueError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CheckpointError(f"{folder}/summary.json is not read: {reason}. Leave it out, or run cliptune test again.") from None
    return summary


def _no_run(path: Path) -> str:
    if not path.exists():
        parent = path.parent
        near = did_you_mean(path.name, (folder.parent.name for folder in sorted(parent.glob("*/summary.json")))) if parent.is_dir() else ""
        return f"there is no folder {path}. {near}".rstrip()
    if path.is_file():
        return f"{path} is a file. Give the run's folder: {path.parent}"
    if any((path / name).exists() for name in BEGUN):
        return f"{path} has not ended: it has no summary.json. Go on with it, cliptune fit --config {path}/config.yaml --ckpt_path {path}"
    return f"{path} is no run folder, and holds none: there is no summary.json. Runs lie in the folder run.root, usually runs."


def _left_out(path: Path, runs: Sequence[Found]) -> Iterator[str]:
    begun = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and any((folder / name).exists() for name in BEGUN)]
    open_ones = [folder.name for folder in begun if not (folder / "summary.json").is_file()]
    if open_ones:
        yield f"left out of {path}, since they have not ended: {', '.join(open_ones)}"
    taken = {one.folder for one in runs}
    others = [folder.name for folder in begun if folder not in taken and (folder / "summary.json").is_file()]
    if others:
        yield f"left out of {path}, since they are of no fit: {', '.join(others)}; name them to have them"
