"""The way from zero-shot to adapted: its scores are those of each blend alone, and the share is chosen by the stated rule."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from adapted_runs import METHODS, adapted_run
from conftest import pixels
from PIL import Image

import cliptune
from cliptune import ImageTextData
from cliptune.blend import SHARES, Blend
from cliptune.curve import alpha_curve, format_of, lines_of
from cliptune.guard_sets import guard_sets
from cliptune.guards import Guards, opened
from cliptune.preprocess import Preprocess
from cliptune.rescore import score

NAMES = ["red", "blue", "green"]
FEW = 8


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with two labels each: the one to learn, and other words."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for i in range(36):
        Image.fromarray(pixels(40, 40, seed=i)).save(folder / f"{i}.png")
        split = ("train", "validation", "test")[i % 3]
        rows.append({"image": f"{i}.png", "colour": NAMES[i // 3 % 3], "kind": ("cat", "dog", "red panda")[i // 3 % 3], "split": split})
    pd.DataFrame(rows).to_json(folder / "table.jsonl", orient="records", lines=True)
    return folder / "table.jsonl"


def target(model: cliptune.AdaptedCLIP, table: Path) -> ImageTextData:
    chosen: dict[str, Any] = {"label_column": "colour", "templates": ["a photo of a {}."], "batch_size": 4, "workers": 0}
    data = ImageTextData(str(table), preprocess=model.backbone.preprocess, needs="classes", **chosen)
    data.setup()
    return data


def guarding(model: cliptune.AdaptedCLIP, table: Path) -> Guards:
    """Of the test split the other words, without a trainer."""
    guards = Guards(guard_sets({"path": str(table), "label_column": "kind", "name": "kinds", "images": FEW}))
    guards.fixed = {name: opened(name, one, model.backbone, guards.room) for name, one in guards.sets.items()}
    return guards


@pytest.mark.parametrize("method", ["full", "lora", "dora", "probe"])
def test_a_curve_has_the_scores_of_each_blend_alone_and_leaves_the_model_as_it_was(
    tiny: dict[str, str], table: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapted_run(tiny["vit"], METHODS[method](), tmp_path / "run", names=NAMES, amount=0.3)
    model = cliptune.load(run)
    data, guards = target(model, table), guarding(model, table)
    held = {name: value.clone() for part in (model.backbone, model.method) for name, value in part.state_dict().items()}
    decoded: list[int] = []
    decode = Preprocess.decode
    monkeypatch.setattr(Preprocess, "decode", lambda *arguments: decoded.append(0) or decode(*arguments))
    told, why = alpha_curve(model, data, guards)
    assert told is not None, why
    assert len(decoded) == sum(told["images"].values()) == len(data.rows("validation")) + FEW  # once for all points
    now = {name: value for part in (model.backbone, model.method) for name, value in part.state_dict().items()}
    assert all(torch.equal(value, held[name]) for name, value in now.items())
    assert told["shares"] == list(SHARES)
    assert told["monitor"] == "top1"
    alone = cliptune.load(run)
    assert told["validation"][10] == pytest.approx(score(alone, data, "validation").score, abs=1e-6)
    assert told["validation"][0] == pytest.approx(score(cliptune.loading.untouched_of(alone), data, "validation").score, abs=1e-6)
    if method != "dora":
        Blend(alone).set(0.5)
        assert told["validation"][5] == pytest.approx(score(alone, data, "validation").score, abs=1e-6)
    assert method != "full" or len(set(told["validation"])) > 1
    assert method != "probe" or len(set(told["guards"]["kinds"])) == 1  # its rows say nothing of other classes' names


def test_the_share_is_chosen_by_validation_or_with_the_guards_where_these_have_a_say(
    tiny: dict[str, str], table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], METHODS["probe"](), tmp_path / "run", names=NAMES))
    data, guards = target(model, table), guarding(model, table)
    won = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6, 0.5, 0.4, 0.3]
    kept = [0.5, 0.5, 0.5, 0.45, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    between = [0.35, 0.5, 0.36, 0.5, 0.37, 0.4]  # 0.225, 0.25 and 0.275
    scores = iter([score for pair in zip(won, kept, strict=True) for score in pair] * 3 + between)
    original = cliptune.fixed.Fixed.score

    def scripted(*arguments: Any) -> Any:
        return original(*arguments)._replace(score=next(scores))

    monkeypatch.setattr(cliptune.fixed.Fixed, "score", scripted)
    told, _ = alpha_curve(model, data, guards, images=FEW)
    assert told is not None
    assert (told["validation"], told["guards"]["kinds"], told["chosen"]) == (won, kept, 0.5)
    assert told["rule"] == "best top1 on validation; of equals the one nearest to zero-shot"
    assert told["images"] == {"validation": FEW, "kinds": FEW}
    balanced, _ = alpha_curve(model, data, guards, images=FEW, balanced=True)
    assert balanced is not None
    assert balanced["chosen"] == 0.3  # (0.4 + 0.45) / 2; at 0.5 (0.6 + 0.1) / 2
    assert "mean of top1 on validation and the guards' mean score" in balanced["rule"]
    keeping, _ = alpha_curve(model, data, guards, images=FEW, keep=0.95)
    assert keeping is not None
    assert keeping["chosen"] == 0.25
    assert keeping["shares"][2:7] == [0.2, 0.225, 0.25, 0.275, 0.3]
    assert keeping["validation"][2:7] == [0.3, 0.35, 0.36, 0.37, 0.4]
    assert keeping["guards"]["kinds"][2:7] == [0.5, 0.5, 0.5, 0.4, 0.45]
    assert keeping["rule"] == "best top1 on validation, of those that keep 95% of each guard; of equals the one nearest to zero-shot"
    monkeypatch.setattr(cliptune.fixed.Fixed, "score", original)
    watched, _ = alpha_curve(model, data, guards, images=FEW, monitor="mean_per_class")
    assert watched is not None
    assert watched["rule"] == "best mean_per_class on validation; of equals the one nearest to zero-shot"
    whole, _ = alpha_curve(model, data, guards)
    for one in ("nll", "score"):  # less is better, or no metric
        found, _ = alpha_curve(model, data, guards, monitor=one)
        assert found == whole
    first, second = lines_of(told, Path("runs/x"), format_of(model))
    assert "share 0.5 is chosen" in first
    assert "validation top1 0.6000 (0.3000 adapted), guard kinds 0.1000 (0.1000 adapted)" in first
    assert second.endswith("cliptune export runs/x --format classifier --blend 0.5")


def test_without_a_way_back_there_is_no_curve_and_why_is_told(tiny: dict[str, str], table: Path, tmp_path: Path) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], METHODS["image_prompts"](), tmp_path / "run", names=NAMES))
    assert alpha_curve(model, target(model, table)) == (None, "PromptTuning's image prompts have no straight way back to zero-shot.")
