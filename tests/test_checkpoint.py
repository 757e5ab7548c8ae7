"""Checkpoints: only what learned plus a recipe, plain data, rebuilt to equal rows, and refused where they do not fit."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, Code, images_for, write_model
from torch import Tensor

from cliptune import checkpoint as C
from cliptune.backbone import Backbone
from cliptune.errors import CheckpointError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.base import Objective
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy

TEXTS = ["a photo of a cat", "a dog"]


def adapted(backbone: Backbone, objective: Objective | None = None, **arguments: Any) -> AdaptModule:
    """A module after one step of training, in evaluation mode."""
    module = attached(backbone, objective, **arguments)
    module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.01)
    (1 - rows(module)[0] @ rows(module)[1].T).mean().backward()
    optimizer.step()
    return module.eval()


def attached(backbone: Backbone, objective: Objective | None = None, **arguments: Any) -> AdaptModule:
    module = AdaptModule(backbone, Full(**arguments), objective or Contrastive())
    module.attach(ClassTexts(["cat", "dog"], [["a cat."], ["a dog."]], backbone.preprocess))
    return module


def rows(module: AdaptModule) -> tuple[Tensor, Tensor]:
    tokens = module.preprocess.tokenize(TEXTS)
    return module.method.image_rows(module.backbone, images_for(module.backbone, 3)), module.method.text_rows(module.backbone, tokens)


def save(module: AdaptModule, file: Path) -> dict[str, Any]:
    """Write a checkpoint as the trainer does."""
    content: dict[str, Any] = {"state_dict": module.state_dict(), "global_step": 1}
    module.on_save_checkpoint(content)
    torch.save(content, file)
    return content


@torch.no_grad()
def check_equal_rows(module: AdaptModule, backbone: Backbone, method: Any) -> None:
    again = AdaptModule(backbone, method, Contrastive()).eval().requires_grad_(False)
    module.requires_grad_(False)  # PyTorch's attention takes another way, a last bit apart, where anything could learn
    for found, expected in zip(rows(again), rows(module), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(backbone.logit_scale, module.backbone.logit_scale)


@pytest.fixture(scope="module")
def saved(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT's checkpoint; read-only."""
    file = tmp_path_factory.mktemp("saved") / "a.ckpt"
    save(adapted(Backbone(tiny["vit"])), file)
    return file


# What is kept


@pytest.mark.parametrize("arguments", [{}, {"towers": "text"}, {"towers": "image", "train_last": 1}], ids=str)
def test_it_holds_what_learned_and_rebuilds_equal_rows(backbone: Backbone, tmp_path: Path, arguments: dict[str, Any]) -> None:
    module = adapted(backbone, **arguments)
    save(module, tmp_path / "a.ckpt")
    content = C.read(tmp_path / "a.ckpt")
    learning = {f"backbone.{name}" for name, p in backbone.named_parameters() if p.requires_grad}
    buffers = set(content["state_dict"]) - learning
    assert learning <= set(content["state_dict"])
    assert all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in buffers)
    rebuilt = C.rebuild(content)
    assert not any(p.requires_grad for part in rebuilt for p in part.parameters())
    assert not any(part.training for part in rebuilt)
    check_equal_rows(module, *rebuilt)


def test_a_frozen_towers_weights_are_not_in_the_file(vit: Backbone, tmp_path: Path) -> None:
    for name, arguments in {"all": {}, "head": {"train_last": 0}}.items():
        save(attached(vit, **arguments), tmp_path / name)
    assert (tmp_path / "head").stat().st_size < (tmp_path / "all").stat().st_size / 50


def test_the_recipe_is_plain_and_the_file_loads_with_weights_only(vit: Backbone, tmp_path: Path) -> None:
    module = attached(vit, Contrastive(("image", "caption")), layer_decay=np.float64(0.5), train_last=2)
    module.classes.names = [np.str_("cat"), "dog"]
    save(module, tmp_path / "a.ckpt")
    found = torch.load(tmp_path / "a.ckpt", weights_only=True)["cliptune"]
    assert json.loads(json.dumps(found)) == found
    assert (found["method"]["arguments"]["layer_decay"], found["method"]["arguments"]["train_last"]) == (0.5, 2)
    assert found["objective"]["arguments"] == {"same": ["image", "caption"], "positives": "each", "label_smoothing": 0.0}
    assert (found["class_names"], found["class_texts"]) == (["cat", "dog"], [["a cat."], ["a dog."]])
    assert found["base_fingerprint"] == Backbone(vit.name).fingerprint()
    assert found["preprocess"]["mean"] == [0.5, 0.4, 0.3]


def test_the_base_fingerprint_is_that_of_before_training(vit: Backbone) -> None:
    before = vit.fingerprint()
    module = adapted(vit)
    assert C.recipe(module)["base_fingerprint"] == before != vit.fingerprint()


def test_a_clip_that_started_from_random_weights_is_kept_whole(tiny: dict[str, str], tmp_path: Path) -> None:
    module = adapted(Backbone(tiny["rn50"], "random"), train_last=1)
    save(module, tmp_path / "a.ckpt")
    content = C.read(tmp_path / "a.ckpt")
    assert set(content["state_dict"]) == {f"backbone.{name}" for name in module.backbone.state_dict()}
    check_equal_rows(module, *C.rebuild(content))
    other = attached(Backbone(tiny["rn50"], "random"), train_last=1)  # other random weights
    other.load_learned(tmp_path / "a.ckpt")
    check_equal_rows(module, other.backbone.eval(), other.method)


# Resuming


def test_it_is_put_back_into_a_module_like_its_own(tiny: dict[str, str], backbone: Backbone, family: str, tmp_path: Path) -> None:
    module = adapted(backbone, train_last=1)
    save(module, tmp_path / "a.ckpt")
    again = attached(Backbone(tiny[family]), train_last=1)
    again.load_learned(tmp_path / "a.ckpt")
    check_equal_rows(module, again.backbone.eval(), again.method)


def other_weights(tiny: dict[str, str], tmp_path: Path) -> AdaptModule:
    weights = Path(write_model(tmp_path / "other", CONFIGS["vit"], seed=5).removeprefix("local-dir:"))
    module = attached(Backbone(tiny["vit"]))
    module.base_fingerprint = Backbone(tiny["vit"], str(weights / "open_clip_model.safetensors")).fingerprint()
    return module


OTHERS: dict[str, tuple[Callable[[dict[str, str], Path], AdaptModule], str]] = {
    "backbone": (
        lambda tiny, _: attached(Backbone(tiny["rn50"])),
        r"of another backbone: name '.*vit', not '.*rn50'\. Set it so, or start",
    ),
    "backbone argument": (lambda tiny, _: attached(Backbone(tiny["vit"], patch_dropout=0.5)), r"backbone: patch_dropout None, not 0\.5"),
    "method argument": (lambda tiny, _: attached(Backbone(tiny["vit"]), towers="image"), r"another method: towers 'both', not 'image'"),
    "objective": (lambda tiny, _: attached(Backbone(tiny["vit"]), CrossEntropy()), r"objective: Contrastive, not CrossEntropy\. Set it so"),
    "objective argument": (lambda tiny, _: attached(Backbone(tiny["vit"]), Contrastive(["image"])), r"same \['label', .*, not \['image'\]"),
    "weights": (other_weights, r"trained on other weights of .*vit \([0-9a-f]{16}, not [0-9a-f]{16}\)\. Give the same pretrained weights"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_module_unlike_its_own_is_refused_and_stays_as_it_is(tiny: dict[str, str], saved: Path, tmp_path: Path, case: str) -> None:
    make, message = OTHERS[case]
    module = make(tiny, tmp_path)
    before = module.backbone.fingerprint()
    with pytest.raises(CheckpointError, match=message) as caught:
        module.load_learned(saved)
    with pytest.raises(CheckpointError, match=message):
        module.on_load_checkpoint(C.read(saved))  # what Lightning calls
    assert "\n" not in str(caught.value)
    assert module.backbone.fingerprint() == before


# Refusals


def edit(*path: str, value: Any = None) -> Callable[[dict[str, Any]], None]:
    """Set an entry of a checkpoint, or remove it."""

    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is None:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return change


SCALE = "backbone.model.logit_scale"
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "missing key": (edit("state_dict", SCALE), rf"the checkpoint lacks {SCALE}\. It does not fit this model: give the model"),
    "unknown key": (edit("state_dict", "backbone.lora_a", value=torch.ones(1)), r"has the unknown backbone\.lora_a\."),
    "both": (
        lambda c: (edit("state_dict", SCALE)(c), edit("state_dict", "x", value=torch.ones(1))(c))[0],
        rf"lacks {SCALE} and has the unknown x\.",
    ),
    "shape": (edit("state_dict", SCALE, value=torch.ones(2)), rf"has {SCALE} \(2,\) instead of \(1,\)\. It does not fit"),
    "other weights": (
        edit("cliptune", "base_fingerprint", value="0123456789abcdef"),
        r"other weights of \S+vit \(0123456789abcdef, not [0-9a-f]{16}\)\. Put those back to \S+vit\.",
    ),
    "newer": (
        lambda c: c["cliptune"].update(format=C.FORMAT + 1, version="9.1", backbone="?"),
        r"written by cliptune 9\.1, which is newer than this .*\. Upgrade\.",
    ),
    "no recipe": (edit("cliptune"), r"no checkpoint of cliptune: it holds no recipe\. Weights of a CLIP go into backbone\.pretrained"),
    "half a recipe": (edit("cliptune", "method"), r"is no whole checkpoint of cliptune: it lacks method\. Give one that cliptune wrote"),
    "no weights": (edit("state_dict"), r"it lacks state_dict\."),
    "foreign class": (
        edit("cliptune", "method", "class", value="antigravity.Method"),
        r"names the class antigravity\.Method; only cliptune's own .*load_learned",
    ),
    "later class": (
        edit("cliptune", "method", "class", value="cliptune.methods.full.Fullest"),
        r"has no cliptune\.methods\.full\.Fullest\.",
    ),
    "later argument": (edit("cliptune", "method", "arguments", "warp", value=2), r"this version's Full does not fit: .*'warp'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_checkpoint_is_refused_in_one_line(saved: Path, tmp_path: Path, case: str) -> None:
    content = C.read(saved)
    change, message = CHANGES[case]
    change(content)
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        C.rebuild(C.read(tmp_path / "a.ckpt"))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["random", "empty", "words", "cut", "pickled code", "code in a checkpoint", "a recipe of objects"])
def test_a_file_that_cannot_be_read_is_refused_and_none_of_it_is_run(saved: Path, tmp_path: Path, kind: str) -> None:
    file, content = tmp_path / "a.ckpt", C.read(saved)
    if kind == "code in a checkpoint":
        torch.save({**content, "callbacks": Code(tmp_path / "was run")}, file)
    elif kind == "a recipe of objects":
        torch.save({**content, "cliptune": {**content["cliptune"], "method": Full()}}, file)
    elif kind == "pickled code":
        file.write_bytes(pickle.dumps(Code(tmp_path / "was run")))
    else:
        file.write_bytes(
            {"random": np.random.default_rng(0).bytes(5000), "empty": b"", "words": b"hello"}.get(kind, saved.read_bytes()[:9999])
        )
    with pytest.raises(
        CheckpointError, match=r"a\.ckpt cannot be read as a checkpoint \(\w+\): it is damaged, or .* cliptune wrote\."
    ) as caught:
        C.read(file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    "content", [[1, 2], {"state_dict": {}}, {"cliptune": "yes"}, torch.ones(3)], ids=["list", "weights", "word", "tensor"]
)
def test_what_cliptune_did_not_write_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt is no checkpoint of cliptune: it holds no recipe"):
        C.read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("name", ["nowhere.ckpt", ""])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*\. Give a run folder, or a \.ckpt file"):
        C.read(tmp_path / name)
