"""What is frozen is computed once, shared between runs and methods, and gives the same numbers as without the cache."""

import logging
import re
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from conftest import images_for

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError, DataError
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.methods.linear_probe import LinearProbe
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.module import AdaptModule
from cliptune.objectives.cross_entropy import CrossEntropy

METHODS: dict[str, Any] = {
    "probe": lambda: LinearProbe(),
    "solved probe": lambda: LinearProbe(solver="lbfgs", bias=True),
    "prompts": lambda: PromptTuning(position="middle"),
    "last block": lambda: Full(train_last=1),
    "LoRA in the last block": lambda: LoRA(layers={"last": 1}, dropout=0.2),
}
TRAIN, VALIDATION = 40, 40  # images: four of each digit


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPTUNE_CACHE", str(tmp_path / "rows"))


class Counted:
    """How many images the first block of the image tower has seen."""

    def __init__(self, backbone: Backbone) -> None:
        self.images = 0
        backbone.model.visual.transformer.resblocks[0].register_forward_hook(self._count)

    def _count(self, module: Any, args: Any, out: torch.Tensor) -> None:
        self.images += len(out)


def fitted(name: str, method: Method, folder: Path, epochs: int = 2, **data: Any) -> tuple[AdaptModule, dict[str, float], int]:
    """Train on four images of each digit; the module, its validation metrics, and how many images the tower saw."""
    torch.manual_seed(0)
    backbone = Backbone(name)
    seen = Counted(backbone)
    source = ImageTextData(shots=4, batch_size=8, workers=0, preprocess=backbone.preprocess, needs="classes", **data)
    module = AdaptModule(backbone, method, CrossEntropy(), lambda params: torch.optim.AdamW(params, lr=1e-4))
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                        enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
                        default_root_dir=folder)  # fmt: skip
    trainer.fit(module, datamodule=source)
    return module, {key: float(value) for key, value in trainer.callback_metrics.items()}, seen.images


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("case", METHODS)
def test_with_and_without_cache_it_learns_the_same(tiny: dict[str, str], tmp_path: Path, case: str, views: int) -> None:
    (one, scores, few), (other, same, many) = (
        fitted(tiny["vit"], METHODS[case](), tmp_path, views=views, cache=cache) for cache in (True, False)
    )
    assert scores == pytest.approx(same, abs=1e-4)
    assert few < many or one.method.solves  # which passes once over the images anyway
    with torch.no_grad():
        for a, b in zip(rows(one), rows(other), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3 if one.method.solves else 2e-5, rtol=1e-3)


def rows(module: AdaptModule) -> tuple[torch.Tensor, torch.Tensor]:
    module.eval()
    images = images_for(module.backbone, 3)
    return module.method.image_rows(module.backbone, images), module.method.class_rows(module.backbone, module.classes).rows


def test_each_image_is_seen_once_and_by_later_runs_and_methods_not_at_all(tiny: dict[str, str], tmp_path: Path) -> None:
    sample = 1  # the encoder tries one image for the shape
    assert fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=3)[2] == TRAIN + VALIDATION + sample
    assert fitted(tiny["vit"], LinearProbe(), tmp_path)[2] == sample
    assert fitted(tiny["vit"], PromptTuning(position="middle"), tmp_path)[2] == sample


@pytest.mark.parametrize(("limits", "batches"), [({}, [40]), ({"limit_val_batches": 1}, [8]), ({"limit_test_batches": 0.5}, [8] * 5)])
def test_rows_that_are_known_are_evaluated_many_at_a_time_unless_batches_are_counted(
    tiny: dict[str, str], tmp_path: Path, limits: dict[str, Any], batches: list[int]
) -> None:
    """So many batches must be of as many images, whatever is frozen."""
    backbone, seen = Backbone(tiny["vit"]), []
    data = ImageTextData(shots=4, batch_size=8, workers=0, preprocess=backbone.preprocess, needs="classes")
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}

    class Sizes(L.Callback):
        def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
            seen.append(len(batch["row"]))

    trainer = L.Trainer(accelerator="cpu", callbacks=[Sizes()], **quiet, **limits)
    trainer.validate(AdaptModule(backbone, LinearProbe(), CrossEntropy()), datamodule=data, verbose=False)
    assert seen == batches


def test_another_subset_shares_what_it_has_in_common(tiny: dict[str, str], tmp_path: Path) -> None:
    first = fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1, seed=0)[2]
    second = fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1, seed=1)[2]
    assert 1 < second < first


def test_other_views_and_other_weights_are_other_rows(tiny: dict[str, str], tmp_path: Path) -> None:
    whole = fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1)[2]
    assert fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1, views=2, crop_scale=(0.5, 1.0))[2] == 2 * TRAIN + 1
    assert fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1, views=2, crop_scale=(0.6, 1.0))[2] == 2 * TRAIN + 1
    assert fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1, views=2, crop_scale=(0.6, 1.0))[2] == 1
    state = Backbone(tiny["vit"]).model.state_dict()
    state["visual.proj"][0, 0] += 1e-3
    torch.save(state, tmp_path / "w.pt")
    torch.manual_seed(0)
    backbone = Backbone(tiny["vit"], str(tmp_path / "w.pt"))
    seen = Counted(backbone)
    data = ImageTextData(shots=4, batch_size=8, workers=0, preprocess=backbone.preprocess, needs="classes")
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    trainer.validate(AdaptModule(backbone, LinearProbe(), CrossEntropy()), datamodule=data, verbose=False)
    assert seen.images == VALIDATION + 1 < whole


def test_fresh_views_are_not_kept_and_a_frozen_tower_takes_evaluations(tiny: dict[str, str], tmp_path: Path) -> None:
    fresh = fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=2, views="fresh")
    assert fresh[2] == 2 * TRAIN + VALIDATION + 1
    learned = fitted(tiny["vit"], Full(), tmp_path, epochs=1)[0]
    assert learned.trainer.datamodule.sights.image_view().views == "fresh"  # type: ignore[attr-defined]
    probe = fitted(tiny["vit"], LinearProbe(), tmp_path, epochs=1)[0]
    assert probe.trainer.datamodule.sights.image_view().views == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("case", "limits", "said"), [
    ("probe", {"cache_gb": 1e-7}, r"do not fit in the cache .* Raise data\.cache_gb"),
    ("last block", {"activations_gb": 1e-7, "views": 0}, r"more than data\.activations_gb"),
])  # fmt: skip
def test_without_room_it_goes_on_without_cache(
    tiny: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str, limits: dict[str, Any], said: str
) -> None:
    with caplog.at_level(logging.INFO, logger="cliptune"):
        found = fitted(tiny["vit"], METHODS[case](), tmp_path, **limits)[1]
    assert any(re.search(said, record.getMessage()) for record in caplog.records)
    assert found == pytest.approx(fitted(tiny["vit"], METHODS[case](), tmp_path, cache=False, views=0)[1], abs=1e-5)


def test_a_method_that_needs_images_refuses_rows_and_rows_must_be_of_this_backbone(tiny: dict[str, str], tmp_path: Path) -> None:

    rows = {f"{split}_features": np.random.default_rng(0).normal(size=(8, 7)) for split in ("train", "val", "test")}
    labels = {f"{split}_labels": np.arange(8) % 2 for split in ("train", "val", "test")}
    np.savez(tmp_path / "f.npz", classnames=np.array(["cat", "dog"]), **rows, **labels)
    for method, kind, message in (
        (Full(), ConfigError, r"Full needs images, and the data holds rows of images\. Use method: LinearProbe or PromptTuning"),
        (LinearProbe(), DataError, r"the data's rows have 7 numbers, but those of .* 24\. Give the backbone that made them"),
    ):
        with pytest.raises(kind, match=message):
            fitted(tiny["vit"], method, tmp_path, path=str(tmp_path / "f.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": "new"}, r"views 'new' is not known\. Take auto, fresh, 0, or a number"),
        ({"views": -1}, r"views -1 is negative\. Take 0"),
        ({"shots": 0}, r"shots 0 is not positive\. Take 16"),
        ({"shots_column": "x"}, r"shots_column x is set without shots"),
    ],
)
def test_keys_that_cannot_be_are_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageTextData(**arguments)
