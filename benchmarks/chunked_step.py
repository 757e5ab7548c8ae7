"""A step of full fine-tuning on a batch in chunks against the same batch whole: memory beyond the resident model, and time.

Both sides are cliptune's module and the contrastive loss, on the same random pixels and short captions; chunks run each tower once more.
"""

import argparse
from collections.abc import Callable

import torch
from full_step import captions, make_batch, prepare
from measure import Line, alternate, extra_alone, report

from cliptune.backbone import Backbone
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive

SAME = 1e-4


def step(model: str, batch: int, chunk: int | None, threads: int) -> Callable[[], float]:
    """Loss and gradient, the same in every call."""
    prepare(threads)
    backbone = Backbone(model, "random")
    module = AdaptModule(backbone, Full(), Contrastive(), chunk_size=chunk)
    module.attach()
    module.train()
    texts = captions(batch, full=False)
    seen = make_batch(backbone, texts)
    for p in module.parameters():  # the gradients are there in either case
        if p.requires_grad:
            p.grad = torch.zeros_like(p)

    def call() -> float:
        loss, _ = module.objective.parts(module.step_rows(seen))
        loss.backward()  # type: ignore[no-untyped-call]
        for p in module.parameters():
            if p.grad is not None:
                p.grad.zero_()
        return loss.item()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-S-32")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    sides = {"chunks, MB": given.chunk, "whole, MB": None}
    memory = {name: extra_alone(step, given.model, given.batch, chunk, given.threads) for name, chunk in sides.items()}
    a, b = (step(given.model, given.batch, chunk, given.threads) for chunk in (given.chunk, None))
    apart = abs(a() - b())
    if apart > SAME:
        raise SystemExit(f"the two losses are {apart:.2g} apart: they do not do the same work.")
    pairs = alternate(a, b, given.pairs, warmup=0)
    notes = {**memory, "memory ratio": memory["chunks, MB"] / memory["whole, MB"], "memory goal": 0.2}
    case = f"{given.model}, batch {given.batch} in chunks of {given.chunk}"
    report("chunked_step", "chunks", "whole", [Line(case, pairs, given.batch, at_most=1.4, notes=notes)])


if __name__ == "__main__":
    main()
