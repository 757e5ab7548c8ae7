"""InfoNCE: against open_clip's ClipLoss where pairs are distinct, and against the dense sums of tests/dense.py where they are not."""

import numpy as np
import pytest
import torch
from dense import assert_equal, contrastive, distinct, doubled, matches, pairs, twins, unit
from open_clip.loss import ClipLoss

from cliptune.errors import ConfigError
from cliptune.objectives import positives as module
from cliptune.objectives.base import IDENTITIES, StepRows
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.positives import Positives
from cliptune.similarity import similarity

BLOCKS = [10_000, 30, 1]  # numbers of a block: all rows at once, three, one


@pytest.fixture(params=BLOCKS)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", {"cpu": request.param})


def test_similarity_is_scale_times_cosines_plus_bias() -> None:
    images, texts = unit(3, 0), unit(5, 1)
    expected = 20 * images.detach().numpy() @ texts.detach().numpy().T - 7
    np.testing.assert_allclose(similarity(images, texts, torch.tensor(20.0), torch.tensor(-7.0)).detach(), expected, atol=1e-5)


@pytest.mark.usefixtures("_blocks")
def test_distinct_pairs_have_open_clips_loss_and_gradient() -> None:
    ours, theirs = pairs(9), doubled(pairs(9))
    assert_equal(ours, Contrastive()(ours), theirs, ClipLoss()(theirs.images, theirs.texts, theirs.scale))


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["each", "any"])
@pytest.mark.parametrize("extra", [0, 5])
@pytest.mark.parametrize("same", [IDENTITIES, ("caption", "image"), ()])
def test_equals_negatives_and_smoothing_have_the_dense_loss_and_gradient(
    same: tuple[str, ...], extra: int, kind: str, smoothing: float
) -> None:
    ours = pairs(11, extra, twins(11))
    theirs = doubled(ours)
    loss = Contrastive(same, kind, smoothing)(ours)  # type: ignore[arg-type]
    assert_equal(ours, loss, theirs, contrastive(theirs, same, kind, smoothing))


def test_equals_change_the_loss() -> None:
    plain = Contrastive()(pairs(11)).item()
    for column in range(3):
        identity = distinct(11)
        identity[3, column] = identity[1, column]
        assert Contrastive()(pairs(11, identity=identity)).item() != pytest.approx(plain, abs=1e-2)
        assert Contrastive([])(pairs(11, identity=identity)).item() == pytest.approx(plain, abs=1e-6)


def test_hard_negatives_change_the_loss_and_each_gets_a_gradient() -> None:
    rows = pairs(9, extra=4)
    loss = Contrastive()(rows)
    assert loss.item() > Contrastive()(pairs(9)).item() + 1e-3
    loss.backward()
    assert rows.negatives is not None
    assert rows.negatives.grad is not None
    assert (rows.negatives.grad.abs().sum(dim=1) > 0).all()


def test_a_negative_that_is_the_caption_of_the_only_image_is_none() -> None:
    texts, images = unit(1, 0), unit(1, 1)
    rows = StepRows(images, torch.tensor([20.0]), texts=texts, identity=torch.tensor([[0, 7, 0]]), negatives=unit(1, 2),
                    negative_identity=torch.tensor([7]))  # fmt: skip
    assert Contrastive()(rows).item() == pytest.approx(0, abs=1e-7)


def test_identities_that_are_not_known_make_no_match() -> None:
    rows = pairs(4, identity=torch.full((4, 3), -1))
    assert Contrastive()(rows).item() == pytest.approx(ClipLoss()(rows.images, rows.texts, rows.scale).item(), abs=1e-6)


@pytest.mark.usefixtures("_blocks")
def test_sameness_by_several_identities_adds_up_and_does_not_leap() -> None:
    identity = torch.tensor([[7, 1, 1], [7, 2, 2], [8, 2, 3], [-1, 4, 4], [-1, 5, 4]])  # 0 and 2 share nothing but the friend 1
    expected = np.eye(5, dtype=bool)
    for i, j in ((0, 1), (1, 2), (3, 4)):
        expected[i, j] = expected[j, i] = True
    assert np.array_equal(matches(identity).numpy(), expected)
    found = Positives(pairs(5, identity=identity), [0, 1, 2])
    assert np.array_equal(torch.cat([found.block(part) for part in found.parts()]).numpy(), expected)
    assert found.counts.tolist() == [2, 3, 2, 2, 2]


def test_a_batch_of_one_class_with_equal_rows_pulls_at_nothing() -> None:
    one = unit(1, 0).detach()
    images, texts = one.repeat(6, 1).requires_grad_(), one.repeat(6, 1).requires_grad_()
    identity = distinct(6)
    identity[:, 0] = 3
    loss = Contrastive()(StepRows(images, torch.tensor([20.0]), texts=texts, identity=identity))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(6), abs=4e-6)  # of logits of 20, one rounding of which is 2e-6
    assert images.grad is not None
    torch.testing.assert_close(images.grad, (images.grad * one).sum(dim=1, keepdim=True) * one, atol=1e-6, rtol=0)


def test_logits_far_apart_are_still_exact() -> None:
    scale = torch.tensor([400.0], requires_grad=True)  # exp of the differences is beyond float32 in either direction
    ours = StepRows(unit(9, 0), scale, texts=unit(9, 1), identity=distinct(9))
    theirs = doubled(ours)
    assert_equal(ours, Contrastive()(ours), theirs, contrastive(theirs), tolerance=1e-5)  # logits of hundreds have fewer digits left


def test_the_loss_is_float32_under_bfloat16() -> None:
    expected = Contrastive()(pairs(6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = Contrastive()(pairs(6))
        rows = pairs(6)
        assert rows.texts is not None
        low = Contrastive()(StepRows(rows.images.bfloat16(), rows.scale, texts=rows.texts.bfloat16(), identity=rows.identity))
    assert loss.dtype == low.dtype == torch.float32
    assert torch.equal(loss, expected)
    rounded = StepRows(rows.images.bfloat16().float(), rows.scale, texts=rows.texts.bfloat16().float(), identity=rows.identity)
    assert torch.equal(low, Contrastive()(rounded))  # only the rows are rounded, nothing of the loss


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Contrastive: same has the unknown 'labels'\. Did you mean label\?"):
        Contrastive(["labels"])
    with pytest.raises(ConfigError, match=r"positives 'all' is not known\. Take each or any"):
        Contrastive(positives="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Contrastive: label_smoothing 1\.0 is not in 0\.\.1\. Take 0\.1"):
        Contrastive(label_smoothing=1.0)
