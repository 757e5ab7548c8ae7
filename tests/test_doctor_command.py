"""`cliptune doctor` as a user runs it."""

import json
from itertools import count
from pathlib import Path

import pytest
import yaml
from conftest import pixels
from PIL import Image
from small import error_of, write_config

from cliptune.commands.doctor import own_options
from cliptune.doctor.settings import class_of
from cliptune.errors import ConfigError
from cliptune.main import main


@pytest.fixture
def animals(elsewhere: None, tiny: dict[str, str]) -> Path:
    """A config over a folder of two classes, one much larger, of which one image is broken and one is in test too."""
    seeds = count()
    for split, cats, dogs in (("train", 60, 6), ("validation", 6, 6), ("test", 6, 6)):
        for kind, number in (("cat", cats), ("dog", dogs)):
            for i in range(number):
                file = Path(f"animals/{split}/{kind}/{i}.png")
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels(40, 48, seed=next(seeds))).save(file)
    Path("animals/test/cat/1.png").write_bytes(Path("animals/train/cat/1.png").read_bytes())
    Path("animals/train/dog/0.png").write_bytes(b"")
    return write_config(tiny["vit"], data={"path": "animals", "workers": 0, "batch_size": 32, "flip": 0.5}, trainer={"max_epochs": 1})


def test_it_reports_in_three_forms_and_writes_a_config_that_fit_takes(animals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(animals), "--write", "fixed.yaml"]) == 0
    said = capsys.readouterr().out
    for part in (
        "To mend",
        "1 image file has 0 bytes",
        "1 image of test (8.3%) is in train too",
        "Zero-shot",
        "Recommended",
        "doctor.html",
    ):
        assert part in said, part
    found = json.loads(Path("runs/doctor-small/doctor.json").read_text(encoding="utf-8"))
    assert found["findings"]["splits"]["train"]["labels"] == {"cat": 60, "dog": 6}
    assert found["zero_shot"]["splits"] == ["train", "validation"]
    assert found["zero_shot"]["images"] == 77
    assert "animals/train/dog/0.png" in Path("runs/doctor-small/doctor.html").read_text(encoding="utf-8")
    fixed = yaml.safe_load(Path("fixed.yaml").read_text(encoding="utf-8"))
    assert (fixed["data"]["path"], fixed["data"]["flip"], fixed["seed_everything"]) == ("animals", 0.5, 3)
    assert class_of(fixed["model"]["objective"]) == "CrossEntropy"
    Path("animals/train/dog/0.png").unlink()
    assert main(["fit", "--config", "fixed.yaml", "--trainer.max_epochs", "1", "--run.pictures", "false"]) == 0


def test_keys_of_the_command_line_count_and_no_run_is_made(animals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data.batch_size", "4096", "--model.method=LinearProbe", "--model.objective", "CrossEntropy", "--zero-shot", "8"]
    assert main(["doctor", "--config", str(animals), *words, "--output", "here", "--write=new/fixed.yaml"]) == 0
    assert not Path("runs").exists()
    found = json.loads(Path("here/doctor.json").read_text(encoding="utf-8"))
    assert "a batch of 4096 is more than the 66 rows of train" in [one["title"] for one in found["problems"]]
    assert found["zero_shot"]["images"] <= 8
    fixed = yaml.safe_load(Path("new/fixed.yaml").read_text(encoding="utf-8"))
    assert fixed["data"]["batch_size"] < 66


def test_the_data_of_the_shipped_configs_is_no_problem_without_any_file(
    elsewhere: None, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model.backbone.name", tiny["vit"], "--model.backbone.pretrained", "null", "--data.workers", "0", "--zero-shot", "50"]
    assert main(["doctor", "--config", "digits", *words]) == 0
    assert Path("runs/doctor-digits/doctor.html").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--write"], "ConfigError: doctor --write is missing its value. See cliptune doctor --help"),
        (["--output", "--open"], "ConfigError: doctor --output is missing its value."),
        (["--zero-shot", "many"], "ConfigError: doctor --zero-shot is many, but must be a number of images"),
        (["--zero-shot=0"], "ConfigError: doctor --zero-shot is 0, but must be a number of images"),
        (["--write", "small.yaml"], "ConfigError: doctor --write small.yaml is the config itself. Give another name, such as fixed.yaml."),
        (["--data.pth", "x"], "ConfigError: there is no key data.pth. Did you mean data.path?"),
        (["--data.path", "nowhere"], "UnreachableError: data path nowhere is no local file or folder"),
    ],
)
def test_a_mistake_is_one_line(config: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    assert error_of(capsys, "doctor", "--config", str(config), *words).startswith(expected)


def test_a_folder_that_cannot_be_written_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("", encoding="utf-8")
    error = error_of(capsys, "doctor", "--config", str(config), "--zero-shot", "10", "--output", "taken")
    assert error.startswith("ConfigError: doctor cannot write taken")


def test_its_own_options_are_taken_out_of_the_words() -> None:
    own, rest = own_options(["--config", "a.yaml", "--output", "x", "--open", "--data.path", "p", "--zero-shot=5", "--write", "f.yaml"])
    assert (own.output, own.open, own.zero_shot, own.write) == (Path("x"), True, 5, Path("f.yaml"))
    assert rest == ["--config", "a.yaml", "--data.path", "p"]
    with pytest.raises(ConfigError, match="missing its value"):
        own_options(["--zero-shot"])


def test_help_answers_and_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--output FOLDER", "--write FILE", "--open", "--zero-shot N", "docs/doctor.md"):
        assert option in said


def test_the_page_is_opened_where_asked(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["doctor", "--config", str(config), "--zero-shot", "10", "--open"]) == 0
    assert opened == [Path("runs/doctor-small/doctor.html").resolve().as_uri()]
