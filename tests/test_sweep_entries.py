"""What a sweep compares: built-in entries keep what the recipe says of the same method; files bring entries of their own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cliptune.commands.sweep import recipes_of
from cliptune.errors import ConfigError
from cliptune.quiet import quiet
from cliptune.sweep.entries import ALL, BUILT_IN, entries_of, over

WEIGHED = {"class_path": "CrossEntropy", "init_args": {"class_weights": "balanced"}}


def model_of(name: str, recipe: dict[str, Any]) -> Any:
    return entries_of(name, [{"model": recipe}])[0].over["model"]


def test_all_are_the_built_in_ones_for_classes() -> None:
    assert [entry.name for entry in entries_of("all", [{}])] == list(ALL)
    assert set(BUILT_IN) - set(ALL) == {"lora_contrastive"}
    assert [entry.name for entry in entries_of("LoRA, linear-probe", [{}])] == ["lora", "linear_probe"]


def test_a_built_in_entry_keeps_the_recipes_arguments_of_its_own_method() -> None:
    recipe = {"method": {"class_path": "LoRA", "init_args": {"rank": 16}}, "objective": WEIGHED}
    assert model_of("lora", recipe) == {"method": {"class_path": "LoRA", "init_args": {"rank": 16}}, "objective": WEIGHED}
    assert model_of("full", recipe) == {"method": {"class_path": "Full", "init_args": {}}, "objective": WEIGHED}
    assert model_of("flyp", recipe)["objective"] == {"class_path": "Contrastive"}


def test_a_sum_that_holds_the_objective_is_kept() -> None:
    both = {"class_path": "Sum", "init_args": {"parts": ["CrossEntropy", {"class_path": "FeatureDistillation"}], "weights": [1, 1]}}
    assert model_of("lora", {"objective": both})["objective"] == both
    assert model_of("flyp", {"objective": both})["objective"] == {"class_path": "Contrastive"}


def test_a_probe_is_solved_where_the_objective_is_cross_entropy_alone() -> None:
    plain = model_of("linear_probe", {"objective": "CrossEntropy"})["method"]["init_args"]
    assert plain == {"solver": "lbfgs", "start": "text"}
    assert model_of("linear_probe", {"objective": WEIGHED})["method"]["init_args"] == plain
    both = {"class_path": "Sum", "init_args": {"parts": ["CrossEntropy", {"class_path": "FeatureDistillation"}], "weights": [1, 1]}}
    assert model_of("linear_probe", {"objective": both})["method"]["init_args"]["solver"] == "sgd"
    own = {"method": {"class_path": "cliptune.LinearProbe", "init_args": {"solver": "sgd", "start": "zero"}}, "objective": "CrossEntropy"}
    assert model_of("linear_probe", own)["method"]["init_args"] == {"solver": "sgd", "start": "text"}
    assert model_of("linear_probe_zero", own)["method"]["init_args"] == {"solver": "sgd", "start": "zero", "penalty": "rows"}


def test_later_configs_win() -> None:
    first, second = {"model": {"method": {"class_path": "LoRA", "init_args": {"rank": 2}}}}, {"model": {"method": "LoRA"}, "data": None}
    assert entries_of("lora", [first, second])[0].over["model"]["method"]["init_args"] == {}


@pytest.mark.usefixtures("elsewhere")
def test_a_file_has_entries_of_its_own() -> None:
    entries = {
        "lora": {"model": {"optimizer": {"lr": 1}}},
        "r16": {"model": {"method": {"class_path": "LoRA"}}},
        "full": None,
        "low": {"data": {"flip": 0}},
    }
    Path("e.yaml").write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    found = {entry.name: entry.over for entry in entries_of("linear_probe,e.yaml", [{}])}
    assert list(found) == ["linear_probe", "lora", "r16", "full", "low"]
    assert found["lora"]["model"] == {**over(BUILT_IN["lora"], {})["model"], "optimizer": {"lr": 1}}
    assert found["r16"] == entries["r16"]
    assert found["full"] == over(BUILT_IN["full"], {})
    assert found["low"] == entries["low"]
    own = {"model": {"method": "LoRA", "objective": WEIGHED, "compile": True}}
    found = {entry.name: entry.over for entry in entries_of("e.yaml", [own])}
    assert found["low"] == {"model": {"method": "LoRA", "objective": WEIGHED}, **entries["low"]}  # type: ignore[dict-item]
    assert found["r16"]["model"] == {"method": {"class_path": "LoRA"}, "objective": WEIGHED}


BAD = {
    "- lora": "is no map of entries",
    "a/b: {}": "names folders",
    "x: 3": "must be keys of a config",
    "lorra:": "says nothing. Did you mean lora",
    "x: [": "is not valid YAML",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_file_is_one_line(text: str, elsewhere: None) -> None:
    Path("e.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        entries_of("e.yaml", [{}])
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_entry_gets_arguments_of_the_recipes_other_method(config: Path) -> None:
    quiet()
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    values["model"] |= {"method": {"class_path": "LoRA", "init_args": {"rank": 16, "towers": "image"}}, "objective": WEIGHED}
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    entries = entries_of(",".join(BUILT_IN), [values])
    for name, text in recipes_of(
        ["fit", f"--config={config}", "--data.workers", "0"], {str(config): values}, entries, Path("made")
    ).items():
        found, kind = yaml.safe_load(text)["model"], BUILT_IN[name]
        arguments = found["method"]["init_args"]
        assert found["method"]["class_path"].endswith(kind.method)
        assert found["objective"]["class_path"].endswith(kind.objective)
        if kind.method == "LoRA":
            assert (arguments["rank"], arguments["towers"]) == (16, "image")
        else:
            assert arguments.get("towers") == {"Full": "both", "PromptTuning": "text"}.get(kind.method)
        assert found["objective"]["init_args"].get("class_weights", "balanced") == "balanced"
        assert found["optimizer"]["init_args"]["lr"] == 0.001
