"""Loss and gradient of a large contrastive batch in cliptune's chunks, against the same batch whole, and against open_clip_train's.

open_clip_train's `--accum-freq` is its own `train_one_epoch`, on batches that lie in memory normalised, as its loader gives them; cliptune
has bytes. Every step runs in a process of its own, which gives its time and its memory. The peer's gradient is right but for the scale's,
which it adds up as often as there are chunks: that is written down, and no goal. It computes all tokens of the context, which is the same
work where texts fill it.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from alone import Alone, alone
from full_step import make_batch, prepare
from made_captions import captions
from measure import RESULTS, Line, Pairs, absent_of, report
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.preprocess import normalize

SAME = {"32-true": 1e-3, "bf16-mixed": 0.03}  # how far losses and gradients' norms may be apart, as a share
PEER = ("open_clip_train", "webdataset", "braceexpand", "pandas")
SCALE = "logit_scale"
MODELS = {"whole": "ViT-S-32", "open_clip_train": "nano"}  # that a laptop ends
Said = tuple[float, float, float]  # loss, norm of the gradient of all but the scale, gradient of the scale


class Still(torch.optim.SGD):
    """Takes no step, and keeps the memory of gradients: both sides end at the gradient."""

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """Leave the weights as they are."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Leave the memory where it is."""
        super().zero_grad(set_to_none=False)


class Chunks:
    """open_clip_train's loader, of one batch in memory."""

    def __init__(self, images: Tensor, tokens: Tensor, chunk: int) -> None:
        self.parts = list(zip(images.split(chunk), tokens.split(chunk), strict=True))
        self.num_batches, self.num_samples = len(self.parts), len(images)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.parts)


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision() -> str:
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def made(model: str, batch: int, full: bool, threads: int) -> tuple[Backbone, list[str]]:
    """The same weights and texts in every process."""
    prepare(threads)
    return Backbone(model, "random"), captions(batch, full)


def said(model: nn.Module, loss: float) -> Said:
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    scale = float(grads.pop(SCALE))
    return loss, float(torch.stack([grad.norm() for grad in grads.values()]).norm()), scale


def kept_gradients(model: nn.Module) -> None:
    """Have the memory of gradients from the start, so that it counts in no step."""
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p)


def step(model: str, batch: int, chunk: int | None, full: bool, threads: int) -> Callable[[], Said]:
    """Loss and gradient in cliptune, the same in every call."""
    backbone, texts = made(model, batch, full, threads)
    module = AdaptModule(backbone, Full(), Contrastive(), chunk_size=chunk)
    module.attach()
    module.train().to(device())
    seen: Any = {key: value.to(device()) for key, value in make_batch(backbone, texts).items() if isinstance(value, Tensor)}
    kept_gradients(module)

    def call() -> Said:
        module.zero_grad(set_to_none=False)
        mixed: AbstractContextManager[Any] = torch.autocast(device(), torch.bfloat16) if precision() == "bf16-mixed" else nullcontext()
        with mixed:
            loss, _ = module.objective.parts(module.step_rows(seen))
        loss.backward()  # type: ignore[no-untyped-call]
        return said(backbone.model, loss.item())

    return call


def peer_step(model: str, batch: int, chunk: int, full: bool, threads: int) -> Callable[[], Said]:
    """The same in open_clip_train."""
    from open_clip_train.train import train_one_epoch  # type: ignore[import-untyped]

    backbone, texts = made(model, batch, full, threads)
    images = normalize(make_batch(backbone, texts)["images"], backbone.mean, backbone.std)
    loader = Chunks(images.to(device()), backbone.preprocess.tokenizer(texts).to(device()), chunk)
    backbone.restore_shapes()
    theirs = backbone.model.to(device())
    theirs.output_dict = True
    kept_gradients(theirs)
    optimizer = Still(theirs.parameters(), lr=0.0)
    objective, losses = open_clip.ClipLoss(), []

    def loss(**features: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = objective(**features)
        losses.append(found["contrastive_loss"].detach())
        return found

    off = {"distill": False, "skip_scheduler": True, "grad_clip_norm": None, "horovod": False, "wandb": False, "world_size": 1, "rank": 0}
    words = {"fp32": precision() == "32-true", "amp_bf16": precision() == "bf16-mixed"}
    own = {"device": device(), "precision": next(word for word, right in words.items() if right), "accum_freq": loader.num_batches}
    arguments = SimpleNamespace(**off, **own, batch_size=chunk, log_every_n_steps=1)
    data = {"train": SimpleNamespace(set_epoch=lambda epoch: None, dataloader=loader)}

    def call() -> Said:
        train_one_epoch(theirs, data, loss, 0, optimizer, None, None, None, arguments)
        return said(theirs, losses[-1].item())

    return call


def turns(name: str, sides: tuple[Any, Any], pairs: int) -> tuple[Pairs, list[list[Alone]]]:
    """Run both sides in turns; refuse sides that do not find the same loss and gradient."""
    runs: list[list[Alone]] = [[], []]
    for _ in range(pairs):
        for found, (make, *arguments) in zip(runs, sides, strict=True):
            found.append(alone(make, *arguments))
    for what, a, b in zip(("losses", "norms of the gradients"), runs[0][0].said, runs[1][0].said, strict=False):
        if abs(a - b) > SAME[precision()] * abs(b):
            raise SystemExit(f"{name}: the {what} are {a:.6g} and {b:.6g}: they do not do the same work.")
    return Pairs(*([run.seconds for run in found] for found in runs)), runs


def against_whole(model: str, given: argparse.Namespace) -> Line:
    """Chunks against none, on short captions."""
    sides = tuple((step, model, given.batch, chunk, False, given.threads) for chunk in (given.chunk, None))
    case = f"{model}, batch {given.batch} in chunks of {given.chunk}"
    pairs, runs = turns(case, (sides[0], sides[1]), given.pairs)
    chunks, whole = (median(run.extra for run in found) for found in runs)
    notes = {"chunks, MB": chunks, "whole, MB": whole, "memory ratio": chunks / whole, "memory goal": 0.2}
    return Line(case, pairs, given.batch, at_most=1.4, notes=notes)


def against_peer(model: str, full: bool, given: argparse.Namespace) -> Line:
    """Chunks of cliptune against those of open_clip_train."""
    common = (model, given.batch, given.chunk, full, given.threads)
    case = f"{model}, batch {given.batch} in chunks of {given.chunk}, {'texts that fill the context' if full else 'short captions'}"
    pairs, runs = turns(case, ((step, *common), (peer_step, *common)), given.pairs)
    ours, theirs = runs
    peaks = [median(run.peak for run in found) for found in runs]
    notes = {"cliptune, peak MB": peaks[0], "open_clip_train, peak MB": peaks[1], "memory ratio": peaks[0] / peaks[1], "memory goal": 1.0}
    extra = {
        f"{side}, MB beyond model and batch": median(run.extra for run in found)
        for side, found in zip(("cliptune", "open_clip_train"), runs, strict=True)
    }
    scale = theirs[0].said[2] / ours[0].said[2]
    return Line(case, pairs, given.batch, at_most=1.0, notes={**notes, **extra, "its gradient of the scale / ours": scale})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", nargs="+", choices=tuple(MODELS), default=tuple(MODELS))
    parser.add_argument("--model", help=f"an open_clip architecture; by default {MODELS}")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    models = {name: given.model or MODELS[name] for name in given.against}
    if "whole" in models:
        report("chunked_step", "chunks", "whole", [against_whole(models["whole"], given)], folder=given.output)
    if "open_clip_train" in models:
        absent = absent_of("open_clip_train", PEER, "'webdataset>=0.2.5,<=0.2.86'")
        lines = [against_peer(models["open_clip_train"], full, given) for full in (True, False)] if not absent else []
        report("chunked_peers", "cliptune", "open_clip_train", lines, absent, given.output)


if __name__ == "__main__":
    main()
