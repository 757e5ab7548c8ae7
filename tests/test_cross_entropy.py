"""Cross-entropy over class rows, against scikit-learn and torch's own loss."""

import numpy as np
import pytest
import torch
from dense import unit
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.objectives.base import StepRows
from cliptune.objectives.cross_entropy import CrossEntropy

SCALE = torch.tensor([20.0])


def labelled(images: Tensor, classes: Tensor, labels: Tensor) -> StepRows:
    return StepRows(images, SCALE, classes=classes, label=labels)


def probabilities(images: Tensor, classes: Tensor) -> np.ndarray:
    return (20 * images.detach().double() @ classes.detach().double().T).softmax(dim=1).numpy()  # type: ignore[no-any-return]


def test_it_equals_scikit_learns_log_loss() -> None:
    images, classes, labels = unit(12, 0), unit(5, 1), torch.arange(12) % 5
    loss = CrossEntropy()(labelled(images, classes, labels))
    expected = log_loss(labels.numpy(), probabilities(images, classes), labels=range(5))
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    images, classes, labels = unit(6, 0), unit(5, 1), torch.tensor([0, 1, 2, 3, 4, 0])
    target = 0.8 * np.eye(5)[labels.numpy()] + 0.2 / 5
    expected = -(target * np.log(probabilities(images, classes))).sum(axis=1).mean()
    assert CrossEntropy(0.2)(labelled(images, classes, labels)).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_balanced_weights_are_scikit_learns_and_the_loss_is_torchs(vit: Backbone, smoothing: float) -> None:
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, -1])
    known = labels[labels >= 0].numpy()
    weights = compute_class_weight("balanced", classes=np.arange(3), y=known)
    objective = CrossEntropy(smoothing, "balanced")
    objective.attach(vit, np.bincount(known).tolist())
    assert objective.weights is not None
    np.testing.assert_allclose(objective.weights, weights, rtol=1e-6)
    images, classes = unit(9, 0), unit(3, 1)
    theirs = nn.CrossEntropyLoss(torch.tensor(weights), label_smoothing=smoothing, ignore_index=-1)
    expected = theirs((20 * images @ classes.T).double(), labels)
    torch.testing.assert_close(objective(labelled(images, classes, labels)).double(), expected, atol=1e-5, rtol=0)
    said = objective.targets(labels, 3) * (20 * images @ classes.T).log_softmax(dim=1)
    torch.testing.assert_close((-said.sum() / objective.weight(labels).sum()).double(), expected, atol=1e-5, rtol=0)


def test_a_class_without_images_weighs_nothing(vit: Backbone) -> None:
    objective = CrossEntropy(class_weights="balanced")
    objective.attach(vit, [6, 0, 3])
    assert objective.weights is not None
    assert objective.weights.tolist() == pytest.approx([0.5, 0, 1])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_images_without_a_label_are_left_out(smoothing: float) -> None:
    objective, classes = CrossEntropy(smoothing), unit(4, 1)
    images, labels = unit(5, 0), torch.tensor([2, -1, 0, -1, 3])
    loss = objective(labelled(images, classes, labels))
    kept = labels >= 0
    torch.testing.assert_close(loss, objective(labelled(images[kept], classes, labels[kept])))
    loss.backward()
    assert images.grad is not None
    assert images.grad[~kept].abs().sum() == 0
    assert (images.grad[kept].abs().sum(dim=1) > 0).all()


def test_a_batch_without_any_label_is_no_loss_and_no_gradient() -> None:
    images, classes = unit(3, 0), unit(4, 1)
    loss = CrossEntropy(0.1)(labelled(images, classes, torch.full((3,), -1)))
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert images.grad.abs().sum() == 0


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5])
def test_label_smoothing_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=rf"label_smoothing {value} is not in 0\.\.1\. Take 0\.1"):
        CrossEntropy(value)


def test_wrong_weights_are_refused(vit: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"class_weights 'even' is not known\. Take balanced, a list"):
        CrossEntropy(class_weights="even")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"class_weights \[0, -1\.0\] has a negative weight"):
        CrossEntropy(class_weights=[0, -1.0])
    with pytest.raises(ConfigError, match=r"2 class_weights for 3 classes\. Give one for each"):
        CrossEntropy(class_weights=[1.0, 2.0]).attach(vit, [4, 4, 4])


def several(labels: Tensor) -> StepRows:
    images, classes = (torch.nn.functional.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(n)), dim=-1) for n in (5, 3))
    first = torch.tensor([int(row.argmax()) if row.any() else -1 for row in labels])
    return StepRows(images, torch.tensor([7.0]), classes=classes, label=first, labels=labels)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_target_of_several_classes_is_spread_evenly_over_them(weights: list[float] | None, smoothing: float, vit: Backbone) -> None:
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    rows = several(labels)
    loss = CrossEntropy(smoothing, weights)
    loss.attach(vit)
    logits = 7.0 * rows.images @ rows.classes.T  # type: ignore[union-attr]
    w = torch.tensor(weights or [1.0, 1.0, 1.0])
    known = labels.sum(dim=1) > 0
    target = labels[known] / labels[known].sum(dim=1, keepdim=True)
    smooth = target * (1 - smoothing) + smoothing / 3
    by_hand = -(smooth * w * logits[known].log_softmax(dim=-1)).sum() / (target * w).sum()
    torch.testing.assert_close(loss(rows), by_hand, atol=1e-6, rtol=1e-6)


def test_a_target_of_one_class_each_is_the_plain_loss(vit: Backbone) -> None:
    labels = torch.eye(3)[torch.tensor([0, 2, 1, 1, 0])]
    rows = several(labels)
    plain = StepRows(rows.images, rows.scale, classes=rows.classes, label=rows.label)
    for loss in (CrossEntropy(), CrossEntropy(0.1, [1.0, 3.0, 0.5])):
        loss.attach(vit)
        torch.testing.assert_close(loss(rows), loss(plain))
