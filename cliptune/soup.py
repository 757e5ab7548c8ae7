"""The average of the weights of several runs of one recipe (Wortsman et al. 2022, "Model soups": uniform, and greedy by algorithm 1).

What folds is averaged as plain CLIP weights, so that adapters are averaged as what they do to the weights and not factor by factor; of a
probe or of prompts the learned tensors themselves are.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
import yaml
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.blend import folded, folds
from cliptune.checkpoint import attached, learned_state
from cliptune.data.images import ImageTextData
from cliptune.described import build
from cliptune.errors import CheckpointError, CliptuneError, ConfigError, DataError
from cliptune.loading import load, usual_device
from cliptune.methods.full import Full
from cliptune.rescore import Score, data_of, score
from cliptune.run import versions
from cliptune.safe_io import write_checkpoint
from cliptune.summary import read_summary

State = dict[str, Tensor]  # by name: `backbone.` or `method.`, and the name in its state dict


class Ingredient(NamedTuple):
    """A run that may go into the soup."""

    run: Path
    validation: float | None  # its score; None where the data is not at hand
    taken: bool


class Soup(NamedTuple):
    """What came out."""

    ingredients: list[Ingredient]
    validation: float | None
    test: dict[str, float]  # metrics on the first run's test split; empty where it is not at hand
    best_single: dict[str, float]  # those of the best ingredient on validation
    why: str  # the data is not at hand, or ""


def cook(runs: Sequence[Path], output: Path, greedy: bool = False) -> Soup:
    """Average runs, and write the soup as a run folder.

    Args:
        runs: run folders of one recipe, two or more.
        output: the folder to write, which must not exist.
        greedy: take a run in only where validation does not fall by it.

    Raises:
        ConfigError: fewer than two runs; or the folder exists.
        CheckpointError: the runs are not of one recipe.
        DataError: greedy, and the data is not at hand.
    """
    if len(runs) < 2:
        raise ConfigError(f"soup averages several runs, and {len(runs)} was given. Give two or more run folders.")
    if output.exists():
        raise ConfigError(f"--output {output} exists already. Give another folder, or remove it.")
    model = load(runs[0])
    for run in runs:
        _check_same(runs[0], model.about, run, load(run).about)
    data, why = _data(runs[0], model)
    device = usual_device()
    if data is None and greedy:
        raise DataError(f"soup --greedy chooses on validation, and {why}. Leave --greedy out.")
    scores = [score(load(run, device), data, "validation").score if data is not None else None for run in runs]
    pot = Pot(model.about)
    order = sorted(range(len(runs)), key=lambda i: -(scores[i] or 0.0))
    taken: list[int] = []
    best = -1.0
    for i in order:
        pot.add(runs[i])
        if greedy and data is not None:
            found = score(pot.model().to(device), data, "validation").score
            if found < best:
                pot.take_out(runs[i])
                continue
            best = found
        taken.append(i)
    result = pot.model().to(device)
    tested = score(result, data, "test") if data is not None else None
    single = score(load(runs[order[0]], device), data, "test").metrics if data is not None else {}
    validation = score(result, data, "validation").score if data is not None else None
    ingredients = [Ingredient(run, scores[i], i in taken) for i, run in enumerate(runs)]
    soup = Soup(ingredients, validation, tested.metrics if tested else {}, single, why)
    _write(output, runs[0], result.to("cpu"), soup, tested)
    return soup


class Pot:
    """The running sum of what runs learned.

    Args:
        recipe: of the runs.
    """

    def __init__(self, recipe: dict[str, Any]) -> None:
        foldable = folds(build(recipe["method"]))
        self.recipe = {**recipe, "method": Full().describe()} if foldable else recipe
        self.sum: State = {}
        self.count = 0

    def add(self, run: Path) -> None:
        """Put a run in."""
        for name, value in state_of(load(run)).items():
            self.sum[name] = self.sum[name] + value if name in self.sum else value
        self.count += 1

    def take_out(self, run: Path) -> None:
        """Take a run out again."""
        for name, value in state_of(load(run)).items():
            self.sum[name] = self.sum[name] - value
        self.count -= 1

    def model(self) -> AdaptedCLIP:
        """The average, as a model."""
        backbone, method = attached(self.recipe)
        parts = {"backbone": backbone.state_dict(), "method": method.state_dict()}
        for name, value in self.sum.items():
            part, _, key = name.partition(".")
            parts[part][key].copy_((value / self.count).reshape(parts[part][key].shape))
        return AdaptedCLIP(backbone.requires_grad_(False).eval(), method.requires_grad_(False).eval(), self.recipe)


@torch.no_grad()
def state_of(model: AdaptedCLIP) -> State:
    """What is averaged, as float64: sums of many float32 weights would lose their last bits. Counters are left as the base has them."""
    whole = folded(model)
    kept = {f"backbone.{name}": value for name, value in whole.backbone.state_dict().items()} if folds(model.method) else {}
    kept |= {f"method.{name}": value for name, value in whole.method.state_dict().items()}
    return {name: value.double() for name, value in kept.items() if value.is_floating_point()}


def _check_same(first: Path, ours: dict[str, Any], run: Path, theirs: dict[str, Any]) -> None:
    if theirs.get("objective") is None:
        raise CheckpointError(f"{run} is no run: it was not trained. Give run folders.")
    same_method = ours["method"]["class"] == theirs["method"]["class"]
    if same_method and not folds(build(ours["method"])):
        same_method = ours["method"] == theirs["method"]
    differ = {
        "backbone": ours["backbone"] != theirs["backbone"] or ours["base_fingerprint"] != theirs["base_fingerprint"],
        "method": not same_method,
        "objective": ours["objective"]["class"] != theirs["objective"]["class"],
        "set of classes": ours["class_texts"] != theirs["class_texts"],
    }
    for part, differs in differ.items():
        if differs:
            raise CheckpointError(f"{run} is of another {part} than {first}. A soup is of runs of one recipe: leave one of them out.")


def _data(run: Path, model: AdaptedCLIP) -> tuple[ImageTextData | None, str]:
    try:
        return data_of(run, model), ""
    except CliptuneError as error:
        return None, str(error).rstrip(".")


def _write(output: Path, first: Path, model: AdaptedCLIP, soup: Soup, tested: Score | None) -> None:
    """The run folder: a checkpoint without optimizer, the first run's config with what differs, a summary."""
    draft = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        write_checkpoint(_checkpoint(model), draft / "checkpoints" / "best.ckpt")
        if (first / "config.yaml").is_file():
            (draft / "config.yaml").write_text(_config(first / "config.yaml", model), encoding="utf-8")
        (draft / "summary.json").write_text(json.dumps(_summary(first, model, soup, tested), indent=2) + "\n", encoding="utf-8")
        draft.replace(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _checkpoint(model: AdaptedCLIP) -> dict[str, Any]:
    """As a run's: only what its method may have learned."""
    backbone, method = attached(model.about)
    backbone.load_state_dict(model.backbone.state_dict())
    method.load_state_dict(model.method.state_dict())
    objective = build(model.about["objective"])
    objective.attach(backbone, [1] * len(model.class_names))
    lightning = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": L.__version__}  # so that its Trainer reads it
    return {"state_dict": learned_state(method, objective, backbone), "cliptune": model.about, **lightning}


def _config(file: Path, model: AdaptedCLIP) -> str:
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    method = model.about["method"]
    values["model"]["method"] = {"class_path": f"cliptune.{method['class'].rpartition('.')[2]}", "init_args": method["arguments"]}
    return (
        f"# A soup of several runs. Score it: cliptune test --config config.yaml --ckpt_path .\n{yaml.safe_dump(values, sort_keys=False)}"
    )


def _summary(first: Path, model: AdaptedCLIP, soup: Soup, tested: Score | None) -> dict[str, Any]:
    try:
        before = read_summary(first)
    except CheckpointError:
        before = {}
    same = ("backbone", "objective", "zero_shot", "counts", "data", "seed", "base_fingerprint")
    kept: dict[str, Any] = {key: before[key] for key in same if key in before}
    return {
        "command": "soup",
        **kept,
        "method": model.about["method"],
        "adapted": {f"test/{name}": value for name, value in soup.test.items()},
        "evaluated": {"test": tested.evaluated} if tested else {},
        "ingredients": [{"run": one.run.name, "validation": one.validation, "taken": one.taken} for one in soup.ingredients],
        "validation": soup.validation,
        "seconds": {},
        "versions": versions(),
    }
