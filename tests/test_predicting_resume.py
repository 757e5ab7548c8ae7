"""A long `cliptune predict` that was killed goes on, and ends with the same bytes."""

from pathlib import Path
from typing import Any

import pytest
from predicted import Picture, predict, table_of
from torch import Tensor

from cliptune import partial
from cliptune.adapted import AdaptedCLIP
from cliptune.errors import CliptuneError
from cliptune.partial import Partial

pytest_plugins = ["predicted"]
pytestmark = pytest.mark.usefixtures("elsewhere")


class Killed(BaseException):
    """Not caught by anything."""


class Encoder:
    """The model's encoder, which counts the images that it sees, and ends after a number of batches."""

    def __init__(self, model: AdaptedCLIP, batches: int | None = None) -> None:
        self.encode, self.batches, self.seen = model.encode_pixels, batches, 0

    def __call__(self, pixels: Tensor) -> Tensor:
        if self.batches == 0:
            raise Killed
        self.batches = None if self.batches is None else self.batches - 1
        self.seen += len(pixels)
        return self.encode(pixels)


def interrupt(model: AdaptedCLIP, monkeypatch: pytest.MonkeyPatch, *sources: str) -> None:
    """Leave a job behind of which four images are done."""
    with monkeypatch.context() as patch:
        patch.setattr(model, "encode_pixels", Encoder(model, batches=2))
        with pytest.raises(Killed):
            predict(model, "out.csv", *sources)


@pytest.mark.parametrize("how", ["raised", "killed"])
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out.npy", "out.safetensors"])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch, output: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(partial, "CHUNK_IMAGES", 4)
    whole = predict(model, f"whole/{output}")
    whole_bytes = [file.read_bytes() for file in whole.files]
    first = Encoder(model, batches=5)
    with monkeypatch.context() as patch:
        patch.setattr(model, "encode_pixels", first)
        if how == "killed":  # nothing is written any more, and the system lets go of the lock
            patch.setattr(Partial, "__exit__", lambda self, *error: self._lock and self._lock.release())
        with pytest.raises(Killed):
            predict(model, output)
    assert not Path(output).exists()
    again = Encoder(model)
    monkeypatch.setattr(model, "encode_pixels", again)
    capsys.readouterr()
    found = predict(model, output)
    # 3a.png is the fifth of 13 images, so five batches are 10 images, 9 of them readable; two chunks of 4 are 8, of which 7 are
    assert (found.resumed, again.seen) == {"raised": (10, 2), "killed": (8, 4)}[how]
    assert capsys.readouterr().out == f"going on after {found.resumed} of 13 images\n"
    assert [file.read_bytes() for file in found.files] == whole_bytes
    assert (found.count, found.failed) == (whole.count, whole.failed) == (11, 2)
    assert not Path(f"{output}.partial").exists()


def test_scores_count_what_an_interrupted_run_did(model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    said = model.classify(pics).names
    Path("t.csv").write_text("\n".join(["image,label", *(f"{name},{word}" for name, word in zip(pics, said, strict=True))]))
    interrupt(model, monkeypatch, "t.csv")
    found = predict(model, "out.csv", "t.csv")
    assert (found.resumed, found.correct, found.labelled) == (4, 11, 11)


def test_another_batch_size_goes_on_too(model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(model, monkeypatch)
    assert predict(model, "out.csv", batch_size=3, workers=1).resumed == 4
    assert [row["name"] for row in table_of("out.csv")] == pics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["cat", "ship"]}, r"\(classes: the model's own; now: cat, ship\)"),
        ({"templates": ["a {}"]}, r"\(templates: the model's own; now: a \{\}\)"),
        ({"top_k": 2}, r"\(wanted: labels, top_k 1; now: labels, top_k 2\)"),
        ({"model_key": "other"}, r"\(model: key; now: other\)"),
        ({"precision": "bf16-mixed"}, r"\(precision: 32-true; now: bf16-mixed\)"),
        ({"sources": ["pics/0.png"]}, r"\(inputs: pics; now: pics/0\.png\)"),
    ],
)
def test_another_command_does_not_go_on(
    model: AdaptedCLIP, pics: list[str], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    interrupt(model, monkeypatch)
    with pytest.raises(
        CliptuneError, match=rf"^out\.csv\.partial holds what another job has done {message}\. Run that one again"
    ) as caught:
        predict(model, "out.csv", *change.pop("sources", []), **change)
    assert "\n" not in str(caught.value)
    assert predict(model, "out.csv").resumed == 4


def test_images_that_changed_in_the_meantime_are_another_job(
    model: AdaptedCLIP, pics: list[str], picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(model, monkeypatch)
    picture("pics/new.png")
    with pytest.raises(CliptuneError, match=r"\(images: 13, \w{16}; now: 14, \w{16}\)"):
        predict(model, "out.csv")
    assert predict(model, "out.csv", overwrite=True).resumed == 0
