"""A linear probe as whole processes, imports included, on the same JPEG files and weights: cliptune and its peers, cold and warm.

`cliptune fit` with L-BFGS, which also scores zero-shot and writes a run folder, against clip-benchmark's probe (its own on a GPU where it
is installed, else the same in plain form: AdamW, weight decay searched on validation) and against scikit-learn with CLIP's search. Warm is
a second run of each with its own features on disk; clip-benchmark keeps them too, and still loads the model. Its probe starts workers anew
for each epoch over features, which is most of its time: `--workers 0` shows it without. The probes are different algorithms, so that
their accuracies need not be the same; both are told.
"""

import json
import shutil
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from measure import Line, Pairs, absent_of, report, skip_without
from peer_jobs import SOURCE, TEMPLATE, Job, Side, options, write_data, write_weights

GOALS = {"cold": 1.5, "warm": 10.0}


def ours(job: Job) -> dict[str, Any]:
    """`cliptune fit`: the probe's top-1 on test, and zero-shot's."""
    words = ["fit", *job.cliptune, "--model.method", "LinearProbe", "--model.method.solver", "lbfgs", "--model.objective", "CrossEntropy"]
    words += ["--data.path", str(job.folder), "--data.templates", TEMPLATE, "--run.pictures", "false", "--watch.floor", "0"]
    shutil.rmtree(job.folder / "runs", ignore_errors=True)
    job.run("-m", "cliptune", *words, "--run.root", str(job.folder / "runs"), "--run.name", "run")
    summary = json.loads((job.folder / "runs" / "run" / "summary.json").read_text(encoding="utf-8"))
    return {"top1": summary["adapted"]["test/top1"], "zero_shot": summary["zero_shot"]["test/top1"]}


def theirs(what: str) -> Side:
    """A peer of clip_benchmark_plain.py, with its features beside the data."""
    return lambda job: job.peer(what, feature_root=str(job.folder / f"features_{what}"))


def forget(job: Job, what: str) -> None:
    """Take away what both sides keep."""
    for kept in ("rows", f"features_{what}"):
        shutil.rmtree(job.folder / kept, ignore_errors=True)


def measure(job: Job, what: str, peer: str, goals: dict[str, float], images: int, pairs: int) -> list[Line]:
    """Cold and warm, the sides in turns."""
    sides = {"peer": theirs(what), "cliptune": ours}
    found, scores = {"cold": Pairs(), "warm": Pairs()}, {}
    for _ in range(pairs):
        forget(job, what)
        for state in ("cold", "warm"):
            for (who, side), seconds in zip(sides.items(), (found[state].a, found[state].b), strict=True):
                began = perf_counter()
                said = side(job)
                seconds.append(perf_counter() - began)
                scores[f"top-1, {who}"] = said["top1"]
    return [
        Line(f"{job.model}, {images:,} images: {peer} / cliptune fit, {state}", pairs, images, at_least=goals.get(state), notes=scores)
        for state, pairs in found.items()
    ]


def main() -> None:
    parser = options(__doc__, {"nano": 2000}, "of training, of each model")
    parser.add_argument("--held-out", type=int, default=400, help="images of validation, and of test; 100 at least")
    given = parser.parse_args()
    skip_without(SOURCE)
    absent = absent_of("clip-benchmark", ["clip_benchmark"], "clip-benchmark")
    without = "" if torch.cuda.is_available() else "clip-benchmark's own probe asks for a GPU, and there is none: its plain form runs here"
    benchmark = "plain form of clip-benchmark" if absent or without else "clip-benchmark"
    lines = []
    for model, images in zip(given.models, given.images, strict=True):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            names = write_data(root / "data", {"train": images, "validation": given.held_out, "test": given.held_out})
            job = Job(root / "data", names, model, root / "w.pt", given.threads, given.workers)
            write_weights(job)
            total = images + 2 * given.held_out
            lines += measure(job, "linear_probe", benchmark, GOALS, total, given.pairs)
            lines += measure(job, "scikit", "scikit-learn on features", {}, total, given.pairs)
    report("probe_peers", "peer", "cliptune", lines, [*absent, *([without] if without else [])], given.output)


if __name__ == "__main__":
    main()
