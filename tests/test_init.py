"""`cliptune init`: what it sees of somebody's images, and that the config it writes is one that fit takes."""

from itertools import count
from pathlib import Path

import pytest
import yaml
from conftest import pixels
from PIL import Image

from cliptune.commands import doctor
from cliptune.commands.init import init
from cliptune.doctor.settings import class_of
from cliptune.errors import ConfigError
from cliptune.main import main


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
    assert "40 captions" in capsys.readouterr().out
    found = yaml.safe_load(Path("new/own.yaml").read_text(encoding="utf-8"))
    assert class_of(found["model"]["objective"]) == "Contrastive"


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
        (["my_images"], "ConfigError: init does not know what my_images is for. Did you mean"),
        (["--path", "my_images", "--images", "0"], "ConfigError: init --images is 0, but must be 1 or more. Take 500."),
    ],
)
def test_wrong_words_are_one_line(
    my_images: Path, tiny: dict[str, str], words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--name", tiny["vit"]] if "my_imags" in words else []
    assert main(["init", *words, *given]) == 2
    assert capsys.readouterr().err.startswith(expected)


def test_weights_that_cannot_be_fetched_name_the_way_out(my_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(words: list[str], images: int) -> None:
        raise ConfigError("backbone ViT-B-16-quickgelu with openai cannot be built: no network.")

    monkeypatch.setattr(doctor, "examine", offline)
    with pytest.raises(ConfigError, match=r"cannot be built: no network\. Or give --name nano, which needs no network\."):
        init(path="my_images")
