"""The cells of a sweep: each entry with each number of shots and each seed, as a config of its own."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cliptune.errors import ConfigError
from cliptune.run import refittable
from cliptune.sweep.planned import Planned
from cliptune.whole import write_whole

CELLS, CONFIGS, LOGS = "cells", "configs", "logs"  # folders of a sweep


@dataclass(frozen=True)
class Cell:
    """A run of a sweep.

    Args:
        method: the entry's name.
        shots: images of each class that training sees; all where None.
        seed: of the run, and of which images are drawn.
        planned: how it is found again.
        output: the sweep's folder.
    """

    method: str
    shots: int | None
    seed: int
    planned: Planned
    output: Path

    @property
    def name(self) -> str:
        """Of its files."""
        return self.planned.name

    def told(self) -> str:
        """For people."""
        return f"{self.method}, {told_shots(self.shots)}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """What its run says."""
        return self.output / LOGS / f"{self.name}.log"

    def words(self) -> list[str]:
        """The command line that runs it, or goes on with what was begun of it; writes its config."""
        file = self.output / CONFIGS / f"{self.name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda handle: handle.write(self.planned.config.encode()))
        folder, _ = self.planned.folder()
        return ["fit", "--config", str(file), *([f"--ckpt_path={folder}"] if folder is not None else [])]


def told_shots(shots: int | None) -> str:
    """A number of shots for people."""
    return "all images" if shots is None else f"{shots} shot{'s' * (shots > 1)}"


def cells_of(recipes: Mapping[str, str], shots: Sequence[int | None], seeds: Sequence[int], output: Path) -> list[Cell]:
    """All cells, few shots first, so that results of all methods come early.

    Args:
        recipes: by entry, the resolved config.
        shots: of training; None for all.
        seeds: of the runs.
        output: the sweep's folder.

    Raises:
        ConfigError: a recipe that a sweep cannot cut into cells.
    """
    values = {name: yaml.safe_load(text) for name, text in recipes.items()}
    for one in values.values():
        _check(one)
    found = []
    for count in sorted(shots, key=lambda count: float("inf") if count is None else count):
        for seed in seeds:
            for name, one in values.items():
                full = f"{name}-{'all' if count is None else count}-seed{seed}"
                config = _config(one, count, seed, output / CELLS, full)
                found.append(Cell(name, count, seed, Planned(full, output / CELLS, config), output))
    return found


def _config(recipe: Mapping[str, Any], shots: int | None, seed: int, root: Path, name: str) -> str:
    values = copy.deepcopy(dict(recipe))
    values["seed_everything"] = seed
    values["data"]["shots"] = shots
    if shots is None:
        values["data"]["shots_column"] = None
    values["run"] |= {"name": name, "root": str(root)}
    return refittable(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _check(recipe: Mapping[str, Any]) -> None:
    data, devices = recipe["data"], recipe["trainer"]["devices"]
    if data["shots_file"] is not None:
        raise ConfigError(
            f"data: shots_file {data['shots_file']} says which images training sees, and a sweep asks for shots. Leave it out."
        )
    if devices not in (1, "1") and not (isinstance(devices, list) and len(devices) == 1):
        raise ConfigError(f"trainer.devices is {devices}, but each run of a sweep has one. Set it to 1, and spread runs by --devices 0,1.")
