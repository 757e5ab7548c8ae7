"""How long it takes to start: the help screen, and from the command to the end of the first training step, against open_clip_train.

Both train the same tiny model on the same JPEGs and captions, by the commands of train_peers.py, on one batch. open_clip_train logs its
first step as it ends; a callback prints it in cliptune. A second line has cliptune score validation first, as it does by default.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch
from measure import RESULTS, Line, Pairs, absent_of, alternate, report, skip_without
from train_peers import PEER, SOURCE, Job, cliptune_words, environment, open_clip_words, write_data, write_weights

SAID = "first step"
CALLBACK = f"""from lightning.pytorch.callbacks import Callback


class FirstStep(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        print("{SAID}", flush=True)
"""
PEER_SAID = "Train Epoch: 0 ["


def helped(words: list[str], job: Job) -> None:
    """Run a help screen to its end."""
    subprocess.run(words, check=True, capture_output=True, env=environment(job), cwd=job.folder)


def first_step(words: list[str], said: str, job: Job) -> float:
    """The seconds until a process says that it has taken its first step; it is stopped then."""
    known = {**environment(job), "PYTHONPATH": str(job.folder.parent), "PYTHONUNBUFFERED": "1"}
    began = perf_counter()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=known, cwd=job.folder, start_new_session=True
    )
    assert process.stdout is not None
    told, seconds = [], None
    for line in process.stdout:
        told.append(line)
        if said in line:
            seconds = perf_counter() - began
            break
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the workers that decode too
    process.stdout.close()
    process.wait()
    if seconds is None:
        raise SystemExit("".join(told))
    return seconds


def started(side: str, job: Job, baseline: bool) -> float:
    """The seconds to a side's first step, in a folder of its own."""
    with tempfile.TemporaryDirectory(dir=job.folder.parent) as name:
        run = Path(name) / "run"
        if side == "open_clip_train":
            return first_step(open_clip_words(job, 1, 1, run), PEER_SAID, job)
        return first_step(cliptune_words(job, 1, 1, run, baseline, {"callbacks": [{"class_path": "first_step.FirstStep"}]}), SAID, job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["nano", "ViT-B-32"], help="open_clip architectures, or nano")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    skip_without(SOURCE)
    absent = absent_of("open_clip_train", PEER, "'webdataset>=0.2.5,<=0.2.86'")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as name:
        job = Job(Path(name) / "data", "nano", given.batch, 1, "32-true", given.threads, table="batch")
        write_data(job.folder, given.batch, given.batch, [])
        (job.folder.parent / "first_step.py").write_text(CALLBACK, encoding="utf-8")
        if not absent:
            ours, theirs = ([sys.executable, "-m", module, "--help"] for module in ("cliptune", "open_clip_train.main"))
            turns = alternate(lambda: helped(ours, job), lambda: helped(theirs, job), given.pairs, warmup=1)
            lines.append(Line("--help", turns, 1, at_most=0.05))
        for model in given.models if not absent else []:
            write_weights(job.folder, model)
            own = replace(job, model=model)
            for baseline in (False, True):
                found = Pairs()
                for i in range(given.pairs + 1):
                    seconds = [started(side, own, baseline) for side in ("cliptune", "open_clip_train")]
                    if i:  # the first pair warms the system's file cache
                        found.a.append(seconds[0])
                        found.b.append(seconds[1])
                scored = ", cliptune scores validation first" if baseline else ""
                lines.append(Line(f"first step, {model}, batch {given.batch}{scored}", found, 1, at_most=1.0))
    report("start", "cliptune", "open_clip_train", lines, absent, given.output, unit="starts/s")


if __name__ == "__main__":
    main()
