"""A run folder as a report reads it: a pure function of its files. What is not there, in an older run above all, is empty."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cliptune.errors import CheckpointError
from cliptune.metrics.answers import Answers
from cliptune.outcomes import FOLDER, read_answers

NOTHING = Answers(None, None)
EXAMPLES = "examples.json"


@dataclass
class Examples:
    """What was kept of the data itself; see `collect`."""

    classes: list[str] = field(default_factory=list)
    train_counts: list[int] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def name(self, label: int) -> str:
        """A class's name; its number where names were not kept."""
        return self.classes[label] if 0 <= label < len(self.classes) else f"class {label}"


@dataclass
class RunRead:
    """A run.

    Args:
        folder: where it lies.
        summary: `summary.json`.
        config: `config.yaml` as text; empty where there is none.
        metrics: `metrics.csv`, a dict of the cells that are not empty for each row.
        before: answers of the untouched model on the test split.
        after: of the adapted one.
        examples: what was kept of the data.
    """

    folder: Path
    summary: dict[str, Any]
    config: str = ""
    metrics: list[dict[str, str]] = field(default_factory=list)
    before: Answers = NOTHING
    after: Answers = NOTHING
    examples: Examples = field(default_factory=Examples)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @property
    def last(self) -> Answers:
        """The answers of the adapted model; of the untouched one where only that was scored."""
        return self.after if any(part is not None for part in self.after) else self.before

    def part(self, *keys: str) -> Any:
        """What lies in the summary under keys, one in another; an empty dict where nothing does."""
        found: Any = self.summary
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return {} if found is None else found

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a column of `metrics.csv`."""
        found = []
        for row in self.metrics:
            try:
                found.append((int(row["step"]), float(row[name])))
            except (KeyError, ValueError):
                continue
        return found


def read_run(folder: Path) -> RunRead:
    """Read a run folder.

    Raises:
        CheckpointError: it has no summary, or holds runs of several seeds, or a file in it is damaged.
    """
    file = folder / "summary.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no summary.json: it is no run folder, or the run has not ended. Give the folder of a run.")
    summary = _json(file)
    if "runs" in summary:
        runs = [str(one.get("folder", "")) for one in summary["runs"].values() if isinstance(one, dict)]
        raise CheckpointError(f"{folder} holds {len(runs)} runs, a seed each. Give one of them, such as {runs[0] if runs else 'its own'}.")
    config = folder / "config.yaml"
    metrics = folder / "metrics.csv"
    return RunRead(
        folder,
        summary,
        config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        _rows(metrics) if metrics.is_file() else [],
        _answers(folder / FOLDER / "zero_shot.safetensors"),
        _answers(folder / FOLDER / "adapted.safetensors"),
        _examples(folder / FOLDER / EXAMPLES),
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not read: {error}. Run cliptune test again, or restore the file.") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{file} holds no object. Run cliptune test again, or restore the file.")
    return found


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", errors="replace", newline="") as handle:
        return [{key: value for key, value in row.items() if key and value} for row in csv.DictReader(handle)]


def _answers(file: Path) -> Answers:
    return read_answers(file) if file.is_file() else NOTHING


def _examples(file: Path) -> Examples:
    known = _json(file) if file.is_file() else {}
    return Examples(**{name: known[name] for name in Examples.__dataclass_fields__ if known.get(name)})
