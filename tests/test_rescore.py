"""A model scored without a trainer, in one state or several."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import adapted_run

import cliptune
import cliptune.inputs
from cliptune import Full
from cliptune.blend import Blend
from cliptune.errors import DataError
from cliptune.preprocess import Preprocess
from cliptune.rescore import data_of, other_data, score, scores


def test_several_states_are_scored_as_each_alone_and_an_image_is_decoded_once(
    tiny: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], Full(), tmp_path / "run", amount=0.1))
    data, way = other_data("digits", model), Blend(model)
    alone = []
    for share in (0.0, 0.5, 1.0):
        way.set(share)
        alone.append(score(model, data, "test"))
    decoded: list[Any] = []
    decode = Preprocess.decode
    monkeypatch.setattr(Preprocess, "decode", lambda *arguments: decoded.append(0) or decode(*arguments))
    together = scores(model, data, "test", [lambda: way.set(0.0), lambda: way.set(0.5), lambda: way.set(1.0)])
    assert together == alone
    assert len({one.score for one in alone}) > 1
    assert len(decoded) == alone[0].evaluated["images"] == 359
    images, labels = zip(*((item.image, item.label) for item in cliptune.inputs.Inputs(["digits@test"])), strict=True)
    classes = data.class_names
    chosen = torch.tensor([classes.index(name) for name in model.classify(images, classes, data.templates).names])
    expected = float((chosen == torch.tensor([classes.index(str(label)) for label in labels])).float().mean())
    assert alone[-1].metrics["top1"] == pytest.approx(expected, abs=1e-6)


def test_data_that_is_not_at_hand_says_why(tiny: dict[str, str], tmp_path: Path) -> None:
    run = adapted_run(tiny["vit"], Full(), tmp_path / "run")
    with pytest.raises(DataError, match=r"has no config\.yaml, so the run's data is not known"):
        data_of(run, cliptune.load(run))
    (run / "config.yaml").write_text("seed_everything: 0\ndata: {path: ./gone.csv}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"the run's data is not at hand: .*there is no gone\.csv"):
        data_of(run, cliptune.load(run))
