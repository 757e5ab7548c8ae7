"""`cliptune` in two processes on the CPU: the metrics of one, no row counted twice, and an end to all when one fails."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import pixels
from PIL import Image

import cliptune

COUNTS = {"train": 24, "validation": 11, "test": 13}  # odd numbers: the last batches are filled up
TRAINER = ["--trainer.precision", "32-true"]  # in bfloat16, which some CPUs have, two processes round differently from one
TRAINER += ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1", "--run.pictures", "false"]
LIMIT = 600  # seconds; two processes beside other tests on two cores are slow, and one that hangs hangs for ever


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with captions and labels, two captions for some."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for split, count in COUNTS.items():
        for i in range(count):
            name = f"{split}{i}.png"
            Image.fromarray(pixels(48, 48, seed=100 * len(split) + i)).save(folder / name)
            texts = [f"a {('red', 'blue', 'green')[i % 3]} thing number {i}"] + [f"thing {i} again"] * (i % 4 == 0)
            rows.append({"image": name, "caption": texts, "label": ("red", "blue", "green")[i % 3], "split": split})
    pd.DataFrame(rows).to_json(folder / "table.jsonl", orient="records", lines=True)
    return folder / "table.jsonl"


def command(words: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        words,
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    process = command([sys.executable, "-m", "cliptune", *words], folder, environment)
    out, err = process.communicate(timeout=LIMIT)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def fit(table: Path, folder: Path, name: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    data = ["--data.path", str(table), "--data.workers", "0", "--model.optimizer", "AdamW", "--model.optimizer.lr", "1e-4"]
    return run(["fit", *data, *TRAINER, "--run.name", name, *more], folder, **environment)


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def assert_same_metrics(one: Path, two: Path) -> None:
    ours, theirs = metrics(one), metrics(two)
    assert len(ours) == len(theirs)
    named = {key for row in theirs for key, value in row.items() if value and key not in ("epoch", "step")}
    assert {"test/top1", "test/recall@1_image_to_text", "test/recall@5_text_to_image", "train/loss"} <= named
    for mine, other in zip(ours, theirs, strict=True):
        for key, value in other.items():
            assert (mine[key] == "") == (value == ""), key
            if value:
                tolerance = 1e-3 if key.startswith("train") else 1e-6
                assert float(mine[key]) == pytest.approx(float(value), abs=tolerance), (mine["step"], key)


TWO = ["--config", "scale/ddp", "--trainer.devices", "2"]


def guard(table: Path) -> str:
    """An odd number of images, with more texts on one process than on the other."""
    return f"{{path: {table}, split: validation, name: held}}"


@pytest.fixture(scope="module")
def runs(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit in one process, and with half the batch, in chunks, in two."""
    folder = tmp_path_factory.mktemp("runs")
    more = ["--data.swaps", "1", "--trainer.gradient_clip_val", "1", "--guard", guard(table), "--watch.keep", "0.5"]
    one = fit(table, folder, "one", "--data.batch_size", "8", *more)
    assert one.returncode == 0, one.stderr
    assert "global batch 8 = 1 device, 7 negatives each" in one.stdout
    two = fit(table, folder, "two", "--data.batch_size", "4", "--model.chunk_size", "3", *more, *TWO)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("global batch 8 = 2 devices x 4, 7 negatives each") == 1
    assert two.stdout.count("scoring zero-shot on validation ...") == 1
    return folder / "runs"


def test_two_processes_have_the_metrics_of_one_with_the_doubled_batch(runs: Path) -> None:
    assert sorted(path.name for path in runs.iterdir()) == ["one", "two"]  # one folder for both
    assert_same_metrics(runs / "two", runs / "one")
    one, two = (json.loads((runs / name / "summary.json").read_text(encoding="utf-8")) for name in ("one", "two"))
    assert (two["devices"], two["batch_size"]) == (2, {"each": 4, "global": 8})
    assert two["adapted"] == pytest.approx(one["adapted"], abs=1e-6)
    assert two["counts"] == one["counts"]
    for state in ("zero_shot", "adapted"):
        assert two["guard"]["held"][state] == pytest.approx(one["guard"]["held"][state], abs=1e-6)
    assert (two["guard"]["held"]["images"], two["guard"]["held"]["texts"]) == (COUNTS["validation"], COUNTS["validation"] + 3)
    assert two["guard"]["held"]["adapted"]["top1"] == pytest.approx(two["adapted"]["val/top1"], abs=1e-6)  # the same images
    assert "of those that keep 50% of each guard" in one["curve"]["rule"]
    assert two["curve"]["guards"]["held"] == pytest.approx(one["curve"]["guards"]["held"], abs=1e-6)


def test_two_processes_go_on_with_a_run_that_one_began_and_one_with_theirs(table: Path, runs: Path) -> None:
    more = ["--trainer.max_epochs", "3", "--data.swaps", "1", "--trainer.gradient_clip_val", "1", "--guard", guard(table)]
    for name, devices in (("one", [*TWO, "--data.batch_size", "4"]), ("two", ["--data.batch_size", "8"])):
        found = fit(table, runs.parent, name, *devices, *more, "--ckpt_path", str(runs / name))
        assert found.returncode == 0, found.stderr
    assert_same_metrics(runs / "two", runs / "one")


def test_predictions_of_two_processes_are_each_row_once(table: Path, runs: Path) -> None:
    for name, devices in (("p1", []), ("p2", TWO)):
        words = ["predict", "--data.path", str(table), "--data.workers", "0", "--data.batch_size", "4", "--trainer.accelerator", "cpu"]
        words += [*devices, *TRAINER, "--run.name", name, "--model.method", "Full", "--ckpt_path", str(runs / "one")]
        found = run(words, runs.parent)
        assert found.returncode == 0, found.stderr
    one, two = (pd.read_csv(runs / name / "predictions.csv") for name in ("p1", "p2"))
    assert two["row"].tolist() == list(range(COUNTS["test"]))
    pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(
    ("split", "place"), [("validation", 0), ("validation", COUNTS["validation"] - 1), ("train", 5)], ids=["first", "other", "in training"]
)
def test_when_one_process_fails_all_end_and_say_why_once(table: Path, tmp_path: Path, split: str, place: int) -> None:
    rows = pd.read_json(table, lines=True)
    rows["image"] = [str(table.parent / name) for name in rows["image"]]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    row = rows.index[rows["split"] == split][place]
    rows.loc[row, "image"] = str(broken)
    rows.to_json(tmp_path / "table.jsonl", orient="records", lines=True)
    found = fit(tmp_path / "table.jsonl", tmp_path, "broken", "--data.batch_size", "4", "--data.allow_outside", "true", *TWO)
    assert found.returncode not in (0, None)
    assert found.stderr.count("broken.png") == 1, found.stderr
    assert "Traceback" not in found.stderr, found.stderr
    listed = pd.read_csv(tmp_path / "runs" / "broken" / "bad_samples.csv")
    assert (listed["split"].tolist(), listed["path"].tolist()) == ([split], [str(broken)])


def test_a_probe_is_solved_on_the_rows_of_both_processes_and_both_see_their_share_once(table: Path, tmp_path: Path) -> None:
    probe = [
        "--model.objective",
        "CrossEntropy",
        "--model.method",
        "LinearProbe",
        "--model.method.solver",
        "lbfgs",
        "--data.batch_size",
        "5",
    ]
    cache = {"CLIPTUNE_CACHE": str(tmp_path / "rows")}
    found = {}
    for name, devices in (("two", TWO), ("one", [])):
        done = fit(table, tmp_path, name, *probe, *devices, **cache)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / "runs" / name / "summary.json").read_text(encoding="utf-8"))
        for split, count in COUNTS.items():
            told = f"{count:,} computed" if name == "two" else "all there already"
            assert f"rows of {count} images, {told}" in done.stdout, (split, done.stdout)
    for name, value in found["one"]["adapted"].items():  # where L-BFGS stops shows in probabilities first
        assert found["two"]["adapted"][name] == pytest.approx(value, abs=1e-6 if "top" in name or "recall" in name else 1e-3), name


def test_an_error_that_both_find_is_told_once(table: Path, tmp_path: Path) -> None:
    found = fit(table, tmp_path, "large", "--data.batch_size", "14", *TWO)
    assert found.returncode == 2
    told = "DataError: batch_size 14 on each of 2 devices is more than the 24 training rows. Set data.batch_size to 12 or less."
    assert found.stderr.strip().splitlines()[-1] == told
    assert found.stderr.count("batch_size 14") == 1, found.stderr


@pytest.mark.slow
def test_one_process_that_is_asked_to_stop_stops_both_with_a_checkpoint(table: Path, tmp_path: Path) -> None:
    words = ["fit", "--data.path", str(table), "--data.workers", "0", *TRAINER, *TWO, "--data.batch_size", "4", "--run.name", "asked"]
    process = command([sys.executable, "-m", "cliptune", *words, "--trainer.max_epochs", "500", "--watch.patience", "500"], tmp_path)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert err.count("and saved. Go on with: cliptune fit") == 1, err
    state = torch.load(tmp_path / "runs" / "asked" / "checkpoints" / "last.ckpt", weights_only=True)
    assert f"stopped after step {state['global_step']}" in err


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_machines_by_torchrun_have_the_metrics_of_one_process(table: Path, runs: Path, tmp_path: Path) -> None:
    port = str(free_port())
    data = ["--data.path", str(table), "--data.workers", "0", "--model.optimizer", "AdamW", "--model.optimizer.lr", "1e-4"]
    words = ["-m", "cliptune", "fit", "--config", "scale/multinode", *data, *TRAINER, "--data.batch_size", "4", "--data.swaps", "1"]
    words += ["--trainer.num_nodes", "2", "--trainer.devices", "1", "--run.name", "nodes"]
    words += ["--trainer.gradient_clip_val", "1"]
    started = [
        command(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(node),
             "--master-addr", "127.0.0.1", "--master-port", port, *words], tmp_path)
        for node in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=LIMIT) for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["nodes"]
    summary, one = (json.loads((path / "summary.json").read_text(encoding="utf-8")) for path in (tmp_path / "runs" / "nodes", runs / "one"))
    assert summary["zero_shot"] == pytest.approx(one["zero_shot"], abs=1e-6)
    rows, wanted = metrics(tmp_path / "runs" / "nodes"), metrics(runs / "one")
    losses, expected = ([float(row["train/loss"]) for row in part if row["train/loss"]] for part in (rows, wanted))
    assert losses == pytest.approx(expected[: len(losses)], abs=1e-3)
    assert len(losses) == 2 * (COUNTS["train"] // 8)


def test_two_machines_that_share_a_disk_share_the_cache(table: Path, tmp_path: Path) -> None:
    port = str(free_port())
    words = ["-m", "cliptune", "validate", "--config", "scale/multinode", "--data.path", str(table), "--data.workers", "0"]
    words += ["--model.objective", "CrossEntropy", "--model.method", "LinearProbe", "--trainer.num_nodes", "2", "--trainer.devices", "1"]
    words += ["--trainer.accelerator", "cpu", "--data.batch_size", "4", "--run.pictures", "false"]
    started = [
        command(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(node),
             "--master-addr", "127.0.0.1", "--master-port", port, *words], tmp_path, {"CLIPTUNE_CACHE": str(tmp_path / "rows")})
        for node in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=LIMIT) for process in started]  # a lock held while waiting for the other would last for ever
    assert [process.returncode for process in started] == [0, 0], told
    assert sum(f"{COUNTS['validation']} computed" in out for out, _ in told) == 1


SHARDED = ["--config", "scale/fsdp", "--trainer.devices", "2", "--data.batch_size", "4", "--trainer.gradient_clip_val", "1"]


@pytest.mark.parametrize("method", ["Full", pytest.param("LoRA", marks=pytest.mark.slow)])
def test_what_was_written_sharded_loads_in_one_process_and_goes_on_sharded(table: Path, runs: Path, tmp_path: Path, method: str) -> None:
    found = fit(table, tmp_path, "sharded", *SHARDED, "--model.method", method, "--guard", guard(table))
    assert found.returncode == 0, found.stderr
    folder = tmp_path / "runs" / "sharded"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    one = json.loads((runs / "one" / "summary.json").read_text(encoding="utf-8"))
    assert summary["zero_shot"] == pytest.approx(one["zero_shot"], abs=1e-6)
    assert summary["guard"]["held"]["zero_shot"] == pytest.approx(one["guard"]["held"]["zero_shot"], abs=1e-6)
    assert summary["guard"]["held"]["adapted"]["top1"] == pytest.approx(summary["adapted"]["val/top1"], abs=1e-6)
    model = cliptune.load(folder)
    rows = [row for row in pd.read_json(table, lines=True).to_dict("records") if row["split"] == "test"]
    said = model.classify([table.parent / row["image"] for row in rows]).names
    right = [a == row["label"] for a, row in zip(said, rows, strict=True)]
    assert sum(right) / len(right) == pytest.approx(summary["adapted"]["test/top1"], abs=1e-6)
    again = fit(table, tmp_path, "sharded", *SHARDED, "--model.method", method, "--trainer.max_epochs", "3", "--ckpt_path", str(folder))
    assert again.returncode == 0, again.stderr
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 2
    assert all(type(value) is torch.Tensor for value in state["state_dict"].values())
