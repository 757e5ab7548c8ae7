"""Objects that remember their arguments: as plain data, back again, and never by running foreign code."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cliptune.backbone import Backbone
from cliptune.described import Described, build, plain
from cliptune.errors import CheckpointError
from cliptune.methods.full import Full
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy


def test_it_remembers_arguments_and_defaults_however_they_are_given() -> None:
    found = Full("image", 2, layer_decay=0.5).describe()
    assert found["class"] == "cliptune.methods.full.Full"
    assert found["arguments"] == {
        "towers": "image",
        "train_last": 2,
        "image_lr_factor": 1.0,
        "text_lr_factor": 1.0,
        "layer_decay": 0.5,
        "logit_scale": "learned",
        "logit_scale_max": 100.0,
    }


@pytest.mark.parametrize("part", [Full(train_last=0), Contrastive(("caption", "image")), CrossEntropy(0.1)], ids=lambda p: type(p).__name__)
def test_it_is_made_again_from_its_description(part: Described) -> None:
    description = json.loads(json.dumps(part.describe()))
    again = build(description)
    assert type(again) is type(part)
    assert again.describe() == part.describe() == description


def test_a_backbone_is_made_again_with_its_weights(tiny: dict[str, str]) -> None:
    backbone = Backbone(tiny["vit"], patch_dropout=0.25)
    assert build(backbone.describe()).fingerprint() == backbone.fingerprint()


def test_a_copy_keeps_the_arguments() -> None:
    assert copy.deepcopy(Full(train_last=3)).describe() == Full(train_last=3).describe()


def test_unknown_arguments_are_python_errors() -> None:
    with pytest.raises(TypeError, match="layer_decoy"):
        Full(layer_decoy=0.5)  # type: ignore[call-arg]


def test_what_numpy_torch_and_paths_bring_becomes_plain() -> None:
    found = plain(
        {"a": (np.float64(0.5), np.int64(3)), 7: [Path("x/y"), np.bool_(True)], "c": torch.tensor(2.0), "d": None, "e": np.str_("f")}
    )
    assert found == {"a": [0.5, 3], "7": ["x/y", True], "c": 2.0, "d": None, "e": "f"}
    kinds = [type(value) for value in (*found["a"], *found["7"], found["c"], found["e"])]
    assert kinds == [float, int, str, bool, float, str]


def test_a_foreign_class_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w').close()\nclass Method: pass\n", encoding="utf-8")
    (tmp_path / "cliptune_evil.py").write_text((tmp_path / "foreign.py").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("foreign.Method", "cliptune_evil.Method", "foreign", "cliptune", "", "os.system"):
        with pytest.raises(CheckpointError, match=r"only cliptune's own are built from a checkpoint\. Make the model in code") as caught:
            build({"class": name, "arguments": {}})
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "was run").exists()
    assert not {"foreign", "cliptune_evil"} & sys.modules.keys()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no such module": (
        {"class": "cliptune.methods.later.Later", "arguments": {}},
        r"no cliptune\.methods\.later\.Later\..*another version",
    ),
    "no such class": ({"class": "cliptune.methods.full.Fuller", "arguments": {}}, r"has no cliptune\.methods\.full\.Fuller\."),
    "no part": ({"class": "cliptune.errors.ConfigError", "arguments": {}}, r"ConfigError, which is no part of a model"),
    "a function": ({"class": "cliptune.described.build", "arguments": {}}, r"which is no part of a model"),
    "new argument": (
        {"class": "cliptune.methods.full.Full", "arguments": {"warp": 1}},
        r"this version's Full does not fit: .*'warp'\. The checkpoint is of another version",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_this_version_does_not_have_is_one_line(case: str) -> None:
    description, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=message) as caught:
        build(description)
    assert "\n" not in str(caught.value)
