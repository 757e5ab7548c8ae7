"""The losses, against open_clip's ClipLoss, scikit-learn and sums written out in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from sklearn.metrics import log_loss
from torch import Tensor

from cliptune.errors import ConfigError
from cliptune.objectives import IDENTITIES, Contrastive, CrossEntropy, Objective, matches, similarity

SCALE = torch.tensor(20.0)


def unit(count: int, seed: int, width: int = 16) -> Tensor:
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(rows, dim=-1).requires_grad_()


def distinct(count: int) -> Tensor:
    return torch.arange(3 * count).view(count, 3)


def by_hand(image_rows: Tensor, text_rows: Tensor, match: np.ndarray, scale: float) -> float:
    """InfoNCE both ways in float64, the target shared evenly among matches."""
    logits = scale * image_rows.detach().double().numpy() @ text_rows.detach().double().numpy().T
    total = 0.0
    for way, matched in ((logits, match), (logits.T, match.T)):
        for row, equals in zip(way, matched, strict=True):
            log_p = row - np.log(np.exp(row).sum())
            total += -log_p[equals].mean() / len(logits) / 2
    return total


def test_similarity_is_scale_times_cosines_plus_bias() -> None:
    images, texts = unit(3, 0), unit(5, 1)
    expected = 20 * images.detach().numpy() @ texts.detach().numpy().T - 7
    np.testing.assert_allclose(similarity(images, texts, SCALE, torch.tensor(-7.0)).detach(), expected, atol=1e-5)


def test_contrastive_of_distinct_pairs_equals_open_clips_loss_and_gradient() -> None:
    ours = [unit(9, 0), unit(9, 1), SCALE.clone().requires_grad_()]
    theirs = [part.detach().clone().requires_grad_() for part in ours]
    loss = Contrastive()(ours[0], ours[1], distinct(9), ours[2], None)
    expected = ClipLoss()(*theirs)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
    loss.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_identities_that_are_not_known_make_no_match() -> None:
    images, texts = unit(4, 0), unit(4, 1)
    unknown = torch.full((4, 3), -1)
    torch.testing.assert_close(Contrastive()(images, texts, unknown, SCALE, None), ClipLoss()(images, texts, SCALE), atol=1e-6, rtol=0)


@pytest.mark.parametrize("column", range(3), ids=IDENTITIES)
def test_pairs_that_are_the_same_are_positives_of_each_other(column: int) -> None:
    images, texts, target = unit(5, 0), unit(5, 1), distinct(5)
    target[3, column] = target[1, column]
    match = np.eye(5, dtype=bool)
    match[1, 3] = match[3, 1] = True
    loss = Contrastive()(images, texts, target, SCALE, None)
    assert loss.item() == pytest.approx(by_hand(images, texts, match, 20), abs=1e-5)
    assert loss.item() != pytest.approx(ClipLoss()(images, texts, SCALE).item(), abs=1e-2)


def test_sameness_by_several_identities_adds_up_and_does_not_leap() -> None:
    target = torch.tensor([[7, 1, 1], [7, 2, 2], [8, 2, 3], [-1, 4, 4], [-1, 5, 4]])  # 0 and 2 share nothing but the friend 1
    expected = np.eye(5, dtype=bool)
    for i, j in ((0, 1), (1, 2), (3, 4)):
        expected[i, j] = expected[j, i] = True
    assert np.array_equal(matches(target).numpy(), expected)
    images, texts = unit(5, 0), unit(5, 1)
    assert Contrastive()(images, texts, target, SCALE, None).item() == pytest.approx(by_hand(images, texts, expected, 20), abs=1e-5)


def test_same_says_which_identities_count() -> None:
    images, texts, target = unit(4, 0), unit(4, 1), distinct(4)
    target[:, 0] = 1  # one class
    plain = ClipLoss()(images, texts, SCALE).item()
    assert Contrastive(["caption", "image"])(images, texts, target, SCALE, None).item() == pytest.approx(plain, abs=1e-6)
    assert Contrastive([])(images, texts, target, SCALE, None).item() == pytest.approx(plain, abs=1e-6)
    everything = by_hand(images, texts, np.ones((4, 4), bool), 20)
    assert Contrastive(["label"])(images, texts, target, SCALE, None).item() == pytest.approx(everything, abs=1e-5)


def test_a_batch_of_one_class_with_equal_rows_pulls_at_nothing() -> None:
    one = unit(1, 0).detach()
    images, texts = one.repeat(6, 1).requires_grad_(), one.repeat(6, 1).requires_grad_()
    target = distinct(6)
    target[:, 0] = 3
    loss = Contrastive()(images, texts, target, SCALE, None)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(6), abs=1e-6)
    assert images.grad is not None
    radial = (images.grad * one).sum(dim=1, keepdim=True) * one
    torch.testing.assert_close(images.grad, radial, atol=1e-6, rtol=0)


def test_the_gradient_is_probability_less_share_both_ways() -> None:
    images, texts, target = unit(5, 0), unit(5, 1), distinct(5)
    target[3, 1] = target[1, 1]
    logits = (20 * images @ texts.T).detach().double()
    share = torch.eye(5, dtype=torch.double)
    share[[1, 1, 3, 3], [1, 3, 1, 3]] = 0.5
    of_logits = (logits.softmax(dim=1) - share + logits.softmax(dim=0) - share) / (2 * 5)
    Contrastive()(images, texts, target, SCALE, None).backward()
    torch.testing.assert_close(images.grad, 20 * (of_logits @ texts.detach().double()).float(), atol=1e-5, rtol=0)


def test_a_bias_shifts_all_logits_and_so_changes_nothing() -> None:
    images, texts = unit(4, 0), unit(4, 1)
    biased, plain = (Contrastive()(images, texts, distinct(4), SCALE, bias) for bias in (torch.tensor(-10.0), None))
    torch.testing.assert_close(biased, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("objective", [Contrastive(), CrossEntropy(0.1)], ids=["Contrastive", "CrossEntropy"])
def test_the_loss_is_float32_under_bfloat16(objective: Objective) -> None:
    images, texts = unit(6, 0), unit(6, 1)
    target = distinct(6) if objective.needs == "pairs" else torch.arange(6)
    expected = objective(images, texts, target, SCALE, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(images, texts, target, SCALE, None)
        low = objective(images.bfloat16(), texts.bfloat16(), target, SCALE.bfloat16(), None)
    assert loss.dtype == low.dtype == torch.float32
    assert torch.equal(loss, expected)
    rounded = objective(images.bfloat16().float(), texts.bfloat16().float(), target, SCALE, None)
    assert torch.equal(low, rounded)  # only the rows are rounded, nothing of the loss


def probabilities(images: Tensor, classes: Tensor) -> np.ndarray:
    return (20 * images.detach().double() @ classes.detach().double().T).softmax(dim=1).numpy()


def test_cross_entropy_equals_scikit_learns_log_loss() -> None:
    images, classes, labels = unit(12, 0), unit(5, 1), torch.arange(12) % 5
    loss = CrossEntropy()(images, classes, labels, SCALE, None)
    expected = log_loss(labels.numpy(), probabilities(images, classes), labels=range(5))
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    images, classes, labels = unit(6, 0), unit(5, 1), torch.tensor([0, 1, 2, 3, 4, 0])
    target = 0.8 * np.eye(5)[labels.numpy()] + 0.2 / 5
    expected = -(target * np.log(probabilities(images, classes))).sum(axis=1).mean()
    assert CrossEntropy(0.2)(images, classes, labels, SCALE, None).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_images_without_a_label_are_left_out(smoothing: float) -> None:
    objective, classes = CrossEntropy(smoothing), unit(4, 1)
    images, labels = unit(5, 0), torch.tensor([2, -1, 0, -1, 3])
    loss = objective(images, classes, labels, SCALE, None)
    kept = labels >= 0
    torch.testing.assert_close(loss, objective(images[kept], classes, labels[kept], SCALE, None))
    loss.backward()
    assert images.grad is not None
    assert images.grad[~kept].abs().sum() == 0
    assert (images.grad[kept].abs().sum(dim=1) > 0).all()


def test_a_batch_without_any_label_is_no_loss_and_no_gradient() -> None:
    images, classes = unit(3, 0), unit(4, 1)
    loss = CrossEntropy(0.1)(images, classes, torch.full((3,), -1), SCALE, None)
    loss.backward()
    assert loss.item() == 0
    assert images.grad is not None
    assert images.grad.abs().sum() == 0


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5])
def test_label_smoothing_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=rf"label_smoothing {value} is not in 0\.\.1\. Take 0\.1"):
        CrossEntropy(value)


def test_an_unknown_identity_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"same has the unknown 'labels'\. Did you mean label\?"):
        Contrastive(["labels"])
