"""What every method must keep, on every family of backbones: the invariants of docs/architecture.md.

A method is found by its config in configs/; nothing here names one.
"""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from conftest import classes_for, images_for

import cliptune
from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.methods.base import Method
from cliptune.module import AdaptModule
from cliptune.objectives import Contrastive

CONFIGS = Path(__file__).parents[1] / "configs"
METHODS = [file.stem for file in sorted(CONFIGS.glob("*.yaml")) if file.stem not in ("digits",)]
TEXTS = ["a photo of the number: one.", "seven", "a cat"]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    """The method of each config, as the config sets it."""
    part = yaml.safe_load((CONFIGS / f"{request.param}.yaml").read_text(encoding="utf-8"))["model"]["method"]
    part = {"class_path": part} if isinstance(part, str) else part
    made: Method = getattr(cliptune, part["class_path"])(**part.get("init_args", {}))
    return made


def fitted(backbone: Backbone, method: Method, folder: Path) -> AdaptModule:
    """Train three steps on the digits."""
    data = ImageTextData(batch_size=8, workers=0, preprocess=backbone.preprocess)
    module = AdaptModule(backbone, method, Contrastive(), lambda params: torch.optim.AdamW(params, lr=1e-3))
    trainer = L.Trainer(max_steps=3, limit_val_batches=0, accelerator="cpu", logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder)  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "run.ckpt")
    return module


@torch.no_grad()
def rows(backbone: Backbone, method: Method) -> tuple[torch.Tensor, torch.Tensor]:
    backbone.eval()
    method.eval()
    tokens = backbone.preprocess.tokenize(TEXTS)
    return method.image_rows(backbone, images_for(backbone, 3)), method.text_rows(backbone, tokens)


def test_before_training_it_scores_as_the_untouched_clip(backbone: Backbone, method: Method) -> None:
    images, tokens = images_for(backbone, 3), backbone.preprocess.tokenize(TEXTS)
    with torch.no_grad():
        expected = backbone.encode_image(images), backbone.encode_text(tokens)
    method.attach(backbone, classes_for(backbone))
    for found, wanted in zip(rows(backbone, method), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)  # torch takes another kernel where nothing learns


def test_what_is_declared_learns_and_nothing_else(backbone: Backbone, method: Method, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    module = fitted(backbone, method, tmp_path)
    learned = set(method.learned(backbone))
    assert learned
    for name, value in backbone.state_dict().items():
        if name not in learned:
            assert torch.equal(value, before[name]), f"{name} is frozen and changed"
    named = dict(backbone.named_parameters())
    unused = {"mask_token"}  # timm's, for pretraining by masking
    for name in learned & set(named):
        same = torch.equal(named[name], before[name])
        assert not same or name.rpartition(".")[2] in unused, f"{name} learns and did not change"
    assert {p for group in module.trainer.optimizers[0].param_groups for p in group["params"]} == {
        p for p in module.parameters() if p.requires_grad
    }


def test_saved_and_rebuilt_its_rows_are_equal(backbone: Backbone, method: Method, tmp_path: Path) -> None:
    fitted(backbone, method, tmp_path)
    found = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert set(found["state_dict"]) == {f"backbone.{n}" for n in method.learned(backbone)} | {f"method.{n}" for n in method.state_dict()}
    backbone.requires_grad_(False)  # as in the loaded one; torch takes another kernel where something may learn
    loaded = cliptune.load(tmp_path / "run.ckpt")
    for again, before in zip(rows(loaded.backbone, loaded.method), rows(backbone, method), strict=True):
        assert torch.equal(again, before)


def test_a_method_config_runs_on_what_ships(method: Method) -> None:
    nano: Any = Backbone("nano")
    method.attach(nano, classes_for(nano))
    assert method.groups(nano)
