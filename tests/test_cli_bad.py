"""A fit over a table with images that cannot be read, or at which a worker process ends."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from conftest import pixels
from PIL import Image
from small import error_of, run

import cliptune.data.views

ALL = [f"--trainer.limit_{name}_batches=null" for name in ("train", "val", "test")]
METHODS = {"Full": [], "LinearProbe": ["--model.method", "LinearProbe", "--model.objective", "CrossEntropy"]}  # the latter sees rows once


def words(config: Path, broken: tuple[int, ...], workers: str, *more: str) -> list[str]:
    """A fit on 60 small images, half of which train."""
    Path("p").mkdir()
    for i in range(60):
        Image.fromarray(pixels(24, 24, seed=i)).save(f"p/{i}.png")
    for i in broken:
        Path(f"p/{i}.png").write_bytes(b"junk")
    rows = [(f"p/{i}.png", ("cat", "dog")[i // 4 % 2], ("train", "train", "validation", "test")[i % 4]) for i in range(60)]
    pd.DataFrame(rows, columns=["image", "label", "split"]).to_csv("t.csv", index=False)
    data = ["--data.path", "t.csv", "--data.batch_size", "10", "--data.workers", workers]
    return ["fit", "--config", str(config), *data, "--trainer.max_epochs", "1", "--run.pictures", "false", *ALL, *more]


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("method", METHODS)
def test_a_fit_loses_none_of_the_good_images_and_says_what_it_left_out(
    config: Path, capsys: pytest.CaptureFixture[str], method: str, workers: str
) -> None:
    call = words(config, (4, 6, 7), workers, *METHODS[method])
    error = error_of(capsys, *call)
    assert error.startswith("DataError: 1 of the 15 images of validation (6.7%) cannot be read, more than max_bad 1.0%: p/6.png: ")
    assert error.endswith(
        "; all are in runs/small/bad_samples.csv. Mend them, take their rows out, or go on without them: data.max_bad: 0.1."
    )
    assert pd.read_csv("runs/small/bad_samples.csv")["path"].tolist() == ["p/6.png"]
    summary = run(*call, "--data.max_bad", "0.1")
    assert summary["left_out"] == {"train": 1, "validation": 1, "test": 1}
    assert [summary["evaluated"][split]["images"] for split in ("val", "test")] == [14, 14]
    assert (summary["counts"]["train"], summary["epochs"]) == (30, 1)
    listed = pd.read_csv(summary["folder"] / "bad_samples.csv")
    assert sorted(zip(listed["split"], listed["path"], strict=True)) == [
        ("test", "p/7.png"),
        ("train", "p/4.png"),
        ("validation", "p/6.png"),
    ]
    said = capsys.readouterr().out
    assert "images that cannot be read: 1 of train, 1 of validation, 1 of test (runs/small-2/bad_samples.csv)" in said


@pytest.mark.parametrize("workers", ["0", "1"])
def test_data_that_is_all_bad_is_one_line(config: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    error = error_of(capsys, *words(config, tuple(range(60)), workers))
    assert "images of validation (" in error
    assert "data.max_bad" in error


def test_a_worker_that_is_killed_is_told_with_its_image(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = cliptune.data.views.content

    def deadly(row: cliptune.data.views.Row) -> bytes:
        if row.key.endswith("p/9.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return content(row)

    monkeypatch.setattr("cliptune.data.views.content", deadly)
    error = error_of(capsys, *words(config, (), "1", "--run.baseline", "false", "--data.decoded", "false"))
    assert error.startswith(
        "DataError: a worker process was ended by SIGKILL while it decoded p/9.png. Systems end so what takes more memory"
    )
