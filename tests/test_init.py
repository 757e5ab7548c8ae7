"""`cliptune init`: what it sees of somebody's images, and that the config it writes is one that fit takes."""

import logging
import re
from itertools import count
from pathlib import Path

import pytest
import yaml
from conftest import pixels
from huggingface_hub import constants
from PIL import Image

from cliptune import hub
from cliptune.doctor.settings import class_of
from cliptune.help import SCREENS
from cliptune.main import main

REACHABLE = hub.reachable


pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture
def my_images(elsewhere: None) -> Path:
    """A folder of three classes with twenty images each."""
    seeds = count()
    for kind in ("cat", "dog", "green_parrot"):
        for i in range(20):
            file = Path(f"my_images/{kind}/{i}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(40, 48, seed=next(seeds))).save(file)
    return Path("my_images")


def test_it_writes_a_commented_config_that_fit_takes(my_images: Path, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--path", "my_images/", "--name", tiny["vit"]]) == 0
    out = capsys.readouterr().out
    assert "48 images of train, 6 images of validation, 6 images of test" in out
    assert "3 classes: cat, dog, green parrot" in out
    assert "next:  cliptune fit --config my_images.yaml" in out
    text = Path("my_images.yaml").read_text(encoding="utf-8")
    assert text.startswith("# my_images/, as cliptune init saw it:")
    assert out.count("no validation and no test split") == 1
    assert "only 6 images of test: a share of them is known to some ±41 points, and decides little" in out
    assert "#   only 6 images of test" in text
    assert not [word for word in ("docs/", "benchmarks/", "configs/", "cliptune.") if word in text.replace("cliptune.yaml", "")]
    assert "zero-shot" in text
    found = yaml.safe_load(text)
    assert found["data"]["path"] == "my_images/"
    assert class_of(found["model"]["objective"]) == "CrossEntropy"  # there are no captions
    lines = text.splitlines()
    for key in ("method:", "objective:", "lr:", "batch_size:"):  # each with its reason above it
        place = next(i for i, line in enumerate(lines) if line.strip().startswith(key))
        assert lines[place - 1].strip().startswith("#"), key
    assert main(["fit", "--config", "my_images.yaml", "--trainer.max_epochs", "1", "--run.pictures", "false", "--data.workers", "0"]) == 0


def test_captions_lead_to_another_objective(my_images: Path, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"my_images/{kind}/{i}.png,a picture of a {kind} number {i}" for kind in ("cat", "dog") for i in range(20)]
    Path("told.csv").write_text("\n".join(["image,caption", *rows]), encoding="utf-8")
    assert main(["init", "--path", "told.csv", "--output", "new/own.yaml", "--name", tiny["vit"], "--images", "20"]) == 0
    out = capsys.readouterr().out
    assert "40 captions" in out
    assert re.search(r"text to image R@10 [\d.]+ among 20 images; guessing 0\.500\n", out)
    found = yaml.safe_load(Path("new/own.yaml").read_text(encoding="utf-8"))
    assert class_of(found["model"]["objective"]) == "Contrastive"


def test_paths_that_lead_out_of_a_tables_folder_are_taken_where_that_is_asked_for(
    my_images: Path, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tables").mkdir()
    rows = [f"../my_images/{kind}/{i}.png,{kind}" for kind in ("cat", "dog") for i in range(6)]
    Path("tables/told.csv").write_text("\n".join(["image,label", *rows]), encoding="utf-8")
    assert "--allow-outside" in SCREENS["init"]
    words = ["init", "--path", "tables/told.csv", "--name", tiny["vit"], "--images", "6"]
    assert main(words) == 2
    assert capsys.readouterr().err.endswith("Take it out if you do not know the file; else give --allow-outside.\n")
    assert main([*words, "--allow-outside"]) == 0
    assert "10 images of train, 1 image of validation, 1 image of test" in capsys.readouterr().out
    assert yaml.safe_load(Path("told.yaml").read_text(encoding="utf-8"))["data"]["allow_outside"] is True


def test_nothing_is_written_over_without_being_asked(my_images: Path, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("my_images.yaml").write_text("mine", encoding="utf-8")
    assert main(["init", "--path", "my_images", "--name", tiny["vit"]]) == 2
    assert "ConfigError: init: my_images.yaml is there already. Give another --output, or --overwrite." in capsys.readouterr().err
    assert Path("my_images.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "ConfigError: init lacks --path. Give a folder of images or a table: cliptune init --path my_images/"),
        (["--path", "my_imags"], "DataError: data path my_imags"),
        (["my_images"], "ConfigError: init does not know what my_images is for. Did you mean --path my_images?"),
        (["my_images/"], "ConfigError: init does not know what my_images/ is for. Did you mean --path my_images/?"),
        (["overwrite"], "ConfigError: init does not know what overwrite is for. Did you mean --overwrite?"),
        (["--path", "my_images", "--images", "0"], "ConfigError: init --images is 0, but must be 1 or more. Take 500."),
    ],
)
def test_wrong_words_are_one_line(my_images: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", *words]) == 2
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize("path", ["nothere", "no/there", "my_imags"])
def test_a_mistyped_path_is_said_at_once(path: str, my_images: Path, waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--path", path]) == 2
    captured = capsys.readouterr()
    kind = "DataError" if path == "my_imags" else "UnreachableError"
    assert captured.err.startswith(f"{kind}: data path {path} is no local file or folder")
    assert captured.err.count("\n") == 1
    assert ("Did you mean my_images?" in captured.err) == (path == "my_imags")
    assert not waits
    assert not constants.HF_HUB_OFFLINE


def test_without_network_the_bundled_backbone_is_named_at_once(
    my_images: Path, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--path", "my_images/"]) == 2
    assert capsys.readouterr().err == (
        "UnreachableError: backbone ViT-B-16-quickgelu with openai was not fetched before, and the hub cannot be reached. "
        "Connect first, or take the backbone nano, which needs no network.\n"
    )
    assert not waits


def test_images_and_a_backbone_that_are_here_need_no_hub(my_images: Path, tiny: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(hub, "reachable", lambda: bool(asked.append(True)))
    assert main(["init", "--path", "my_images/", "--name", tiny["vit"], "--images", "6"]) == 0
    assert not asked


def test_a_hub_that_does_not_answer_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "reachable", REACHABLE)
    monkeypatch.setattr(hub, "get_session", refused)
    with hub.asked_once() as lost:
        assert lost == "the hub cannot be reached"
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_the_hubs_lines_are_told_once(my_images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 2
    assert not logging.getLogger("huggingface_hub").propagate  # to the root logger, beside its own handler
    record = logging.LogRecord("root", logging.ERROR, __file__, 1, "Failed to download weights for tag 'openai': no network", (), None)
    assert not logging.getLogger().filter(record)
