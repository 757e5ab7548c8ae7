"""One step of full fine-tuning in cliptune's real Lightning Trainer, against a bare loop over the same open_clip model.

Both sides start from the same weights and see the same batch, which lies in memory: uint8 pixels for cliptune, which normalises them
in the step, and normalised ones for the bare loop. The steps take turns: the loader that feeds the trainer takes the bare step
whenever the trainer asks for its next batch, so that all of Lightning's work for a step is counted, and none of its start-up.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from math import log
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import open_clip
import torch
from alone import peak_alone
from lightning.pytorch.loggers import TensorBoardLogger
from made_captions import captions
from measure import Line, Pairs, report, timed
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.callbacks import Clock
from cliptune.cli import TRAINER_DEFAULTS
from cliptune.data.batches import Batch
from cliptune.logs import ResumableCSVLogger
from cliptune.methods.full import LOGIT_SCALE_MAX, Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.optim import Schedule
from cliptune.preprocess import normalize

WARMUP = 2
# so low that the one batch is not learned by heart: its gradients would vanish, and denormal numbers are slow
LR, DECAY = 1e-8, 0.1
SAME_LOSS = 0.001  # after all steps


class Turns:
    """A loader of one batch, again and again, that takes a bare step between two steps of the trainer."""

    def __init__(self, batch: Batch, bare: Callable[[], object], pairs: int) -> None:
        self.batch, self.bare, self.count = batch, bare, WARMUP + pairs
        self.pairs = Pairs()

    def __len__(self) -> int:
        return self.count + 1  # after the last batch the trainer asks for none, so the last step has no end to be seen

    def __iter__(self) -> Iterator[Batch]:
        for i in range(self.count):
            start = perf_counter()
            yield self.batch
            taken = perf_counter() - start
            other = timed(self.bare)
            if i >= WARMUP:
                self.pairs.a.append(taken)
                self.pairs.b.append(other)
        yield self.batch


def make_batch(backbone: Backbone, texts: list[str]) -> Batch:
    """A batch as `TrainView` gives it, of random pixels."""
    images = torch.randint(256, (len(texts), 3, *backbone.preprocess.size), dtype=torch.uint8)
    rows = torch.arange(len(texts))
    tokens = backbone.preprocess.tokenize(texts)
    return Batch(images=images, row=rows, label=rows, tokens=tokens, text=rows, identity=rows[:, None].expand(-1, 3))


def bare_step(model: nn.Module, images: Tensor, tokens: Tensor) -> Callable[[], Tensor]:
    """A step as in open_clip's own training loop (`open_clip_train.train`), with its choice of what decays."""
    model.train()
    named = [(p.ndim >= 2 and "bn" not in name and "ln" not in name, p) for name, p in model.named_parameters()]
    groups = [{"params": [p for decays, p in named if decays is wanted], "weight_decay": DECAY * wanted} for wanted in (False, True)]
    optimizer = torch.optim.AdamW(groups, lr=LR)
    objective = open_clip.ClipLoss()
    scale: Any = model.logit_scale

    def step() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = objective(*model(images, tokens))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            scale.clamp_(0, log(LOGIT_SCALE_MAX))
        return loss.detach()

    return step


def bare_side(backbone: Backbone, model: nn.Module, batch: Batch, texts: list[str]) -> Callable[[], Tensor]:
    """The bare step on a batch: all 77 tokens, and pixels normalised before."""
    mean, std = (torch.tensor(backbone.preprocess.config[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return bare_step(model, normalize(batch["images"], mean, std), backbone.preprocess.tokenizer(texts))


def fit(backbone: Backbone, loader: Iterable[Batch]) -> float:
    """Train for one epoch of a loader, with the trainer's defaults, loggers and clock of the command line.

    Returns:
        The loss of the last step.
    """
    schedule = Schedule(warmup=0, decay="constant")
    module = AdaptModule(backbone, Full(), Contrastive(), lambda params: torch.optim.AdamW(params, lr=LR, weight_decay=DECAY), schedule)
    off: dict[str, Any] = {"enable_checkpointing": False, "enable_progress_bar": False}
    with tempfile.TemporaryDirectory() as folder:
        loggers = [ResumableCSVLogger(Path(folder)), TensorBoardLogger(folder, name="")]
        options: dict[str, Any] = {**TRAINER_DEFAULTS, **off, "max_epochs": 1, "accelerator": "cpu"}
        trainer = L.Trainer(**options, callbacks=[Clock()], logger=loggers)
        trainer.fit(module, train_dataloaders=loader)
    return float(trainer.callback_metrics["train/loss"])


def measure(case: str, given: argparse.Namespace, full: bool, at_most: float | None) -> Line:
    """Measure one case."""
    texts = captions(given.batch, full)
    backbone = Backbone(given.model, "random")
    batch = make_batch(backbone, texts)
    model = open_clip.create_model(given.model)
    model.load_state_dict(backbone.model.state_dict())
    bare = bare_side(backbone, model, batch, texts)
    turns = Turns(batch, bare, given.pairs)
    apart = abs(fit(backbone, turns) - float(bare()))
    if apart > SAME_LOSS:
        raise SystemExit(f"{case}: after as many steps the losses of the two sides are {apart:.4f} apart: they do not do the same work.")
    notes = {"tokens": float(batch["tokens"].shape[1]), "losses apart": apart}
    if given.memory:
        notes.update({f"{side}, peak MB": peak_alone(steps_alone, side, given, full) for side in ("cliptune", "bare loop")})
    return Line(case, turns.pairs, given.batch, at_most=at_most, notes=notes)


def steps_alone(side: str, given: argparse.Namespace, full: bool) -> None:
    """Three steps of one side, for its memory."""
    prepare(given.threads)
    texts = captions(given.batch, full)
    backbone = Backbone(given.model, "random")
    batch = make_batch(backbone, texts)
    if side == "cliptune":
        fit(backbone, [batch] * 3)
        return
    step = bare_side(backbone, backbone.model, batch, texts)
    for _ in range(3):
        step()


def prepare(threads: int) -> None:
    """Fix threads and seed, and keep the output to the table."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "root"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip architecture")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=10, help="steps of each side that count")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help="the peak memory of each side too, in processes of their own")
    given = parser.parse_args()
    prepare(given.threads)
    name = "full_step" if (given.model, given.batch) == ("ViT-B-32", 32) else f"full_step_{given.model}_{given.batch}"
    cases = (("texts that fill the context", True, 1.02), ("short captions", False, None))
    lines = [measure(f"{given.model}, batch {given.batch}, {case}", given, full, at_most) for case, full, at_most in cases]
    report(name, "cliptune", "bare loop", lines)


if __name__ == "__main__":
    main()
