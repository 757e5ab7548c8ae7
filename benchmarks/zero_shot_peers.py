"""Zero-shot evaluation as whole processes, imports included, on the same JPEG files and weights: images/s of cliptune and of its peers.

`cliptune test` against clip-benchmark (its own evaluation where it is installed, else the same in plain form), and `cliptune predict`,
which writes an answer for each file, against transformers' pipeline on what `cliptune export` made of the same weights. The top-1 answers
are compared. clip-benchmark multiplies in mixed precision where cliptune does by itself, the pipeline in float32 on a CPU. `cliptune test`
does more than its peer: ten metrics with bootstrap intervals, and a run folder. transformers' processor crops one pixel further to a side
than torchvision's where half a margin is rounded up, so that some of its answers differ.

Beside the images beyond the first stands the rate at which each side's image tower multiplies meanwhile, all else that it does included,
as a share of the rate of products in the same run (`greatest_rate`).
"""

import csv
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import open_clip
import torch
from adapter_sides import floating_rate, greatest_rate
from measure import Line, Pairs, absent_of, report, skip_without
from peer_jobs import NANO, SOURCE, TEMPLATE, Job, Side, options, write_data, write_weights
from safetensors.torch import load_file

from cliptune.backbone import Backbone
from cliptune.devices import default_precision

AGREE, AGREE_PIPELINE = (
    0.97,
    0.9,
)  # of nano's answers, at least: pixels differ by rounding, the pipeline's by a shift. Not of random weights
GOAL = 1.3
FEW = 100  # images of a run whose time is mostly its start; one of each class


def tested(job: Job) -> dict[str, Any]:
    """`cliptune test`: the answers, and top-1."""
    words = ["test", *job.cliptune, "--data.path", str(job.folder), "--data.templates", TEMPLATE, "--data.cache", "false"]
    shutil.rmtree(job.folder / "runs", ignore_errors=True)
    job.run("-m", "cliptune", *words, "--run.root", str(job.folder / "runs"), "--run.name", "run", "--run.pictures", "false")
    run = job.folder / "runs" / "run"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    kept = load_file(run / "evaluation" / "zero_shot.safetensors")
    numbers = [job.names.index(name) for name in summary["class_names"]]
    answers = [numbers[i] for i in kept["classes.top"][kept["classes.number"].argsort(), 0].tolist()]
    return {"answers": answers, "top1": summary["zero_shot"]["test/top1"]}


def predicted(job: Job) -> dict[str, Any]:
    """`cliptune predict`: the answers."""
    output = job.folder / "predictions.csv"
    words = ["predict", job.key, str(job.folder / "test"), "--classes", ", ".join(job.names), "--templates", TEMPLATE]
    job.run("-m", "cliptune", *words, "--output", str(output), "--overwrite")
    with output.open(encoding="utf-8", newline="") as handle:
        rows = sorted(csv.DictReader(handle), key=lambda row: row["name"])
    return {"answers": [job.names.index(row["predicted"]) for row in rows]}


def exported(job: Job) -> str:
    """The folder with the same weights for transformers; not timed."""
    job.run("-m", "cliptune", "export", job.key, "--format", "transformers", "--output", str(job.folder / "transformers"))
    return str(job.folder / "transformers")


def measure(case: str, sides: tuple[Side, Side], jobs: tuple[Job, Job], images: int, pairs: int, least: float = AGREE) -> list[Line]:
    """Both sides in turns, on many images and on few.

    Args:
        case: what is compared.
        sides: the peer's and cliptune's.
        jobs: with many images and with `FEW`.
        images: how many.
        pairs: turns.
        least: share of answers that must agree.

    Returns:
        Lines of whole processes, and of the images beyond the few, whose start-up cancels.
    """
    whole, beyond, agree, scores = Pairs(), Pairs(), [], {}
    for _ in range(pairs):
        (first, a), (second, b) = (timed(side, jobs[0]) for side in sides)
        short = [timed(side, jobs[1])[1] for side in sides]
        for pairs_of, taken in ((whole, (a, b)), (beyond, (a - short[0], b - short[1]))):
            pairs_of.a.append(taken[0])
            pairs_of.b.append(taken[1])
        if "answers" in first:
            agree.append(mean(x == y for x, y in zip(first["answers"], second["answers"], strict=True)))
        scores = {f"top-1, {who}": said["top1"] for who, said in (("peer", first), ("cliptune", second)) if "top1" in said}
    notes = {**scores, **({"answers that agree": mean(agree)} if agree else {})}
    if agree and jobs[0].model == "nano" and mean(agree) < least:
        raise SystemExit(f"{case}: {mean(agree):.3f} of the answers agree, less than {least}: the two sides do not do the same work.")
    named = f"{jobs[0].model}, {images:,} images: {case}"
    return [
        Line(f"{named}, whole processes", whole, images, at_least=GOAL, notes=notes),
        Line(f"{named}, images beyond the first {FEW}", beyond, images - FEW, at_least=GOAL, notes=shares(jobs[0], beyond, images - FEW)),
    ]


@torch.inference_mode()
def shares(job: Job, pairs: Pairs, images: int) -> dict[str, float]:
    """The towers' floating-point rate over so many images, as shares of that of products in the precision that cliptune takes."""
    ours = Backbone(job.model, "random") if job.model != "nano" else Backbone("nano")
    theirs = open_clip.create_model(f"local-dir:{NANO}" if job.model == "nano" else job.model)
    pixels = torch.zeros(1, 3, *theirs.visual.image_size)
    torch.set_num_threads(job.threads)
    greatest = greatest_rate(default_precision("auto") == "bf16-mixed")
    sides = (("peer", theirs.eval(), pairs.a), ("cliptune", ours.eval(), pairs.b))
    rates = {who: images * floating_rate(partial(model.encode_image, pixels), median(seconds)) for who, model, seconds in sides}
    return {f"{who}, share of the products' rate": rate / greatest for who, rate in rates.items()}


def timed(side: Side, job: Job) -> tuple[dict[str, Any], float]:
    """What a side says, and its seconds."""
    began = perf_counter()
    said = side(job)
    return said, perf_counter() - began


def main() -> None:
    parser = options(__doc__, {"nano": 2000, "ViT-B-32": 500}, f"of each model; more than {FEW}")
    given = parser.parse_args()
    skip_without(SOURCE)
    absent = absent_of("clip-benchmark", ["clip_benchmark"], "clip-benchmark")
    no_pipeline = absent_of("transformers' pipeline", ["transformers"], "transformers")
    benchmark = "plain form of clip-benchmark" if absent else "clip-benchmark"
    lines = []
    for model, images in zip(given.models, given.images, strict=True):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            few = {"train": FEW, "validation": FEW, "test": FEW}
            names = [write_data(root / part, {**few, "test": count}) for part, count in (("many", images), ("few", FEW))]
            many, less = (Job(root / part, names[0], model, root / "w.pt", given.threads, given.workers) for part in ("many", "few"))
            write_weights(many)
            tasks = [(f"{benchmark} / cliptune test", (lambda job: job.peer("zero_shot"), tested), AGREE)]
            if not no_pipeline:
                place = exported(many)
                pipeline: Side = lambda job, place=place: job.peer("pipeline", transformers=place)  # type: ignore[misc]  # noqa: E731
                tasks.append(("transformers' pipeline / cliptune predict", (pipeline, predicted), AGREE_PIPELINE))
            for case, sides, least in tasks:
                lines += measure(case, sides, (many, less), images, given.pairs, least)
    report("zero_shot_peers", "peer", "cliptune", lines, [*absent, *no_pipeline], given.output)


if __name__ == "__main__":
    main()
