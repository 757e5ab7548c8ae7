"""The linear probe: where it starts, what learns, what decay draws towards, on four families."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import classes_for, images_for
from probes import attached, labelled, logits, others_for, top1

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.methods.linear_probe import LinearProbe
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.optim import build_optimizer

# Where it starts


@torch.no_grad()
@pytest.mark.parametrize("arguments", [{}, {"bias": True}, {"solver": "lbfgs"}])
def test_it_starts_as_zero_shot_to_the_bit(backbone: Backbone, arguments: dict[str, Any]) -> None:
    rows = backbone.encode_image(images_for(backbone, 4))
    expected = Full().logits(backbone, rows, Full().class_rows(backbone, classes_for(backbone)))
    assert torch.equal(logits(attached(backbone, **arguments), backbone, rows), expected)


@torch.no_grad()
def test_made_unit_it_starts_as_zero_shot(backbone: Backbone) -> None:
    rows = backbone.encode_image(images_for(backbone, 4))
    expected = Full().logits(backbone, rows, Full().class_rows(backbone, classes_for(backbone)))
    torch.testing.assert_close(logits(attached(backbone, normalize=True), backbone, rows), expected, atol=1e-4, rtol=0)


def test_from_zero_it_starts_from_nothing(vit: Backbone) -> None:
    method = attached(vit, start="zero")
    assert not method.class_rows(vit, classes_for(vit)).rows.any()
    assert method.class_rows(vit, classes_for(vit)).rows.shape == Full().class_rows(vit, classes_for(vit)).rows.shape


@torch.no_grad()
def test_other_words_are_scored_by_the_untouched_clip(backbone: Backbone) -> None:
    method = attached(backbone, bias=True)
    method.delta.fill_(1.0)
    found, expected = method.class_rows(backbone, others_for(backbone)), Full().class_rows(backbone, others_for(backbone))
    assert torch.equal(found.rows, expected.rows)
    assert found.bias is expected.bias
    same = ClassTexts(classes_for(backbone).names, [["another text"]] * 3, backbone.preprocess)  # the learned rows are of the names
    assert torch.equal(method.class_rows(backbone, same).rows, method.start_rows + 1)


@torch.no_grad()
def test_rows_and_biases_add_up(backbone: Backbone) -> None:
    method = attached(backbone, bias=True)
    method.delta.normal_(generator=torch.Generator().manual_seed(0))
    assert method.bias is not None
    method.bias.copy_(torch.tensor([1.0, -2.0, 3.0]))
    rows = labelled(backbone, 5, 1).rows
    start = Full().class_rows(backbone, classes_for(backbone)).rows
    expected = backbone.logit_scale * rows @ (start + method.delta).T + torch.tensor([1.0, -2.0, 3.0])
    expected = expected if backbone.logit_bias is None else expected + backbone.logit_bias
    torch.testing.assert_close(logits(method, backbone, rows), expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_normalize_makes_unit_rows(vit: Backbone) -> None:
    for normalize in (False, True):
        method = attached(vit, normalize=normalize)
        method.delta.fill_(0.5)
        lengths = method.class_rows(vit, classes_for(vit)).rows.norm(dim=1)
        assert torch.allclose(lengths, torch.ones(3), atol=1e-5) == normalize


# What learns


@pytest.mark.parametrize("bias", [False, True])
def test_only_the_rows_and_the_bias_learn(backbone: Backbone, bias: bool) -> None:
    method = attached(backbone, bias=bias, lr_factor=7.0)
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not list(method.learned(backbone))
    assert {name for name, p in method.named_parameters() if p.requires_grad} == {"delta"} | ({"bias"} if bias else set())
    names = {id(p): name for name, p in method.named_parameters()}
    groups = {names[id(p)]: group for group in method.groups(backbone) for p in group["params"]}  # type: ignore[attr-defined]
    assert {name: (group["lr_factor"], group["decay"]) for name, group in groups.items()} == {
        "delta": (7.0, True),
        **({"bias": (7.0, False)} if bias else {}),
    }
    whole = {name: len(T.blocks(tower)) + 1 for name, tower in backbone.towers().items()}
    assert method.frozen(backbone) == whole


def test_decay_draws_towards_the_start(vit: Backbone) -> None:
    method = attached(vit, bias=True)
    with torch.no_grad():
        for p in method.parameters():
            p.fill_(2.0)
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=0.001, weight_decay=0.5), method.groups(vit))
    for p in method.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    shrunk = 2.0 * (1 - 0.001 * 100 * 0.5)  # Loshchilov and Hutter 2019, algorithm 2: lr * factor * decay
    torch.testing.assert_close(method.delta.detach(), torch.full_like(method.delta, shrunk))
    torch.testing.assert_close(method.class_rows(vit, classes_for(vit)).rows, method.start_rows + shrunk)
    assert method.bias is not None
    assert torch.equal(method.bias.detach(), torch.full((3,), 2.0))


def test_steps_lower_the_loss(backbone: Backbone) -> None:
    method = attached(backbone, bias=True)
    rows, labels = labelled(backbone, 60, 1)
    optimizer = build_optimizer(partial(torch.optim.AdamW, lr=1e-4, weight_decay=0.0), method.groups(backbone))
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(logits(method, backbone, rows), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("bias", [False, True])
def test_its_state_restores_it(backbone: Backbone, bias: bool) -> None:
    method, again = attached(backbone, bias=bias), attached(backbone, bias=bias)
    with torch.no_grad():
        for value in method.state_dict().values():
            value.normal_(generator=torch.Generator().manual_seed(3))
    assert set(method.state_dict()) == {"delta", "start_rows"} | ({"bias"} if bias else set())
    again.load_state_dict(method.state_dict())
    found, expected = (m.class_rows(backbone, classes_for(backbone)) for m in (again, method))
    assert torch.equal(found.rows, expected.rows)
    assert (found.bias is None) == (expected.bias is None)
    assert found.bias is None or expected.bias is None or torch.equal(found.bias, expected.bias)


# Trained by the trainer, on vectors


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_it_learns_from_a_file_of_features(vit: Backbone, tmp_path: Path, solver: str) -> None:
    parts = {split: labelled(vit, count, seed) for seed, (split, count) in enumerate({"train": 90, "val": 60, "test": 60}.items())}
    names = classes_for(vit).names
    content = {f"{split}_features": part.rows.numpy() for split, part in parts.items()}
    content |= {f"{split}_labels": part.labels.numpy() for split, part in parts.items()}
    np.savez(tmp_path / "rows.npz", classnames=np.array(names), **content)
    data = ImageTextData(
        str(tmp_path / "rows.npz"), batch_size=30, workers=0, cache=False, preprocess=vit.preprocess, needs="classes",
        templates=["a photo of a {}.", "a drawing of a {}, in ink."],
    )  # fmt: skip
    zero_shot = top1(logits(attached(vit), vit, parts["test"].rows), parts["test"].labels)
    module = AdaptModule(vit, LinearProbe(solver=solver), CrossEntropy(), partial(torch.optim.AdamW, lr=3e-4))  # type: ignore[arg-type]
    off: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = L.Trainer(max_epochs=6, accelerator="cpu", default_root_dir=tmp_path, **off)
    trainer.fit(module, datamodule=data)
    assert trainer.current_epoch == (1 if solver == "lbfgs" else 6)
    (scores,) = trainer.test(module, datamodule=data, verbose=False)
    said = logits(module.method, vit, parts["test"].rows)  # type: ignore[arg-type]
    assert scores["test/top1"] == pytest.approx(top1(said, parts["test"].labels))
    assert scores["test/top1"] > zero_shot + 0.2


# Errors


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "start": ({"start": "texts"}, r"start 'texts' is not known\. Take text or zero"),
    "solver": ({"solver": "adam"}, r"solver 'adam' is not known\. Take sgd or lbfgs"),
    "not convex": ({"solver": "lbfgs", "normalize": True}, r"no single minimum for lbfgs\. Set solver: sgd, or normalize: false"),
    "zero rows": ({"start": "zero", "normalize": True}, r"rows of zero cannot be made unit rows\. Set start: text"),
    "trust": ({"solver": "lbfgs", "trust": 1.5}, r"trust 1\.5 is not in 0\.\.1"),
    "trust of sgd": ({"trust": 0.5}, r"trust 0\.5 is for solver lbfgs that starts from the texts"),
    "trust of nothing": ({"solver": "lbfgs", "start": "zero", "trust": 0.5}, r"trust 0\.5 is for solver lbfgs"),
    "penalty": ({"solver": "lbfgs", "penalty": "row"}, r"penalty 'row' is not known\. Take tower or rows"),
    "penalty of sgd": ({"penalty": "tower"}, r"penalty tower is for solver lbfgs; .+ Set solver: lbfgs, or leave it out"),
    "lr_factor": ({"lr_factor": 0.0}, r"lr_factor 0\.0 is not positive\. Take 100"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_arguments_that_cannot_be_are_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message) as caught:
        LinearProbe(**arguments)
    assert "\n" not in str(caught.value)


def test_it_needs_classes(vit: Backbone) -> None:
    message = r"LinearProbe learns from class names, but Contrastive needs image-text pairs\. Use objective: CrossEntropy\."
    with pytest.raises(ConfigError, match=f"^{message}$"):
        LinearProbe().check(Contrastive())
    LinearProbe().check(CrossEntropy())
    with pytest.raises(ConfigError, match=r"learns a row for each class, and the data has no classes\. Set data\.label_column"):
        LinearProbe().attach(vit, ClassTexts([], [], vit.preprocess))
