"""The recipes: each one parses, alone and with its folder's overlays; cards name what there is; all of them travel in the wheel."""

import json
import re
from pathlib import Path

import pytest
import tomllib
import yaml
from recipe_names import RECIPES, ROOT, SETS, WHOLE, config

from cliptune.data.images import ImageTextData
from cliptune.data.texts.descriptions import read_descriptions
from cliptune.errors import ConfigError, DataError
from cliptune.main import main
from cliptune.shipped import data_source, here_or_shipped, laid_over, shipped_config, shipped_recipe, shipped_recipes

CARDS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "recipes").rglob("README.md"))
SHARED = ROOT.parent / "shared" / "data"


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
        assert folder in (*SETS, "recipe_cost")  # the second is of benchmarks/page.py
    if "medical" in card:
        assert text.index("No diagnostic device") < 100
    if card.count("/") == 2 and "your-own" not in card:
        assert {folder for folder in SETS if folder.startswith(card.split("/")[1])} == set(re.findall(r"<!-- results (\S+) -->", text))


# The command
