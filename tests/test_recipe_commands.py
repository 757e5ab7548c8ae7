"""`cliptune recipes list`, `show` and `copy`: what they tell, and that a copy refers to itself."""

import re
from pathlib import Path

import pytest
from recipe_names import RECIPES, ROOT, SETS, config

from cliptune.main import main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["recipes", *words]) == 0
    return capsys.readouterr().out


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = said(capsys, "list")
    for folder in SETS:
        assert folder in listed
    assert "linear_probe" in listed
    assert said(capsys, "show", "ham10000/lora") == (ROOT / "recipes/medical/ham10000/lora.yaml").read_text(encoding="utf-8")
    for name in ("medical", "ham10000", "recipes/medical/"):
        assert "No diagnostic device" in said(capsys, "show", name)
    assert "Your own images" in said(capsys, "show", "your-own")
    assert "emoji_styles: The same things drawn in many styles: train on some styles, test on others (PACS; offline, emoji)\n" in listed
    assert "one folder for each class. Your own table of images with captions" in listed


def test_of_a_data_set_its_own_section_is_shown_without_pictures_and_comments(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", "ham10000")
    assert told.startswith("# Medical images\n\n**No diagnostic device.**")
    assert re.findall(r"(?m)^## .*", told) == ["## `ham10000`: dermoscopy"]
    assert told.endswith("The whole card: cliptune recipes show medical\n")
    whole = said(capsys, "show", "medical")
    assert len(re.findall(r"(?m)^## .*", whole)) == 3
    for text in (told, whole):
        assert "| `lora` | 3 |" in text
        assert not re.search(r"<!--|!\[|\n\n\n", text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show", "hamm10000"], "ConfigError: recipes: there is no recipe, data set or domain hamm10000. Did you mean ham10000"),
        (["show", "ham"], "ConfigError: recipes: there is no recipe, data set or domain ham. Did you mean ham10000, ham10000/described, "),
        (["show", "lora"], "ConfigError: recipes: there is no recipe, data set or domain lora. Did you mean emoji_styles/lora, "),
        (["show", "ham10000", "b"], "ConfigError: recipes show does not know what b is for. It takes NAME and nothing more."),
        (["show"], "ConfigError: recipes show lacks NAME. See cliptune recipes show --help"),
        (["lst"], "ConfigError: there is no command recipes lst. Did you mean list?"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", *words]) == 2
    assert capsys.readouterr().err.startswith(expected)


def test_a_data_set_is_copied_with_its_card_and_refers_to_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = said(capsys, "copy", "bccd", "mine")
    assert "first: python mine/table.py, which makes the table that is read: mine/README.md says how\n" in out
    assert "next:  cliptune fit --config mine/lora.yaml" in out
    assert {file.name for file in Path("mine").iterdir()} == {
        *(file.name for file in (ROOT / "recipes/medical/bccd").iterdir() if file.is_file()), "README.md", "bccd.png"
    }  # fmt: skip
    assert "No diagnostic device" in Path("mine/README.md").read_text(encoding="utf-8")
    assert "--config mine/lora.yaml --config mine/offline.yaml" in Path("mine/lora.yaml").read_text(encoding="utf-8")
    found = config("mine/lora.yaml", "mine/described.yaml")
    assert found["data"]["descriptions"] == "mine/descriptions.json"
    assert Path("mine/descriptions.json").is_file()
    assert main(["recipes", "copy", "bccd", "mine"]) == 2
    assert "is there already, and is not written over" in capsys.readouterr().err


def test_one_recipe_goes_into_a_folder_named_after_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("my project", encoding="utf-8")
    out = said(capsys, "copy", "ham10000/lora")
    assert "4 files in my_ham10000/; another folder: cliptune recipes copy ham10000/lora FOLDER" in out
    assert "next:  cliptune fit --config my_ham10000/lora.yaml" in out
    assert {file.name for file in tmp_path.iterdir()} == {"README.md", "my_ham10000"}  # the data's folder is ham10000
    assert {file.name for file in Path("my_ham10000").iterdir()} == {"lora.yaml", "README.md", "table.py", "ham10000.png"}
    card = Path("my_ham10000/README.md").read_text(encoding="utf-8")
    assert "python my_ham10000/table.py ham10000/" in card
    assert "--config my_ham10000/lora.yaml --config ham10000/offline --seeds" in card  # the overlay is the shipped one


def test_a_domain_is_copied_with_its_own_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    said(capsys, "copy", "games")
    assert Path("my_games/dcss_tiles/offline.yaml").is_file()
    assert Path("my_games/README.md").read_text(encoding="utf-8").startswith("# Games\n")
    assert config("my_games/dcss_tiles/lora.yaml", "my_games/dcss_tiles/offline.yaml")["model"]["backbone"]["background"] == "#767676"
    said(capsys, "copy", "medical", "clinic")
    card = Path("clinic/README.md").read_text(encoding="utf-8")
    assert "No diagnostic device" in card
    assert "cliptune fit --config clinic/bccd/lora.yaml --config clinic/bccd/offline.yaml" in card
    assert "python clinic/bccd/table.py" in card
    said(capsys, "copy", "your-own")
    own = Path("mine/README.md").read_text(encoding="utf-8")
    assert "what they rest on" not in own  # a page that is not copied
    assert own.startswith("# Your own images\n")
    assert "cliptune fit --config mine/folder.yaml" in own
    assert "recipes copy" not in own
    assert "cliptune fit --config mine/table.yaml" in Path("mine/table.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "below"), [("wikiart7/described", "wikiart7/lora"), ("ham10000/offline", "ham10000/lora"), ("bccd/described", "bccd/lora")]
)
def test_an_overlay_is_copied_and_runs_over_the_shipped_recipe(
    name: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = f"mine/{Path(name).name}.yaml"
    assert f"next:  cliptune fit --config {below} --config {copy}\n" in said(capsys, "copy", name, "mine")
    assert config(below, copy)["seed_everything"] == 1


@pytest.mark.parametrize("name", [*SETS, *RECIPES, "medical", "art", "games", "your-own"])
def test_what_a_copied_card_says_holds_of_the_copy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = said(capsys, "copy", name, "copied")
    card = Path("copied/README.md")
    text = card.read_text(encoding="utf-8")
    assert text.splitlines()[2].startswith(f"This is a copy, to be changed: `{out.rpartition('next:  ')[2].strip()}` runs it.")
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (card.parent / link).is_file(), link
    configs = sorted(Path("copied").rglob("*.yaml"))
    for file in [card, *configs]:
        for given in re.findall(r"--config (copied/[\w./-]+)", file.read_text(encoding="utf-8")):
            assert Path(given).is_file(), f"{file}: {given}"
        assert "../README.md" not in file.read_text(encoding="utf-8") or (file.parent.parent / "README.md").is_file()
    short = [f"{Path(name).name}/{file.stem}" if file.parent == card.parent else f"{file.parent.name}/{file.stem}" for file in configs]
    if name not in RECIPES:
        assert not set(short) & set(re.findall(r"--config ([\w/-]+)(?![\w./-])", text))


def test_a_copys_folder_may_have_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert "next:  cliptune fit --config 'my cells/lora.yaml'" in said(capsys, "copy", "bccd", "my cells")
    assert "cliptune fit --config 'my cells/lora.yaml'  " in Path("my cells/README.md").read_text(encoding="utf-8")
