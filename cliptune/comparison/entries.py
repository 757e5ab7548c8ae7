"""The rows of a comparison: each run, each `--seeds` folder, and the zero-shot that runs began with."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cliptune.comparison.folders import Found, run_of_seed
from cliptune.comparison.reading import (
    Forgotten,
    about_run,
    forgotten_by,
    guard_metrics,
    intervals_of,
    mean_forgotten,
    mean_of,
    numbers_of,
    summary_of,
)
from cliptune.comparison.settings import flat_config
from cliptune.metrics.answers import Answers
from cliptune.metrics.names import higher
from cliptune.outcomes import FOLDER, read_answers

SAME = 0.005  # zero-shot scores nearer than this are of one model under another precision or batch size


@dataclass
class Entry:
    """A row.

    Args:
        name: that no other row has.
        kind: a run, several of other seeds, or the untouched CLIP.
        folder: of the run that it is from.
        metrics: by name, such as `test/top1`; of several seeds their means.
        intervals: 95 %, where they were computed.
        spreads: standard deviations over seeds.
        seeds: how many runs stand behind it.
        backbone: its name.
        method: its class, as `learns` tells it.
        objective: likewise.
        learns: the descriptions of method and objective, with their arguments.
        shots: images of each class that training saw; `all`.
        training_images: that it saw.
        parameters: that learned.
        seconds: of training.
        memory: MB at most.
        guards: by name.
        test_data: which test data it was measured on, and the classes' names; rows of equal ones can be compared.
        settings: its config, flat.
        state: `zero_shot` or `adapted`, whose answers are its own.
    """

    name: str
    kind: Literal["run", "seeds", "zero-shot"]
    folder: Path
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)
    seeds: int = 1
    backbone: str = ""
    method: str = ""
    objective: str = ""
    learns: dict[str, Any] = field(default_factory=dict)
    shots: str = ""
    training_images: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    memory: float | None = None
    guards: dict[str, Forgotten] = field(default_factory=dict)
    test_data: str = ""
    class_names: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    state: str = "adapted"

    @cached_property
    def answers(self) -> Answers | None:
        """Image by image on the test split; None where the run did not keep them.

        Raises:
            CheckpointError: they are damaged.
        """
        file = self.folder / FOLDER / f"{self.state}.safetensors"
        return read_answers(file) if self.kind != "seeds" and file.is_file() else None


def entries_of(found: Sequence[Found]) -> list[Entry]:
    """All rows: the runs in the order given, then zero-shot, once for each backbone and test data."""
    rows = [entry for one in found for entry in (_seeds(one) if one.summary.get("command") == "seeds" else _run(one))]
    _tell_apart(rows)
    zeros = list(_zero_shots([one for one in found if one.summary.get("command") != "seeds"]) or _zero_shots_of_seeds(found))
    return rows + zeros


def _run(one: Found) -> Iterator[Entry]:
    summary = one.summary
    if summary["adapted"]:
        yield Entry(
            one.folder.resolve().name,
            "run",
            one.folder,
            {**numbers_of(summary["adapted"]), **guard_metrics(summary, "adapted")},
            intervals_of(summary, "adapted"),
            guards=forgotten_by(summary),
            **about_run(one),
        )


def _seeds(one: Found) -> Iterator[Entry]:
    """Several seeds: means, and what the first of their runs says of itself."""
    spreads = one.summary["adapted"]
    inner = [(folder, summary_of(folder)) for folder in (run_of_seed(one.folder, told) for told in one.summary["runs"].values())]
    runs = [Found(folder, summary) for folder, summary in inner if summary is not None]
    about = [about_run(run) for run in runs]
    first: dict[str, Any] = about[0] if about else {"settings": flat_config(one.folder)}
    costs = {key: mean_of([each[key] for each in about]) for key in ("seconds", "memory")}
    yield Entry(
        one.folder.resolve().name,
        "seeds",
        one.folder,
        {name: float(spread["mean"]) for name, spread in spreads.items()},
        spreads={name: float(spread["std"]) for name, spread in spreads.items() if spread["std"] is not None},
        seeds=len(one.summary["runs"]),
        guards=mean_forgotten([forgotten_by(run.summary) for run in runs]),
        **{**first, **costs},
    )


def _zero_shots(found: Sequence[Found]) -> Iterator[Entry]:
    """One row for those that are equal; named by their backbones where these differ."""
    kept: list[tuple[str, Entry]] = []
    for one in found:
        metrics = numbers_of(one.summary["zero_shot"])
        if not any(name.startswith("test/") for name in metrics):
            continue
        about = about_run(one)
        key = json.dumps([one.summary.get("backbone"), one.summary.get("base_fingerprint"), about["test_data"]], sort_keys=True)
        if any(key == other and _near(metrics, entry.metrics) for other, entry in kept):
            continue
        plain = {name: about[name] for name in ("backbone", "test_data", "class_names")}
        own = {**metrics, **guard_metrics(one.summary, "zero_shot")}
        intervals = intervals_of(one.summary, "zero_shot")
        entry = Entry("zero-shot", "zero-shot", one.folder, own, intervals, parameters=0, state="zero_shot", **plain)
        kept.append((key, entry))
    backbones = [entry.backbone for _, entry in kept]
    for _, entry in kept:
        if len(kept) > 1:
            own_name = backbones.count(entry.backbone) == 1
            entry.name = f"zero-shot {entry.backbone}" if own_name else f"zero-shot of {entry.folder.resolve().name}"
        yield entry


def _zero_shots_of_seeds(found: Sequence[Found]) -> Iterator[Entry]:
    """That of the first seeds' first run, where nothing but seeds is compared."""
    inner = [Found(folder, summary) for folder, summary in _first_seeds(found) if summary is not None]
    yield from _zero_shots(inner)


def _first_seeds(found: Sequence[Found]) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    for one in found:
        folder = run_of_seed(one.folder, next(iter(one.summary["runs"].values())))
        yield folder, summary_of(folder)


def _near(one: dict[str, float], other: dict[str, float]) -> bool:
    shared = [name for name in one if name in other and name.startswith("test/") and higher(name)]
    return all(abs(one[name] - other[name]) < SAME for name in shared)


def _tell_apart(rows: Sequence[Entry]) -> None:
    """Names that two folders share get the folder above."""
    names = [row.name for row in rows]
    for row in rows:
        if names.count(row.name) > 1:
            row.name = f"{row.folder.resolve().parent.name}/{row.name}"
