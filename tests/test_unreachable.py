"""What is told where something is wanted of the hub, and the hub is not there."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from cliptune.main import main
from cliptune.shipped import offline_overlay

WEIGHTS = (
    "UnreachableError: backbone ViT-B-16-quickgelu with openai was not fetched before, and the hub cannot be reached. "
    "Connect first, or take the backbone nano, which needs no network."
)


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize("command", ["fit", "doctor"])
def test_a_recipe_names_its_overlay_at_once(command: str, waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    Path("bccd").mkdir()
    Path("bccd/table.csv").touch()  # data that lacks would be told before weights that cannot be fetched
    assert main([command, "--config", "bccd/lora"]) == 2
    told = capsys.readouterr().err
    assert told.endswith(" Without network: add --config bccd/offline.\n")
    assert not waits


def test_weights_alone_name_the_bundled_backbone(waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--model.backbone.name", "ViT-B-16-quickgelu", "--model.backbone.pretrained", "openai"]
    assert main(["fit", "--config", "digits", *weights]) == 2
    assert capsys.readouterr().err == f"{WEIGHTS}\n"
    assert not waits


def test_a_model_of_the_hub_is_told_alike(waits: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "digits", "--model.backbone.name", "hf-hub:some/clip"]) == 2
    assert capsys.readouterr().err.startswith("UnreachableError: backbone hf-hub:some/clip was not fetched before, and the hub")
    assert not waits


def test_an_asked_for_offline_is_told(waits: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["fit", "--config", "digits", "--data.path", "some/set"]) == 2
    assert capsys.readouterr().err == (
        "UnreachableError: data path some/set is no local file or folder, and as a data set of the hub it was not fetched before; "
        "HF_HUB_OFFLINE forbids the hub. Connect first.\n"
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--config", "ham10000/lora"], "ham10000/offline"),
        (["fit", "--config=medical/ham10000/lora"], "medical/ham10000/offline"),
        (["fit", "-c", "mine/lora.yaml"], "mine/offline.yaml"),
        (["fit", "--config", "ham10000/lora", "--config", "ham10000/offline"], None),
        (["fit", "--config", "digits"], None),
        (["fit", "--config"], None),
    ],
)
def test_the_overlay_is_the_one_beside_the_config(words: list[str], expected: str | None, elsewhere: None) -> None:
    for name in ("lora", "offline"):
        Path("mine").mkdir(exist_ok=True)
        Path(f"mine/{name}.yaml").write_text("{}", encoding="utf-8")
    assert offline_overlay(words) == expected
