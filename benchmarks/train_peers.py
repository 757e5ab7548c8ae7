"""Full fine-tuning through decoding: whole processes of `cliptune fit` and of open_clip's own trainer, on the same JPEGs and captions.

Both start from the same weights and take AdamW, a constant learning rate, crops of 90 to 100 %, as many workers, and save a checkpoint
each epoch. Images/s are those of the epochs that a long run has beyond a short one, so that start-up, scoring and the end cancel.
open_clip's side computes all tokens of the context, cliptune's those of the batch's longest caption: the result is the same.
"""

import argparse
import csv
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
import yaml
from measure import RESULTS, Line, Pairs, absent_of, report, skip_without
from PIL import Image

import cliptune
from cliptune.devices import default_precision

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "flickr8k" / "data.parquet"
NANO = Path(cliptune.__file__).parent / "nano"
HELD_OUT = 16  # images of validation and of test: cliptune scores after training, and wants some
LR, DECAY = 1e-5, 0.1
GRAIN = 2.0  # levels; without it an enlarged photo's JPEG is smaller, and sooner decoded, than a camera's
SAME_LOSS = 0.1  # apart, as a share: of three steps on the same images, whose crops the two draw differently
PEER = ("open_clip_train", "webdataset", "braceexpand", "pandas")
PRECISIONS = {"32-true": "fp32", "bf16-mixed": "amp_bf16"}  # cliptune's word: open_clip's


@dataclass(frozen=True)
class Job:
    """What both train.

    Args:
        folder: of the data, the weights and what the runs write.
        model: an open_clip architecture, or `nano`.
        batch: pairs of a step.
        workers: processes that decode.
        precision: in Lightning's words.
        threads: of the training process.
        table: `all` or `batch`, see `write_data`.
    """

    folder: Path
    model: str
    batch: int
    workers: int
    precision: str
    threads: int
    table: str = "all"


def write_data(folder: Path, images: int, batch: int, size: Sequence[int]) -> None:
    """JPEGs, and tables of all of them and of one batch: NAME.csv with a column of splits, NAME_train.csv of the rows for training.

    Args:
        folder: to be made.
        images: for training.
        batch: the rows of the small table.
        size: width and height of the JPEGs; as flickr8k's copy has them where it is empty.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i, row in enumerate(pq.read_table(SOURCE, columns=["image", "caption"]).slice(0, images + 2 * HELD_OUT).to_pylist()):
        path = folder / "images" / f"{i}.jpg"
        if size:
            photo = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
            pixels = np.asarray(photo, dtype=float) + rng.normal(scale=GRAIN, size=(size[1], size[0], 1))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        else:
            path.write_bytes(row["image"]["bytes"])
        split = "train" if i < images else "validation" if i < images + HELD_OUT else "test"
        rows.append((f"images/{i}.jpg", row["caption"], split))
    for name, count in (("all", images), ("batch", batch)):
        for file, kept in ((f"{name}.csv", rows[:count] + rows[images:]), (f"{name}_train.csv", rows[:count])):
            with (folder / file).open("w", encoding="utf-8", newline="") as handle:
                csv.writer(handle).writerows([("image", "caption", "split"), *kept])


def write_weights(folder: Path, model: str) -> None:
    """Random weights of an architecture, for both; nano has its own."""
    if model != "nano":
        torch.manual_seed(0)
        torch.save(open_clip.create_model(model).state_dict(), folder / f"{model}.pt")


def open_clip_words(job: Job, epochs: int, every: int, run: Path) -> list[str]:
    """The command of open_clip's trainer, which logs every so many steps."""
    weights = ["local-dir:" + str(NANO)] if job.model == "nano" else [job.model, "--pretrained", str(job.folder / f"{job.model}.pt")]
    data = ["--train-data", f"{job.table}_train.csv", "--csv-separator", ",", "--csv-img-key", "image", "--csv-caption-key", "caption"]
    adam = ["--lr", str(LR), "--wd", str(DECAY), "--beta1", "0.9", "--beta2", "0.999", "--eps", "1e-8", "--lr-scheduler", "const"]
    size = ["--batch-size", str(job.batch), "--epochs", str(epochs), "--workers", str(job.workers), "--warmup", "0"]
    words = [sys.executable, "-m", "open_clip_train.main", "--model", *weights, "--dataset-type", "csv", *data, *adam, *size]
    saved = ["--delete-previous-checkpoint", "--logs", str(run.parent), "--name", run.name]
    return [*words, "--precision", PRECISIONS[job.precision], "--log-every-n-steps", str(every), *saved]


def cliptune_words(
    job: Job, epochs: int, every: int, run: Path, baseline: bool = False, trainer: dict[str, Any] | None = None
) -> list[str]:
    """The command of cliptune; validation comes once, after the last epoch."""
    backbone = {"name": "nano"} if job.model == "nano" else {"name": job.model, "pretrained": str(job.folder / f"{job.model}.pt")}
    training = {"max_epochs": epochs, "precision": job.precision, "log_every_n_steps": every, "check_val_every_n_epoch": epochs}
    config = {
        "model": {
            "backbone": backbone,
            "method": "Full",
            "objective": "Contrastive",
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": LR, "weight_decay": DECAY}},
            "schedule": {"warmup": 0.0, "decay": "constant"},
        },
        "data": {"path": f"{job.table}.csv", "batch_size": job.batch, "workers": job.workers},
        "trainer": {**training, **(trainer or {})},
        "watch": {"floor": 0.0, "patience": None},
        "run": {"root": str(run.parent), "name": run.name, "baseline": baseline, "pictures": False, "report": False},
    }
    file = job.folder.parent / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return [sys.executable, "-m", "cliptune", "fit", "--config", str(file)]


def environment(job: Job) -> dict[str, str]:
    """As many threads for both, and a cache of this measurement's own."""
    return {**os.environ, "OMP_NUM_THREADS": str(job.threads), "CLIPTUNE_CACHE": str(job.folder.parent / "cache"), "HF_HUB_OFFLINE": "1"}


def ran(words: list[str], job: Job) -> tuple[float, str]:
    """The seconds of a process, and what it said."""
    began = perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, env=environment(job), cwd=job.folder)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return perf_counter() - began, done.stdout + done.stderr


def train(side: str, job: Job, epochs: int, every: int = 10) -> tuple[float, list[float]]:
    """Run a side.

    Returns:
        Its seconds, and the losses that it logged.
    """
    with tempfile.TemporaryDirectory(dir=job.folder.parent) as name:
        run = Path(name) / f"run{epochs}"
        words = (open_clip_words if side == "open_clip_train" else cliptune_words)(job, epochs, every, run)
        seconds, said = ran(words, job)
        if side == "open_clip_train":
            return seconds, [float(loss) for loss in re.findall(r"Contrastive_loss: ([\d.]+)", said)]
        with (run / "metrics.csv").open(encoding="utf-8", newline="") as handle:
            return seconds, [float(row["train/loss"]) for row in csv.DictReader(handle) if row.get("train/loss")]


def measure(job: Job, images: int, epochs: tuple[int, int], pairs: int) -> Line:
    """The extra epochs of long runs, in turns; before them three steps of each on the same batch, for their losses."""
    sides = ("open_clip_train", "cliptune")
    losses = [mean(train(side, replace(job, table="batch"), 3, every=1)[1]) for side in sides]
    apart = abs(losses[0] - losses[1]) / losses[0]
    if apart > SAME_LOSS:
        raise SystemExit(
            f"{job.model}: the losses of the same batch are {losses[0]:.4f} and {losses[1]:.4f}: they do not do the same work."
        )
    found = Pairs()
    for _ in range(pairs):
        short, long = ([train(side, job, count)[0] for side in sides] for count in epochs)
        found.a.append(long[0] - short[0])
        found.b.append(long[1] - short[1])
    items = images // job.batch * job.batch * (epochs[1] - epochs[0])
    notes = {"loss, open_clip_train": losses[0], "loss, cliptune": losses[1]}
    case = f"{job.model}, batch {job.batch}, {job.precision}, workers {job.workers}"
    return Line(case, found, items, at_least=1.15, notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["ViT-S-32", "nano"], help="open_clip architectures, or nano")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument(
        "--size", type=int, nargs="*", default=[500, 375], help="width and height of the JPEGs; nothing: as they lie, 96 pixels"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, nargs=2, default=[1, 3], help="of the short run and of the long one")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=max((os.cpu_count() or 2) - 1, 1))
    parser.add_argument("--precision", choices=PRECISIONS, default=default_precision("auto"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    skip_without(SOURCE)
    absent = absent_of("open_clip_train", PEER, "'webdataset>=0.2.5,<=0.2.86'")
    lines = []
    for model in given.models if not absent else []:
        with tempfile.TemporaryDirectory() as name:
            job = Job(Path(name) / "data", model, given.batch, given.workers, given.precision, given.threads)
            write_data(job.folder, given.images, given.batch, given.size)
            write_weights(job.folder, model)
            lines.append(measure(job, given.images, tuple(given.epochs), given.pairs))
            shutil.rmtree(job.folder)
    report("train_peers", "open_clip_train", "cliptune", lines, absent, given.output)


if __name__ == "__main__":
    main()
