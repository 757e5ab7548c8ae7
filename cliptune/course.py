"""The honest course of a fit: zero-shot on validation, training, and only then the test split, for the untouched and the adapted model.

Nothing that is chosen on the way, the best checkpoint above all, can depend on the test split, since nobody has seen it by then.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from cliptune.adapted import AdaptedCLIP
from cliptune.audit import evaluating
from cliptune.checkpoint import learned_only, recipe
from cliptune.curve import alpha_curve, format_of
from cliptune.errors import CheckpointError, ConfigError
from cliptune.measuring import measure
from cliptune.processes import tell
from cliptune.run import Run
from cliptune.safe_io import restoring
from cliptune.scores import Scores, State

if TYPE_CHECKING:
    from cliptune.cli import AdaptCLI
    from cliptune.module import AdaptModule


def fit_honestly(cli: AdaptCLI, checkpoint: str | None) -> tuple[Scores, Path]:
    """Score zero-shot on validation, train, and score both models on the test split.

    Args:
        cli: with trainer, module and data.
        checkpoint: to go on from.

    Returns:
        The scores, and the best checkpoint, which the module holds now.
    """
    trainer, module, scores = cli.trainer, cli.model, Scores()
    start: Start | None = None
    if cli.run.baseline:
        tell("scoring zero-shot on validation ...")
        logged = unlogged(trainer) if cli.resumed else nullcontext()  # metrics.csv has it already
        with cli.phases.of("zero-shot on validation"), module.as_untouched(), logged:
            score(cli, "validate", scores.zero_shot)
        cli.floor.zero_shot = float(trainer.callback_metrics["val/score"])  # which no logger has, and so no result
        start = Start(module)
        scores.start = start.of_backbone()
    elif module.guards:
        tell("scoring zero-shot on the guards ...")
        with cli.phases.of("zero-shot on the guards"), module.as_untouched(), unlogged(trainer), of_one_batch(trainer):
            score(cli, "validate", State())
    began = time.perf_counter()
    with cli.phases.of("training"), restoring(checkpoint):
        trainer.fit(module, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
    scores.seconds = time.perf_counter() - began
    best = cli.run.folder / "checkpoints" / "best.ckpt"
    if not best.is_file() and trainer.global_step and trainer.limit_val_batches:  # it ended before the first evaluation
        trainer.save_checkpoint(best, weights_only=True)
    if not best.is_file():
        raise CheckpointError(f"no checkpoint was written to {best}: training had no validation. Set trainer.max_epochs to 1 or more.")
    if start is not None:
        tell("scoring zero-shot on the test split ...")
        with cli.phases.of("zero-shot on test"), module.as_untouched():
            start.restore()
            test_of_the_start(cli, scores.zero_shot)
    tell("scoring adapted ...")
    with cli.phases.of("adapted on validation and test"):
        module.load_learned(best)
        score(cli, "validate", scores.adapted)
        scores.best = float(trainer.callback_metrics[cli.watch.monitor])
        score(cli, "test", scores.adapted)
    if cli.evaluation.curve is True or (cli.evaluation.curve == "auto" and module.guards):
        tell("scoring what lies between zero-shot and adapted ...")
        with cli.phases.of("between zero-shot and adapted"):
            scores.curve = curve(cli)
    return scores, best


def curve(cli: AdaptCLI) -> dict[str, Any] | None:
    """Score the blends of the module with the CLIP that it was; None, and said why, where there are none."""
    module: AdaptModule = cli.model
    if module.sharded:
        tell("no curve: blends of sharded weights are not scored; cliptune export RUN --blend auto does it on one device")
        return None
    model = AdaptedCLIP(module.backbone, module.method, recipe(module))
    with evaluating(module), cli.trainer.precision_plugin.forward_context():
        found, why = alpha_curve(
            model,
            cli.datamodule,
            module.guards,
            balanced=cli.watch.balanced,
            monitor=cli.watch.monitor.removeprefix("val/"),
            keep=cli.watch.keep,
        )
    if found is None:
        tell(f"no curve: {why}")
        return None
    return {**found, "format": format_of(model)}


def score(cli: AdaptCLI, command: str, state: State) -> dict[str, float]:
    """Metrics of the module as it stands, by `validate` or `test`, which the state takes with the answers."""
    cli.model.keep_rows = command == "validate" and len(cli.datamodule.templates) > 1  # which template helps is asked of them
    found = dict(getattr(cli.trainer, command)(cli.model, datamodule=cli.datamodule, verbose=False)[0])
    cli.model.keep_rows = False
    take(cli, command, state, found)
    return found


def take(cli: AdaptCLI, command: str, state: State, found: dict[str, float]) -> None:
    """Let a state have what was just measured, and, on the test split, what else is to be measured there."""
    state.metrics.update(found)
    if command == "validate":
        state.validation = cli.model.evaluation.answers
    else:
        state.test = cli.model.evaluation.answers
    measure(cli.trainer, cli.model, cli.datamodule, cli.evaluation, state, command)


def test_of_the_start(cli: AdaptCLI, state: State) -> None:
    """Score the untouched model on the test split; what is logged stands at step 0, once, though it is measured last."""
    with unlogged(cli.trainer):
        found = score(cli, "test", state)
    if not (cli.resumed and _has_test_at_start(cli.run.folder / "metrics.csv")):
        for logger in cli.trainer.loggers:
            logger.log_metrics({"epoch": 0, **{name: value for name, value in found.items() if not name.endswith("/score")}}, step=0)
            logger.save()


class Start:
    """What learns, as it is before training; each process keeps its own part, in the CPU's memory.

    A resumed run rebuilds it as it was, since seeds and weights are the same, so that no file need hold it.

    Args:
        module: attached and untouched.
    """

    def __init__(self, module: AdaptModule) -> None:
        self.module = module
        self.state = {name: _own(value).to("cpu", copy=True) for name, value in learned_only(module.state_dict(), module).items()}

    def of_backbone(self) -> dict[str, torch.Tensor] | None:
        """What of the backbone learns, by its name in there; None where no process has it whole."""
        if self.module.sharded:
            return None
        return {name.removeprefix("backbone."): value for name, value in self.state.items() if name.startswith("backbone.")}

    @torch.no_grad()
    def restore(self) -> None:
        """Put it back."""
        if not self.module.sharded:
            self.module.load_state_dict(self.state, strict=False)
            return
        for name, value in learned_only(self.module.state_dict(), self.module).items():
            _own(value).copy_(self.state[name])


class Chosen(Callback):
    """Writes down which images few-shot training sees, before it begins.

    Args:
        run: in whose folder.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called when the data is set up."""
        chosen = getattr(getattr(trainer, "datamodule", None), "chosen", None)
        if chosen is not None and trainer.is_global_zero:
            chosen.write(self.run.folder)


def check_choice(callbacks: Iterable[Any]) -> None:
    """Refuse callbacks that choose on the test split.

    Raises:
        ConfigError: with what they may look at.
    """
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor.startswith("test"):
            raise ConfigError(
                f"trainer.callbacks: {type(callback).__name__} monitors {monitor}, and what is chosen on the test split has no honest "
                f"score there. Take val{monitor.removeprefix('test')}."
            )


@contextmanager
def unlogged(trainer: L.Trainer) -> Iterator[None]:
    """While it lasts, what is measured is logged nowhere."""
    loggers = trainer.loggers
    trainer.loggers = []
    try:
        yield
    finally:
        trainer.loggers = loggers


@contextmanager
def of_one_batch(trainer: L.Trainer) -> Iterator[None]:
    """While it lasts, a validation sees one batch, and guards all of theirs."""
    limit, trainer.limit_val_batches = trainer.limit_val_batches, 1
    try:
        yield
    finally:
        trainer.limit_val_batches = limit


def _own(value: torch.Tensor) -> torch.Tensor:
    """This process's part of a sharded tensor, sharing its memory; any other as it is."""
    return value.to_local() if hasattr(value, "to_local") else value


def _has_test_at_start(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", newline="") as handle:
        first = [row for row in csv.DictReader(handle) if row["step"] == "0"]
    return any(value for row in first for name, value in row.items() if name.startswith("test/"))
