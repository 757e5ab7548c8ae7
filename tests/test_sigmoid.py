"""The pairwise loss: against open_clip's SigLipLoss where pairs are distinct, and against dense sums where they are not."""

import pytest
import torch
from conftest import classes_for
from dense import assert_equal, distinct, doubled, pairs, sigmoid, twins
from open_clip.loss import SigLipLoss

from cliptune.backbone import Backbone
from cliptune.methods.full import Full
from cliptune.methods.lora import LoRA
from cliptune.objectives import positives as module
from cliptune.objectives.base import IDENTITIES, StepRows
from cliptune.objectives.sigmoid import Sigmoid, best_bias


def bias() -> torch.Tensor:
    return torch.tensor([-10.0], requires_grad=True)


@pytest.mark.parametrize("block", [10_000, 30])
def test_distinct_pairs_have_open_clips_loss_and_gradient(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", {"cpu": block})
    ours = pairs(9, bias=bias())
    theirs = doubled(ours)
    assert_equal(ours, Sigmoid()(ours), theirs, SigLipLoss()(theirs.images, theirs.texts, theirs.scale, theirs.bias))


@pytest.mark.parametrize("block", [10_000, 30])
@pytest.mark.parametrize("extra", [0, 5])
@pytest.mark.parametrize("same", [IDENTITIES, ("caption", "image"), ()])
def test_equals_and_negatives_have_the_dense_loss_and_gradient(
    same: tuple[str, ...], extra: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", {"cpu": block})
    ours = pairs(11, extra, twins(11), bias=bias())
    theirs = doubled(ours)
    assert_equal(ours, Sigmoid(same)(ours), theirs, sigmoid(theirs, same))


def test_a_backbone_without_a_bias_gets_one_that_starts_where_the_loss_is_least(vit: Backbone) -> None:
    objective = Sigmoid()
    objective.attach(vit)
    assert objective.bias is not None
    loss = objective(pairs(9))
    start = float(objective.origin)
    losses = [sigmoid(doubled(pairs(9, bias=torch.tensor([start + step])))).item() for step in (-0.1, 0, 0.1)]
    assert losses[1] < min(losses[0], losses[2])
    assert loss.item() == pytest.approx(losses[1], abs=1e-5)
    loss.backward()
    assert objective.bias.grad is not None
    assert abs(objective.bias.grad.item()) < 1e-4
    other = pairs(9)
    objective(StepRows(other.images.flip(0), other.scale, texts=other.texts, identity=other.identity))
    assert float(objective.origin) == start  # only the first batch places it


@pytest.mark.parametrize(("scale", "identity"), [(400.0, distinct(9)), (1.0, twins(9))], ids=["sharp", "many matches"])
def test_the_start_is_found(scale: float, identity: torch.Tensor) -> None:
    rows = pairs(9, identity=identity)
    matches = module.Positives(rows, [0, 1, 2])
    found = best_bias(rows.images, rows.all_texts, torch.tensor([scale]), matches)
    chances = (scale * rows.images @ rows.all_texts.T + found).sigmoid()
    assert chances.sum().item() == pytest.approx(matches.counts.sum().item(), rel=1e-3)


def test_a_batch_of_nothing_but_matches_has_a_start_too() -> None:
    rows = pairs(1)
    assert torch.isfinite(best_bias(rows.images, rows.all_texts, torch.tensor([20.0]), module.Positives(rows, [0])))


@pytest.mark.parametrize("family", ["siglip", "vit"], indirect=True)
@pytest.mark.parametrize("method", [Full(), Full(logit_scale="frozen"), LoRA()], ids=["Full", "frozen scale", "LoRA"])
def test_scale_and_bias_learn_under_every_method_in_one_group_each(backbone: Backbone, method: Full | LoRA) -> None:
    method.attach(backbone, classes_for(backbone))
    objective = Sigmoid()
    objective.attach(backbone)
    groups = [*method.groups(backbone), *objective.groups(backbone)]
    parameters = [p for group in groups for p in group["params"]]  # type: ignore[attr-defined]
    assert len(parameters) == len({id(p) for p in parameters})
    wanted = [backbone.model.logit_scale, objective.bias if backbone.logit_bias is None else backbone.logit_bias]
    assert {id(p) for p in wanted} <= {id(p) for p in parameters}
    learned = {*method.learned(backbone), *objective.learned(backbone)}
    assert ("model.logit_bias" in learned) == (backbone.logit_bias is not None)
    assert "model.logit_scale" in learned


def test_scale_and_bias_may_be_kept_as_they_are(vit: Backbone) -> None:
    Full(logit_scale="frozen").attach(vit, None)  # type: ignore[arg-type]
    objective = Sigmoid(learn=False)
    objective.attach(vit)
    assert not vit.model.logit_scale.requires_grad
    assert [p for group in objective.groups(vit) for p in group["params"]] == [objective.bias]  # type: ignore[attr-defined]
