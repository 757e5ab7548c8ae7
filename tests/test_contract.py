"""What every method must keep, on every family of backbones: the invariants of docs/architecture.md.

A method is found by its config in configs/; where one refuses a family, the refusal stands in REFUSED and is tested too.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from conftest import ALL_FAMILIES, classes_for, images_for

import cliptune
from cliptune import adapters, attention
from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError
from cliptune.methods.base import ClassTexts, Method
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.base import Objective

CONFIGS = Path(__file__).parents[1] / "configs"
METHODS = [file.stem for file in sorted(CONFIGS.glob("*.yaml")) if file.stem not in ("digits",)]
REFUSED = {("clip_lora", "convnext"): r"match nothing in the image tower \(ConvNeXt\).* Set targets to some of \[mlp, conv\]"}
PAIRS = [(config, family) for config in METHODS for family in ALL_FAMILIES if (config, family) not in REFUSED]
TEXTS = ["a photo of the number: one.", "seven", "a cat"]


def part(config: str, key: str) -> Any:
    """The method or objective of a config, as the config sets it."""
    value = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text(encoding="utf-8"))["model"][key]
    value = {"class_path": value} if isinstance(value, str) else value
    return getattr(cliptune, value["class_path"])(**value.get("init_args", {}))


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each config with each family that its method takes."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def method(pair: tuple[str, str]) -> Method:
    return part(pair[0], "method")  # type: ignore[no-any-return]


@pytest.fixture
def objective(pair: tuple[str, str]) -> Objective:
    return part(pair[0], "objective")  # type: ignore[no-any-return]


@pytest.fixture
def backbone(tiny: dict[str, str], pair: tuple[str, str]) -> Backbone:
    return Backbone(tiny[pair[1]]).eval()


def plain(backbone: Backbone) -> dict[str, torch.Tensor]:
    """The weights below whatever a method has put in, by their original names."""
    below = deepcopy(backbone, {id(backbone.preprocess): backbone.preprocess})
    for name, layer in adapters.layers(below.model).items():
        below.model.set_submodule(name, layer.get_base_layer())
    for tower in below.towers().values():
        attention.fold(tower)
    return below.state_dict()


def fitted(backbone: Backbone, method: Method, objective: Objective, folder: Path, precision: Any = "32-true") -> AdaptModule:
    """Train three steps on the digits."""
    data = ImageTextData(shots=2, batch_size=8, workers=0, preprocess=backbone.preprocess, needs=objective.needs)
    module = AdaptModule(backbone, method, objective, lambda params: torch.optim.AdamW(params, lr=1e-3))
    trainer = L.Trainer(max_steps=3, limit_val_batches=0, accelerator="cpu", logger=False, enable_progress_bar=False,
                        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder, precision=precision)  # fmt: skip
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
    images, tokens, classes = images_for(backbone, 3), backbone.preprocess.tokenize(TEXTS), classes_for(backbone)
    with torch.no_grad():
        expected = backbone.encode_image(images), backbone.encode_text(tokens)
        zero_shot = Full().class_rows(backbone, classes)
        logits = Full().logits(backbone, expected[0], zero_shot)
    method.attach(backbone, classes)
    with torch.no_grad():
        found = method.class_rows(backbone, classes)
        torch.testing.assert_close(found.rows, zero_shot.rows, atol=2e-6, rtol=0)
        torch.testing.assert_close(method.logits(backbone, expected[0], found), logits, atol=2e-4, rtol=0)
    for found, wanted in zip(rows(backbone, method), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=0)  # torch takes another kernel where nothing learns


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_declared_learns_and_nothing_else(
    backbone: Backbone, method: Method, objective: Objective, tmp_path: Path, precision: str
) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    started: dict[str, torch.Tensor] = {}
    attach, names = method.attach, {}

    def attach_and_look(*given: Any) -> None:
        attach(*given)
        names.update({id(p): name for name, p in [*backbone.named_parameters(), *method.named_parameters()] if p.requires_grad})
        started.update({names[id(p)]: p.detach().clone() for p in [*backbone.parameters(), *method.parameters()] if p.requires_grad})

    method.attach = attach_and_look  # type: ignore[method-assign]
    module = fitted(backbone, method, objective, tmp_path, precision)
    learned = set(method.learned(backbone))
    after = plain(backbone)
    assert after.keys() == before.keys()
    for name, value in after.items():
        if name not in learned:
            assert torch.equal(value, before[name]), f"{name} is frozen and changed"
    unused = {"mask_token"}  # timm's, for pretraining by masking
    stepped = [p for group in module.trainer.optimizers[0].param_groups for p in group["params"]] if not method.solves else []
    for p in stepped:
        same = torch.equal(p, started[names[id(p)]])
        assert not same or names[id(p)].rpartition(".")[2] in unused, f"{names[id(p)]} learns and did not change"
    assert method.solves or stepped
    assert method.solves or set(stepped) == {p for p in module.parameters() if p.requires_grad}


def test_saved_and_rebuilt_its_rows_are_equal(backbone: Backbone, method: Method, objective: Objective, tmp_path: Path) -> None:
    module = fitted(backbone, method, objective, tmp_path)
    found = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert set(found["state_dict"]) == {f"backbone.{n}" for n in method.learned(backbone)} | {f"method.{n}" for n in method.state_dict()}
    backbone.requires_grad_(False)  # as in the loaded one; torch takes another kernel where something may learn
    loaded = cliptune.load(tmp_path / "run.ckpt")
    for again, before in zip(rows(loaded.backbone, loaded.method), rows(backbone, method), strict=True):
        assert torch.equal(again, before)
    classes = ClassTexts(loaded.class_names, loaded.class_texts, backbone.preprocess)
    with torch.no_grad():
        found, wanted = (m.class_rows(b, classes) for m, b in ((loaded.method, loaded.backbone), (module.method, backbone)))
    assert torch.equal(found.rows, wanted.rows)
    assert (found.bias is None) == (wanted.bias is None)


@pytest.mark.parametrize("config", METHODS)
def test_a_method_config_runs_on_what_ships(config: str) -> None:
    nano: Any = Backbone("nano")
    method = part(config, "method")
    method.attach(nano, classes_for(nano))
    assert method.groups(nano)


@pytest.mark.parametrize(("config", "family"), REFUSED)
def test_a_refusal_says_what_to_use(tiny: dict[str, str], config: str, family: str) -> None:
    backbone = Backbone(tiny[family])
    with pytest.raises(ConfigError, match=REFUSED[config, family]):
        part(config, "method").attach(backbone, classes_for(backbone))
