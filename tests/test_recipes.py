"""The recipes: each one parses, alone and with its folder's overlays; cards name what there is; all of them travel in the wheel."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomllib
import yaml

from cliptune.data.images import ImageTextData
from cliptune.data.texts.descriptions import read_descriptions
from cliptune.errors import ConfigError, DataError
from cliptune.launch import resolved
from cliptune.main import main
from cliptune.shipped import OVERLAYS, data_source, here_or_shipped, laid_over, shipped_config, shipped_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
RECIPES = [str(file.relative_to(ROOT / "recipes").with_suffix("")) for file in sorted((ROOT / "recipes").rglob("*.yaml"))]
WHOLE = [name for name in RECIPES if Path(name).name not in OVERLAYS]
SETS = sorted({str(Path(name).parent) for name in WHOLE if not name.startswith("your-own")})
CARDS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "recipes").rglob("README.md"))
SHARED = ROOT.parent / "shared" / "data"


def config(*names: str) -> dict[str, Any]:
    words = [word for name in names for word in ("--config", name)]
    found: dict[str, Any] = yaml.safe_load(resolved(["fit", *words]))
    return found


@pytest.mark.parametrize("name", WHOLE)
def test_every_recipe_is_whole_and_says_how_it_is_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    found = config(f"recipes/{name}")
    assert found["seed_everything"] == 1
    assert found["model"]["backbone"] | {"background": "", "name": "", "pretrained": ""} == {
        "name": "", "pretrained": "", "image_size": None, "patch_dropout": None, "background": ""
    }  # fmt: skip
    assert found["model"]["backbone"]["pretrained"] == "openai"
    given = yaml.safe_load(text)
    assert {"seed_everything", "run", "model", "data", "trainer"} <= given.keys()
    assert {"backbone", "method", "objective", "optimizer"} == given["model"].keys()
    assert "# Needs: " in text
    assert "# Cost" in text
    assert f"--config recipes/{name}\n" in text or name.startswith("your-own")


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith("your-own")])
def test_every_recipe_runs_offline_with_one_overlay(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    folder, alone = str(Path(name).parent), yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    found = config(name, f"{folder}/offline")
    assert (found["model"]["backbone"]["name"], found["model"]["backbone"]["pretrained"]) == ("nano", None)
    assert found["data"]["path"].startswith("../shared/data/")
    assert found["model"]["optimizer"]["init_args"]["lr"] == (3e-4 if folder == "art/emoji_styles" else 1e-4)
    assert found["model"]["optimizer"]["init_args"]["weight_decay"] == alone["model"]["optimizer"]["init_args"]["weight_decay"]
    assert [guard["path"].split("/")[-2] for guard in found["guard"]] == ["flickr8k", "caltech101"]
    assert found["run"]["name"] == f"{Path(folder).name}-{Path(name).name}"


@pytest.mark.parametrize("folder", SETS)
def test_the_offline_data_is_what_its_recipes_say(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = yaml.safe_load((ROOT / "recipes" / folder / "offline.yaml").read_text(encoding="utf-8"))
    if not (ROOT / overlay["data"]["path"]).is_file():
        pytest.skip(f"there is no {overlay['data']['path']}")
    monkeypatch.chdir(ROOT)
    for name in [name for name in WHOLE if str(Path(name).parent) == folder and Path(name).name in ("lora", "descriptions")]:
        found = config(name, f"{folder}/offline")
        options = {key: value for key, value in found["data"].items() if key not in ("path", "seed")}
        data = ImageTextData(found["data"]["path"], needs=["pairs"], **options)
        data.setup()
        assert min(data.counts.values()) >= 10
        if (ROOT / "recipes" / folder / "descriptions.json").is_file():
            texts, note = read_descriptions(f"recipes/{folder}/descriptions.json", data.class_names)
            assert (len(texts), note) == (len(data.class_names), "")
        if folder == "art/emoji_styles":  # no style of the test is in training, nor any name that nano has seen
            styles = {split: {style for part in data.splits[split] for style in part.values("style")} for split in data.splits}
            assert styles["test"] == {"flat", "line"}
            assert styles["train"].isdisjoint(styles["test"] | styles["validation"])
            assert {value for parts in data.splits.values() for part in parts for value in part.values("split")} == {"validation", "test"}


@pytest.mark.parametrize("folder", [folder for folder in SETS if (ROOT / "recipes" / folder / "described.yaml").is_file()])
def test_descriptions_take_the_templates_place(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = config(f"{folder}/lora", f"{folder}/described")
    assert found["data"]["templates"] == "a photo of a {}."
    told = json.loads(here_or_shipped(found["data"]["descriptions"]).read_text(encoding="utf-8"))
    assert all(len(sentences) >= 3 for sentences in told.values())
    ImageTextData("digits", needs=["classes"], descriptions=found["data"]["descriptions"])  # templates and descriptions go together


def test_a_name_may_be_cut_short_from_the_front_as_long_as_it_tells_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file = ROOT / "recipes" / "medical" / "ham10000" / "lora.yaml"
    for name in ("recipes/medical/ham10000/lora", "medical/ham10000/lora", "ham10000/lora", "ham10000/lora.yaml"):
        found = shipped_config(name)
        assert found is not None
        assert found.samefile(file)
    assert shipped_recipe("flyp") is None  # of several data sets
    assert shipped_recipe("10000/lora") is None  # no whole word
    assert shipped_config("lora") == ROOT / "configs" / "lora.yaml"  # a config goes first
    assert here_or_shipped("recipes/medical/bccd/descriptions.json").is_file()
    assert not here_or_shipped("descriptions.json").is_file()


def test_a_recipe_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^config ham1000/lora: there is no such file\. Did you mean ham10000/lora"):
        config("ham1000/lora")
    with pytest.raises(DataError, match=r"^descriptions recipes/nothing\.json: there is no such file"):
        read_descriptions("recipes/nothing.json", ["a"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("medical", "config medical is a domain, not a recipe. Its recipes: bccd/flyp, bccd/full, "),
        ("games/dcss_tiles", "config games/dcss_tiles is a data set, not a recipe. Its recipes: dcss_tiles/descriptions, "),
        ("your-own", "config your-own is a data set, not a recipe. Its recipes: your-own/folder, your-own/table."),
        (
            "bccd/described",
            "config bccd/described is an overlay, which changes a recipe and is none. "
            "Give one before it: --config recipes/medical/bccd/lora --config recipes/medical/bccd/described",
        ),
    ],
)
def test_what_is_no_recipe_says_what_it_is(name: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        config(name)
    assert str(error.value).startswith(told)
    assert "/offline" not in str(error.value)


def test_every_overlay_names_what_it_is_laid_over() -> None:
    for name in RECIPES:
        below = laid_over(ROOT / "recipes" / f"{name}.yaml")
        assert bool(below) == (name not in WHOLE)
        assert not below or below.endswith(f" --config recipes/{name}")


def test_data_that_is_not_there_is_told_with_where_it_is_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "deep" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    assert main(["recipes", "copy", "bccd", "bccd"]) == 0
    lost = f"DataError: data path bccd/table.csv: there is no table.csv in {here / 'bccd'}."  # and no "Did you mean table.py?"
    unshipped = f"there is no shared in {tmp_path / 'deep'}. This data does not come with cliptune: name data of your own"
    for names, expected in (
        (["bccd/lora"], f"{lost} It is made by table.py: see the card, cliptune recipes show bccd.\n"),
        (["bccd/lora.yaml"], f"{lost} It is made by bccd/table.py: see bccd/README.md.\n"),
        (["bccd/lora", "bccd/offline"], f"DataError: data path ../shared/data/bccd_cells/data.parquet: {unshipped}"),
    ):
        capsys.readouterr()
        words = [word for name in names for word in ("--config", name)]
        assert main(["fit", *words, "--model.backbone.name", "nano", "--model.backbone.pretrained", "random"]) == 2
        assert capsys.readouterr().err.startswith(expected)
    for path, told in (
        ("covid-chestxray-dataset/images/metadata.csv", "It is to be fetched: see the card, cliptune recipes show covid_cxr."),
        ("elsewhere.csv", ""),
    ):
        assert data_source(path, ["fit", "--config", "covid_cxr/lora"]) == told


def test_recipes_and_configs_travel_in_the_wheel() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert build["wheel"]["force-include"] == {"configs": "cliptune/configs", "recipes": "cliptune/recipes"}
    assert {"configs", "recipes"} <= set(build["sdist"]["include"])
    assert set(shipped_recipes()) == set(RECIPES)


@pytest.mark.parametrize("card", CARDS)
def test_cards_name_what_there_is(card: str) -> None:
    text = (ROOT / card).read_text(encoding="utf-8")
    for name in re.findall(r"--config ([\w./-]+)", text):
        if not name.endswith(".yaml"):
            assert shipped_recipe(name) is not None or shipped_config(name) is not None, name
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert ((ROOT / card).parent / link).is_file(), link
    for folder in re.findall(r"<!-- results (\S+) -->", text):
        assert folder in SETS
    if "medical" in card:
        assert text.index("No diagnostic device") < 100
    if card.count("/") == 2 and "your-own" not in card:
        assert {folder for folder in SETS if folder.startswith(card.split("/")[1])} == set(re.findall(r"<!-- results (\S+) -->", text))


# The command


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
