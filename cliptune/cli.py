"""`cliptune fit|validate|test|predict`: LightningCLI with short errors, a run folder, and a baseline before every fit."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

import cliptune.methods.full
import cliptune.methods.linear_probe
import cliptune.methods.lora
import cliptune.methods.prompt_tuning
import cliptune.objectives.contrastive
import cliptune.objectives.cross_entropy
import cliptune.objectives.feature_distillation
import cliptune.objectives.l2sp
import cliptune.objectives.sigmoid
import cliptune.objectives.similarity_distillation
import cliptune.objectives.sum  # noqa: F401 - the parser knows a class by its short name once it is imported
from cliptune.backbone import Backbone
from cliptune.callbacks import Clock, Floor, Watch, progress
from cliptune.checkpoint import check_goes_on, check_parts, read
from cliptune.course import Chosen, check_choice, fit_honestly, take
from cliptune.data.images import ImageTextData
from cliptune.devices import allow_tf32, check_strategy, default_precision
from cliptune.errors import ConfigError
from cliptune.evaluate import Bias, Evaluate
from cliptune.extension import Extension, extended_epochs
from cliptune.guard_sets import guard_sets
from cliptune.guards import Guards
from cliptune.logs import ResumableCSVLogger
from cliptune.measuring import Measures
from cliptune.module import AdaptModule
from cliptune.named_data import check_named, listed
from cliptune.optim import Schedule
from cliptune.parse_errors import shorten
from cliptune.phases import Phases
from cliptune.processes import SameFolder, is_main, together
from cliptune.run import Run, refittable
from cliptune.safe_io import SafeCheckpointIO, restoring
from cliptune.scores import Scores
from cliptune.stopping import Stopping
from cliptune.summary import conclude
from cliptune.unreadable import Unreadable

set_parsing_settings(subclasses_disabled=[Backbone, Schedule, Run, Watch, Evaluate, Bias])

TRAINER_DEFAULTS = {
    "devices": 1,
    "max_epochs": 10,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,  # the baseline is the sanity check
    "use_distributed_sampler": False,  # Order knows its own place
    "log_every_n_steps": 10,
}
TOP = ("seed_everything", "seeds", "guard")  # keys outside of sections


class Parser(LightningArgumentParser):
    """The parser with errors of one line."""

    made: list["Parser"] = []  # the program's and each command's
    configs: list[str] = []  # the files given, for messages

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})
        self.made.append(self)

    def error(self, message: str, ex: Exception | None = None) -> Any:  # type: ignore[override]
        """Raise what the parser would print 60 lines for."""
        found = (action.dest for parser in self.made for action in parser._actions if "." in action.dest or action.dest in TOP)
        keys = list(dict.fromkeys(found))  # in the order of the classes' arguments
        raise ConfigError(shorten(message, keys, self.configs)) from ex


class AdaptCLI(LightningCLI):
    """The four commands over one module and one data module."""

    run: Run
    clock: Clock

    def __init__(self, words: Sequence[str], name: str) -> None:
        self.asked, self.name = words[0], name
        self.started = time.perf_counter()
        self.phases = Phases(self.started)
        self.resumed = False
        super().__init__(
            AdaptModule,
            ImageTextData,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={"dump_header": []},
            args=list(words),
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run and the watch, and hand on what the backbone and the objective know."""
        parser.add_class_arguments(Run, "run")
        parser.add_class_arguments(Watch, "watch")
        parser.add_class_arguments(Evaluate, "evaluation")
        parser.add_argument(
            "--guard",
            type=list[str | dict[str, Any]] | dict[str, Any] | str | None,
            default=None,
            help="held-out sets on which is seen what is forgotten: a path, a map (docs/forgetting.md), or a list of these",
        )
        parser.add_argument(
            "--extend", type=int | None, default=None, help="epochs more for an ended run, with a schedule of their own (fit)"
        )
        parser.add_argument(
            "--seeds", type=list[int] | None, default=None, help="a run for each of these, and mean and spread of all (fit)"
        )
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)
        parser.link_arguments("model.preprocess", "data.preprocess", apply_on="instantiate")
        parser.link_arguments("model.needs", "data.needs", apply_on="instantiate")

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The trainer's method that is asked for, less the arguments that we give; the others' parsers would be built for nothing."""
        given = {"model", "dataloaders", "datamodule"}
        known = {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "weights_only"},
            "validate": given | {"verbose", "weights_only"},
            "test": given | {"verbose", "weights_only"},
            "predict": given | {"return_predictions", "weights_only"},
        }
        return {self.asked: known[self.asked]}

    def _parse_ckpt_path(self) -> None:
        """Leave the config as the user gave it: Lightning would read hyperparameters from the checkpoint over it."""

    def before_instantiate_classes(self) -> None:
        """Keep the resolved config, as it is before objects are made of it."""
        config = self.config[self.subcommand]
        if config.run.name is None:
            config.run.name = self.name
        self.resolved = refittable(self._parser(self.subcommand).dump(config, skip_none=False))

    def instantiate_classes(self) -> None:
        """Tell of data that is not there before weights are fetched."""
        check_named(self.config[self.subcommand])
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Make the run folder, and the trainer that writes into it."""
        self.run = self._get(self.config_init, "run")
        check_strategy(self._get(self.config_init, "trainer")["strategy"])
        check_choice(listed(self._get(self.config_init, "trainer")["callbacks"]))
        self.model.guards = Guards(guard_sets(self._get(self.config_init, "guard")))
        self._get(self.config_init, "watch").check(bool(self.model.guards))
        wanted = self._get(self.config_init, "ckpt_path")
        fitting, extend = self.subcommand == "fit", self._get(self.config_init, "extend")
        if extend is not None and (not fitting or wanted is None or extend < 1):
            raise ConfigError(
                f"--extend {extend} adds epochs to an ended run. Use: cliptune fit --config RUN/config.yaml --ckpt_path RUN --extend 5"
            )
        if wanted is not None:
            path = self.run.find_checkpoint(str(wanted), "last" if fitting else "best")
            self.config_init[self.subcommand]["ckpt_path"] = str(path)
            checkpoint = read(path)
            check_parts(checkpoint, self.model)  # before anything of the run that it continues is touched
            if fitting:
                check_goes_on(checkpoint, path)
            self.resumed = fitting
            self.model.schedule_start = int(checkpoint["cliptune"].get("schedule_start", 0))
        if self.resumed and path.parent.name == "checkpoints":
            self.run.folder = path.parents[1]  # a resumed run goes on in its own folder
        elif is_main():
            self.run.create()
            self.run.write_config(self.resolved)
        watch: Watch = self._get(self.config_init, "watch")
        self.evaluation: Evaluate = self._get(self.config_init, "evaluation")
        self.watch = watch
        self.clock, self.floor, self.unreadable = Clock(), Floor(watch), Unreadable(self.run)
        callbacks: list[Any] = [SameFolder(self.run), Measures(self.evaluation), self.unreadable]
        callbacks += [self.clock, progress(self.clock, self.floor)]
        if fitting:
            callbacks += [Stopping(self.run), Chosen(self.run), self.floor, *watch.callbacks(str(self.run.folder / "checkpoints"))]
        trainer_config = dict(self._get(self.config_init, "trainer", default={}))
        if extend is not None:
            trainer_config["max_epochs"] = extended_epochs(checkpoint, extend)
            self.model.schedule_start = int(checkpoint["global_step"])
            callbacks.append(Extension())
        if self.model.method.solves:
            trainer_config["check_val_every_n_epoch"] = 1  # it is done in one
        metrics = ResumableCSVLogger(self.run.folder)
        if self.resumed and is_main():
            metrics.keep_until(int(checkpoint["global_step"]))
        loggers = [metrics, TensorBoardLogger(self.run.folder, name="", version="tensorboard")]
        if trainer_config.get("precision") is None:
            trainer_config["precision"] = default_precision(str(trainer_config.get("accelerator", "auto")))
        allow_tf32()
        own = listed(trainer_config.pop("callbacks", None))
        plugins = [SafeCheckpointIO(), *listed(trainer_config.pop("plugins", None))]
        extra: dict[str, Any] = {"logger": loggers} if trainer_config.get("logger") in (None, True) else {}
        if not sys.stdout.isatty():
            extra["enable_progress_bar"] = False
        ours = {"callbacks": [*callbacks, *own], "plugins": plugins, "default_root_dir": str(self.run.folder)}
        return L.Trainer(**{**trainer_config, **extra, **ours, **kwargs})

    def fit(self, **kwargs: Any) -> None:
        """Score zero-shot, train, score the best checkpoint, and write down what was won."""
        with self.run.tidy(), together(self.trainer):
            scores, best = fit_honestly(self, kwargs.get("ckpt_path"))
            if is_main():
                conclude(self, scores, best)

    def validate(self, **kwargs: Any) -> None:
        """Score on the validation split."""
        self._evaluate("validate", kwargs.get("ckpt_path"))

    def test(self, **kwargs: Any) -> None:
        """Score on the test split."""
        self._evaluate("test", kwargs.get("ckpt_path"))

    def _evaluate(self, command: str, checkpoint: str | None) -> None:
        scores = Scores()
        state = scores.zero_shot if checkpoint is None else scores.adapted
        self.model.untouched, self.model.guards_on_test = checkpoint is None, True
        began = time.perf_counter()
        with self.phases.of(command), self.run.tidy(), together(self.trainer), restoring(checkpoint):
            found = getattr(self.trainer, command)(
                self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True, verbose=False
            )[0]
            take(self, command, state, found)
        scores.seconds = time.perf_counter() - began
        if is_main():
            conclude(self, scores, Path(checkpoint) if checkpoint else None)

    def predict(self, **kwargs: Any) -> None:
        """Write the predictions of the test split."""
        from cliptune.predictions import write_predictions

        checkpoint = kwargs.get("ckpt_path")
        self.model.untouched = checkpoint is None
        with self.run.tidy(), together(self.trainer), restoring(checkpoint):
            batches = self.trainer.predict(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True)
            write_predictions(self.run.folder, batches or [], self.model.classes.names)
