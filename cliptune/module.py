"""`AdaptModule`: wires backbone, method, objective and data, trains, and saves only what learned; how it is scored: `scoring.py`."""

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from cliptune.advice import announce
from cliptune.backbone import Backbone
from cliptune.blocks import prepare
from cliptune.checkpoint import check_fits, check_parts, learned_only, read, recipe
from cliptune.data.batches import Batch
from cliptune.data.images import ImageTextData
from cliptune.distributed import mean_of, rank
from cliptune.errors import ConfigError, DataError, TrainingError
from cliptune.evaluation import Evaluation
from cliptune.frozen import see_once
from cliptune.methods.base import ClassRows, ClassTexts, Method
from cliptune.objectives.base import Objective, StepRows
from cliptune.optim import Schedule, build_optimizer, build_schedule
from cliptune.rows import Epoch, step_rows
from cliptune.scoring import Scoring
from cliptune.shard import load, shard
from cliptune.teacher import Teacher

log = logging.getLogger(__name__)


class AdaptModule(Scoring):
    """Adapts a CLIP: training, evaluation and what is saved, for every method and objective.

    Args:
        backbone: what is pretrained.
        method: what learns.
        objective: what is minimised.
        optimizer: made over the method's groups. Full fine-tuning of a real CLIP wants a learning rate near 1e-5 (Goyal et al. 2023,
            FLYP, take 1e-5 and weight decay 0.1), a thousandth of what pretraining takes.
        schedule: of the learning rate.
        chunk_size: images or texts whose activations are kept at a time; each tower then runs once more in the backward pass, and the
            gradient is that of the whole batch. All at once where not given.
        activation_checkpointing: keep only what enters each block, and compute blocks again in the backward pass.
        compile: compile the towers' blocks with `torch.compile`, at the first step.
    """

    strict_loading = False  # a checkpoint holds only what learned; on_load_checkpoint compares the keys

    def __init__(
        self,
        backbone: Backbone,
        method: Method,
        objective: Objective,
        optimizer: OptimizerCallable = lambda params: torch.optim.AdamW(params, lr=1e-5, weight_decay=0.1),
        schedule: Schedule = Schedule(),  # noqa: B008 - frozen
        chunk_size: int | None = None,
        activation_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError(f"model: chunk_size {chunk_size} is not positive. Take 64, or leave it out to run batches whole.")
        self.backbone = backbone
        self.method = method
        self.objective = objective
        self.optimizer = optimizer
        self.schedule = schedule
        self.chunk_size, self.activation_checkpointing, self.compiled = chunk_size, activation_checkpointing, compile
        self.method.chunk_size = chunk_size
        self.teacher: Teacher | None = None
        self.classes = ClassTexts([], [], backbone.preprocess)
        self.has_captions = self.several = False
        self.seed = torch.initial_seed() % 2**32
        self.base_fingerprint = backbone.fingerprint()
        self.automatic_optimization = not self.method.solves
        self.frozen: dict[str, int] = {}  # see Method.frozen
        self.schedule_start = 0  # the step at which an ended run was extended
        self._attached = False
        self._proof: str | None = None
        self.sharded = False
        self._epoch = Epoch()
        self._constant_class_rows: Tensor | None = None

    @property
    def preprocess(self) -> Any:
        """The backbone's, for the data."""
        return self.backbone.preprocess

    @property
    def needs(self) -> list[str]:
        """What the objective compares images with, for the data: `pairs`, `classes`, or both."""
        return sorted(self.objective.needs)

    def setup(self, stage: str) -> None:
        """Take the classes from the data, and attach the method; once."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageTextData) and self.trainer.world_size > 1 and self.trainer._accelerator_connector.use_distributed_sampler:
            raise ConfigError(
                "the data knows each device's share, and Lightning would share it once more. Set use_distributed_sampler=False."
            )
        classes = None
        if data is not None:
            classes = ClassTexts(data.class_names, data.class_texts, self.preprocess, getattr(data, "templates", ()))
            self.has_captions, self.several = data.has_captions, getattr(data, "several", False)
        if "classes" in self.objective.needs and not classes:
            raise DataError(
                f"{type(self.objective).__name__} needs class labels, and the data has none. Set label_column, or use Contrastive."
            )
        self.attach(classes, getattr(data, "class_counts", None))
        if isinstance(data, ImageTextData):
            if self.device_mesh is not None:
                data.cache = False  # a sharded tower runs on all devices at once, and not for one that lacks some rows
            see_once(self, data, stage)
            if stage in ("fit", "validate") or (stage == "test" and self.guards_on_test):
                self.guards.open(self, data)
        if self._proof is None and (stage == "fit" or self.device_mesh is not None):  # sharded weights cannot be moved one by one
            self._proof = self.method.audit(self.backbone)
        if stage == "fit" and self._proof:
            log.info(self._proof)

    def attach(self, classes: ClassTexts | None = None, counts: list[int] | None = None) -> None:
        """Attach the method and the objective, once, and prepare the metrics; without a trainer too.

        Args:
            classes: of the data; those of before where not given.
            counts: training images of each class.
        """
        self.classes = self.classes if classes is None else classes
        if not self.objective.needs:
            name = type(self.objective).__name__
            raise ConfigError(
                f"{name} keeps what is known, and learns nothing from data. Put it into a Sum beside Contrastive or CrossEntropy."
            )
        if not self._attached:
            self.method.check(self.objective)
            self.method.attach(self.backbone, self.classes)
            self.objective.attach(self.backbone, counts)
            if self.objective.needs_teacher or self.objective.needs_drift:
                self.teacher = Teacher(self.backbone, self.method)
            self.frozen = self.method.frozen(self.backbone)
            prepare(self.backbone, self.activation_checkpointing, self.compiled)
            self._attached = True
        if self.several and self.method.solves:
            raise ConfigError("solver lbfgs solves for one class an image, and the data has images of several. Take solver: sgd.")
        self.evaluation = Evaluation(len(self.classes), self.has_captions, self.several, self.keep_rows)

    def configure_model(self) -> None:
        """Shard, once, where the strategy is `ModelParallelStrategy`."""
        if self.device_mesh is not None and not self.sharded:
            shard(self, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        """Say what the batch is."""
        announce(self)

    def configure_optimizers(self) -> Any:
        """The optimizer over the method's groups and its schedule."""
        groups = [*self.method.groups(self.backbone), *self.objective.groups(self.backbone)]
        if not groups:
            raise ConfigError(f"{type(self.method).__name__} leaves nothing to learn. Let a tower, block or the logit scale learn.")
        optimizer = build_optimizer(self.optimizer, groups)
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("the schedule needs an end, and training has none. Set trainer.max_epochs or trainer.max_steps.")
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": build_schedule(optimizer, self.schedule, int(steps), self.schedule_start), "interval": "step"},
        }

    def train(self, mode: bool = True) -> "AdaptModule":
        """As `nn.Module.train`, but what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode and self._attached:
            self.method.train_mode(self.backbone)
        return self

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make the towers' randomness (dropout, patch dropout) a function of seed, step and rank, so that a resumed run draws the same."""
        _seed(self.device, ((self.seed * 1_000_003 + self.global_step) * 4_099 + rank()) % 2**63)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Any:
        """As Lightning's, which on a CPU would look at each tensor for nothing."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """One step on a batch of `TrainView`."""
        if self.method.solves:
            self._epoch.solve(self, batch)
            return None
        loss, parts = self.objective.parts(self.step_rows(batch))
        found = {"loss": loss, **parts}
        told = mean_of({name: value.detach() for name, value in found.items()})
        if not torch.isfinite(told["loss"]):
            raise TrainingError(
                f"the loss is {told['loss'].item()} at step {self.global_step}. Lower the learning rate, or train in 32-bit precision; "
                "the last good checkpoint is kept."
            )
        for name, value in told.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=len(batch["row"]))
        return loss

    def step_rows(self, batch: Batch) -> StepRows:
        """What the objective sees of a batch of `TrainView`."""
        return step_rows(self, batch)

    def train_class_rows(self) -> ClassRows:
        """The class rows; kept for all later steps where nothing that learns has gone into them."""
        if self._constant_class_rows is not None:
            return ClassRows(self._constant_class_rows, self.backbone.logit_bias)
        found = self.method.class_rows(self.backbone, self.classes)
        if not found.rows.requires_grad:
            self._constant_class_rows = found.rows
        return found

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, and keep parameters within the method's bounds, before anything is saved."""
        super().optimizer_step(*args, **kwargs)
        self.method.after_step(self.backbone)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what learned, and the recipe to rebuild it."""
        checkpoint["state_dict"] = learned_only(checkpoint["state_dict"], self)
        checkpoint["cliptune"] = recipe(self)

    def load_learned(self, path: str | Path) -> None:
        """Put what a checkpoint learned into this module.

        Raises:
            CheckpointError: it is of another backbone, method or objective.
        """
        checkpoint = read(path)
        check_fits(checkpoint, self)
        if self.sharded:
            load(self, checkpoint["state_dict"])
        else:
            self.load_state_dict(checkpoint["state_dict"], strict=False)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another backbone, method or objective."""
        if self.sharded:  # the strategy has taken the tensors out, and put them in place
            check_parts({**checkpoint, "state_dict": {}}, self)
        else:
            check_fits(checkpoint, self)


def _seed(device: torch.device, number: int) -> None:
    """As `torch.manual_seed`, which would note a traceback for each kind of device that is not in use, every time."""
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)
