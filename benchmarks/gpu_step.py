"""On a GPU: a step of full fine-tuning in bfloat16, eager and compiled, against open_clip's own model and loss in a bare loop.

Each line has the share of the GPU's measured rate of products (model FLOPs utilisation, but of what torch.mm gives in the same run, not of
the data sheet) and the largest batch that fits, found by doubling. `--device cpu` tries it out; images/s of whole runs with decoding
are train_peers.py's, chunked batches chunked_step.py's, both of which take a GPU where there is one.
"""

import argparse
import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter
from typing import Any

import open_clip
import torch
from full_step import LR, bare_step, make_batch, prepare
from made_captions import captions
from measure import RESULTS, Line, alternate, report
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cliptune.backbone import Backbone
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.preprocess import normalize

MODELS = ["ViT-B-32", "ViT-B-16", "ViT-L-14"]
MOST = 1 << 16  # images of a batch
GOAL = 0.87  # of the bare loop's time: 1.15 times as fast


def mixed(device: str) -> AbstractContextManager[Any]:
    """bfloat16 where it is right."""
    return torch.autocast(device, torch.bfloat16)


def waited(call: Callable[[], object], device: str) -> Callable[[], None]:
    """The call until the device has done it."""

    def run() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def ours(model: str, batch: int, compiled: bool, device: str) -> Callable[[], Tensor]:
    """A step of cliptune, with the fused AdamW."""
    torch.manual_seed(0)
    backbone = Backbone(model, None if model == "nano" else "random")
    module = AdaptModule(backbone, Full(), Contrastive(), compile=compiled)
    module.attach()
    module.train().to(device)
    seen: Any = {
        key: value.to(device) for key, value in make_batch(backbone, captions(batch, full=True)).items() if isinstance(value, Tensor)
    }
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=LR, fused=device == "cuda")

    def step() -> Tensor:
        optimizer.zero_grad()
        with mixed(device):
            loss, _ = module.objective.parts(module.step_rows(seen))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def bare(model: str, batch: int, device: str) -> Callable[[], Tensor]:
    """open_clip's model, loss and AdamW."""
    torch.manual_seed(0)
    backbone = Backbone(model, None if model == "nano" else "random")
    texts = captions(batch, full=True)
    images = normalize(make_batch(backbone, texts)["images"], backbone.mean, backbone.std).to(device)
    tokens = backbone.preprocess.tokenizer(texts).to(device)
    plain: Any = open_clip.create_model(f"local-dir:{_nano()}" if model == "nano" else model).to(device)
    step = bare_step(plain, images, tokens)

    def call() -> Tensor:
        with mixed(device):
            return step()

    return call


def _nano() -> Path:
    import cliptune

    return Path(cliptune.__file__).parent / "nano"


def greatest_rate(device: str) -> float:
    """FLOP/s of products of two large bfloat16 matrices."""
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = waited(lambda: a @ b, device)
    product()
    return 2 * size**3 / min(_seconds(product) for _ in range(10))


def flops(call: Callable[[], object]) -> int:
    """Of a step, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def largest(make: Callable[[int], Callable[[], object]], device: str) -> int:
    """The greatest power of two of images whose step fits; 0 where there is no limit to be found (a CPU)."""
    fits = 0
    size = 64
    while device == "cuda" and size <= MOST:
        try:
            waited(make(size), device)()
        except torch.OutOfMemoryError:
            break
        finally:
            gc.collect()
            torch.cuda.empty_cache()
        fits, size = size, 2 * size
    return fits


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, help="open_clip architectures, or nano")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu_step: there is no GPU. `--device cpu` tries the script out.")
    prepare(torch.get_num_threads())
    device, lines = given.device, []
    rate = greatest_rate(device)
    for model in given.models:
        theirs = bare(model, given.batch, device)
        work = flops(theirs)
        for compiled in (False, True):
            step = ours(model, given.batch, compiled, device)
            pairs = alternate(waited(step, device), waited(theirs, device), given.pairs, warmup=3)
            line = Line(f"{model}, batch {given.batch}, {'compiled' if compiled else 'eager'}", pairs, given.batch, at_most=GOAL)
            line.notes["share of the products' rate, bare loop"] = work / min(pairs.b) / rate
            line.notes["as much work / cliptune's time"] = work / min(pairs.a) / rate
            line.notes["largest batch"] = largest(lambda size, c=compiled, m=model: ours(m, size, c, device), device)  # type: ignore[misc]
            lines.append(line)
    report("gpu_step", "cliptune", "bare open_clip", lines, folder=given.output)


if __name__ == "__main__":
    main()
