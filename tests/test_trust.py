"""Recipes of anybody and of any version: what is of another kind is refused by name, and no word of theirs breaks a message's line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import adapted_run
from small import error_of, run

import cliptune
from cliptune import LoRA
from cliptune import checkpoint as C
from cliptune.described import completed
from cliptune.errors import CheckpointError

Change = Callable[[dict[str, Any]], object]
RECIPE = ("backbone", "base_fingerprint", "method", "objective", "class_names", "class_texts")
ODD = ["x\ny", "\x1b[31mred", "a" * 5000, 5, None, ["a"], {"a": 1}]


@pytest.fixture(scope="module")
def saved(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A LoRA's checkpoint."""
    folder = adapted_run(tiny["vit"], LoRA(rank=2), tmp_path_factory.mktemp("saved") / "run")
    return C.read(folder / "checkpoints" / "best.ckpt")


def refusal(saved: dict[str, Any], file: Path, change: Change) -> str:
    """What loading a changed copy says; empty where it loads."""
    torch.save(saved, file)
    content = torch.load(file, weights_only=True)
    change(content)
    torch.save(content, file)
    try:
        cliptune.load(file)
    except CheckpointError as error:
        return str(error)
    return ""


def put(value: Any, *path: Any) -> Change:
    """Set one value of a checkpoint."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:9])
def test_no_odd_value_runs_breaks_the_line_or_is_a_bug(saved: dict[str, Any], tmp_path: Path, value: Any) -> None:
    """Wherever it stands: an exception of another kind would come through."""
    first = next(iter(saved["state_dict"]))
    name = value if isinstance(value, str) else 5
    places = [
        *(put(value, "cliptune", key) for key in (*RECIPE, "format", "version", "templates")),
        *(put(value, "cliptune", part, key) for part in ("backbone", "method", "objective") for key in ("class", "arguments")),
        *(put(value, "cliptune", "backbone", "arguments", key) for key in ("name", "pretrained", "image_size", "patch_dropout")),
        *(put(value, "cliptune", "method", "arguments", key) for key in ("rank", "alpha", "layers", "targets", "towers")),
        put(f"cliptune.methods.lora.{value}", "cliptune", "method", "class"),
        put(1, "cliptune", "method", "arguments", name),
        put(torch.ones(1), "state_dict", name),
        put(value, "state_dict", first),
        put(value, "state_dict"),
        put(value, "cliptune"),
        lambda content: content["cliptune"].update(format=99, version=value),
    ]
    said = [refusal(saved, tmp_path / "a.ckpt", change) for change in places]
    assert all(len(line.splitlines()) <= 1 and "\x1b" not in line and len(line) < 1500 for line in said)
    assert sum(map(bool, said)) > len(said) - 8  # None and 5 are right in some places


CASES: dict[str, tuple[Change, str]] = {
    "a recipe of another kind": (put([1], "cliptune", "class_names"), r"it has no such class_names as cliptune writes\. Give one"),
    "a class without texts": (put([["a"], ["b", "c"], []], "cliptune", "class_texts"), "it has no such class_texts"),
    "texts of fewer classes": (put([["a"]], "cliptune", "class_texts"), "it has no such class_texts"),
    "state of words": (put("a", "state_dict", "x"), "it has no such state_dict"),
    "a module that runs when it is imported": (put("cliptune.__main__.X", "cliptune", "method", "class"), "which is no part of a model"),
    "a script of ours": (
        put("cliptune.export.readers.read_peft.X", "cliptune", "method", "class"),
        r"names cliptune\.export\.readers\.read_peft\.X, which is no part of a model",
    ),
    "another part": (put("cliptune.methods.lora.Backbone", "cliptune", "method", "class"), "this version's Backbone does not fit"),
    "an abstract part": (put({"class": "cliptune.methods.base.Method", "arguments": {}}, "cliptune", "method"), "makes no model"),
    "a million parts": (
        put(
            {
                "class": "cliptune.objectives.sum.Sum",
                "arguments": {"parts": [{"class": "cliptune.objectives.l2sp.L2SP", "arguments": {"strength": 0.1}}] * 10_001},
            },
            "cliptune",
            "objective",
        ),
        r"has parts 10,001, and cliptune counts to 10,000 there|unfolds to more than",
    ),
    "many words": (
        put(
            {"class": "cliptune.methods.prompt_tuning.PromptTuning", "arguments": {"init": "random", "words": 10**9}}, "cliptune", "method"
        ),
        r"has words 1,000,000,000, and cliptune counts to 10,000 there",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_named(saved: dict[str, Any], tmp_path: Path, case: str) -> None:
    before = set(sys.modules)
    change, message = CASES[case]
    with pytest.raises(CheckpointError, match=message):
        raise CheckpointError(refusal(saved, tmp_path / "a.ckpt", change))
    assert not {name for name in set(sys.modules) - before if name.startswith(("cliptune.__main__", "cliptune.export.readers"))}


VERSIONED: dict[str, Change] = {
    "class": put("cliptune.methods.lora.LoRAs", "cliptune", "method", "class"),
    "argument": put(1, "cliptune", "method", "arguments", "warp"),
    "weights": put("0123456789abcdef", "cliptune", "base_fingerprint"),
    "state": put(torch.ones(1), "state_dict", "x"),
    "recipe": lambda content: content["cliptune"].pop("class_names"),
    "value": put("many", "cliptune", "method", "arguments", "rank"),
    "rule": put("sideways", "cliptune", "method", "arguments", "towers"),
}


@pytest.mark.parametrize("case", VERSIONED)
def test_a_refusal_says_which_version_wrote_it_and_which_reads(saved: dict[str, Any], tmp_path: Path, case: str) -> None:
    told = f" It was written by cliptune 0.0.7, and this is {cliptune.__version__}."
    for version in ("0.0.7", cliptune.__version__):
        said = refusal(
            saved, tmp_path / "a.ckpt", lambda content, v=version: (content["cliptune"].update(version=v), VERSIONED[case](content))
        )  # type: ignore[misc]
        assert said
        assert said.endswith(told) == (version == "0.0.7")


def test_an_argument_that_there_was_not_yet_has_its_default(saved: dict[str, Any]) -> None:
    whole = saved["cliptune"]["method"]
    old = {**whole, "arguments": {key: value for key, value in whole["arguments"].items() if key not in ("variant", "lr_factor")}}
    assert completed(old) == whole
    parts = [{"class": "cliptune.objectives.contrastive.Contrastive", "arguments": {}}]
    inner = completed({"class": "cliptune.objectives.sum.Sum", "arguments": {"parts": parts}})["arguments"]
    assert (inner["weights"], inner["parts"][0]["arguments"]["positives"]) == (None, "each")


# At the command line, where Lightning restores more of a checkpoint than the model


STATES: dict[str, Change] = {
    "no loops": lambda content: content.pop("loops"),
    "odd loops": put({"fit_loop": 5}, "loops"),
    "no step": lambda content: content.pop("global_step"),
    "odd data": put({"epoch": "many"}, "ImageTextData"),
    "odd callbacks": lambda content: [content["callbacks"].update({key: {"a": 1}}) for key in content["callbacks"]],
    "odd optimizer": put([{"state": 5}], "optimizer_states"),
    "another optimizer's groups": put([{"state": {}, "param_groups": []}], "optimizer_states"),
    "no version of Lightning": lambda content: content.pop("pytorch-lightning_version"),
}


@pytest.mark.parametrize("names", [["no step", "odd data"], pytest.param(list(STATES), marks=pytest.mark.slow)], ids=["some", "all"])
def test_states_that_lightning_cannot_take_are_one_line(config: Path, capsys: pytest.CaptureFixture[str], names: list[str]) -> None:
    words = ["--config", str(config), "--run.pictures", "false", "--run.baseline", "false"]
    run("fit", *words, "--trainer.max_epochs", "1")
    last = Path("runs/small/checkpoints/last.ckpt")
    for name in names:
        content = torch.load(last, weights_only=True)
        STATES[name](content)
        torch.save(content, "odd.ckpt")
        said = error_of(capsys, "fit", *words, "--trainer.max_epochs", "2", "--ckpt_path", "odd.ckpt")
        assert "odd.ckpt cannot be restored: its state" in said or "odd.ckpt cannot be trained on with: it lacks" in said, (name, said)
        if name == "odd data":  # the only one of these that use alone looks at
            assert "odd.ckpt cannot be restored" in error_of(capsys, "test", *words, "--ckpt_path", "odd.ckpt")
