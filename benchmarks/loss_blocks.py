"""The losses alone, forward and backward, on a great batch: cliptune's in blocks against open_clip's over the whole matrix.

Both see the same unit rows, all pairs distinct. Memory is what a call needs beyond the rows, each in a process of its own.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from alone import extra_alone
from measure import Line, alternate, report
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from cliptune.objectives.base import Objective, StepRows
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.sigmoid import Sigmoid

SAME = 1e-4  # relative, of losses summed over 268 million logits in float32


def rows(batch: int, width: int, threads: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and their texts, which are near them, the scale and the bias."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    images = F.normalize(torch.randn(batch, width), dim=-1)
    texts = F.normalize(images + 2 * torch.randn(batch, width) / width**0.5, dim=-1)
    found = images, texts, torch.tensor([20.0]), torch.tensor([-10.0])
    return tuple(part.requires_grad_() for part in found)  # type: ignore[return-value]


def ours(kind: str, batch: int, width: int, threads: int) -> Callable[[], float]:
    """A call of cliptune's loss."""
    images, texts, scale, bias = rows(batch, width, threads)
    objective: Objective = Contrastive() if kind == "softmax" else Sigmoid()
    identity = torch.arange(batch)[:, None].expand(-1, 3)

    def call() -> float:
        loss = objective(StepRows(images, scale, bias, texts, identity))
        loss.backward()
        return loss.item()

    return call


def dense(kind: str, batch: int, width: int, threads: int) -> Callable[[], float]:
    """A call of open_clip's loss."""
    images, texts, scale, bias = rows(batch, width, threads)
    objective = ClipLoss() if kind == "softmax" else SigLipLoss()

    def call() -> float:
        loss: Tensor = objective(images, texts, scale, *([] if kind == "softmax" else [bias]))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16_384)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    size = (given.batch, given.width, given.threads)
    lines = []
    for kind in ("softmax", "sigmoid"):
        a, b = ours(kind, *size), dense(kind, *size)
        apart = abs(a() - b()) / abs(b())
        if apart > SAME:
            raise SystemExit(f"{kind}: the two losses are {apart:.2g} apart: they do not do the same work.")
        pairs = alternate(a, b, given.pairs, warmup=0)
        memory = {"blocks, MB": extra_alone(ours, kind, *size), "whole, MB": extra_alone(dense, kind, *size)}
        notes = {**memory, "memory ratio": memory["blocks, MB"] / memory["whole, MB"], "memory goal": 0.25}
        lines.append(Line(f"{kind}, {given.batch:,} x {given.width}", pairs, given.batch, at_most=1.2, notes=notes))
    report("loss_blocks", "cliptune in blocks", "open_clip whole", lines)


if __name__ == "__main__":
    main()
