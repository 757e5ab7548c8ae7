"""The linear probe by L-BFGS: what it finds, what it is drawn towards, and that it is never below zero-shot on validation."""

import logging
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from probes import attached, labelled, logits, top1
from sklearn.linear_model import LogisticRegression
from torch import nn

from cliptune.backbone import Backbone
from cliptune.logistic import USUAL
from cliptune.methods.base import LabelledRows
from cliptune.methods.linear_probe import LinearProbe
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.towers import last_product


def before_the_product(backbone: Backbone, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What turns rows to the shortest that the image tower's last product makes these of, so that these have unit length in the mean; and
    what turns differences of class rows likewise."""
    product = last_product(backbone.towers()["image"])
    if product is None:
        return np.eye(rows.shape[1]), np.eye(rows.shape[1])
    shortest = np.linalg.pinv(product.double().numpy())
    length = np.linalg.norm(rows @ shortest, axis=1).mean()
    return shortest / length, product.double().numpy().T * length


@pytest.mark.parametrize(("penalty", "bias"), [("rows", False), ("rows", True), ("tower", False), ("tower", True)])
def test_from_zero_it_finds_scikit_learns_probabilities(backbone: Backbone, penalty: str, bias: bool) -> None:
    method = attached(backbone, start="zero", solver="lbfgs", bias=bias, penalty=penalty)
    train, held_out = labelled(backbone, 90, 1), labelled(backbone, 60, 2)
    fitted, asked = (part.rows.double().numpy() for part in (train, held_out))
    turn, back = before_the_product(backbone, fitted) if penalty == "tower" else (np.eye(fitted.shape[1]),) * 2
    fitted, asked = fitted @ turn, asked @ turn
    loss = method.solve(backbone, CrossEntropy(), train, held_out)
    assert method.solves
    assert method.found is not None
    strength = method.found.strength
    theirs = LogisticRegression(C=strength, fit_intercept=bias, tol=1e-9, max_iter=10_000)
    theirs.fit(fitted, train.labels.numpy())
    with torch.no_grad():
        said = logits(method, backbone, held_out.rows).softmax(dim=1).numpy()
    expected = theirs.predict_proba(asked)
    np.testing.assert_allclose(said, expected, atol=3e-2 if penalty == "rows" else 0.1)  # where the pull is weak, the minimum is flat
    weights = float(backbone.logit_scale) * method.delta.detach().double().numpy() @ back
    ours = 90 * loss + np.square(weights).sum() / (2 * strength)
    right = theirs.predict_log_proba(fitted)[np.arange(90), train.labels.numpy()]
    best = -right.sum() + np.square(theirs.coef_).sum() / (2 * strength)
    rough = 1e-3 if penalty == "rows" else 5e-3  # the rough minimum is kept where a fine one is worse on validation
    assert ours == pytest.approx(best, rel=rough, abs=1e-4)  # all of it may be as little as float32 tells
    assert method.found.accuracy == pytest.approx((said.argmax(axis=1) == held_out.labels.numpy()).mean())
    assert loss == pytest.approx(F.cross_entropy(logits(method, backbone, train.rows), train.labels).item(), rel=1e-3)


def test_classes_that_weigh_more_count_more_in_what_is_learned_and_in_what_is_chosen(vit: Backbone) -> None:
    train, held_out = labelled(vit, 90, 1), labelled(vit, 60, 2)
    objective = CrossEntropy(class_weights=[1.0, 0.0, 5.0])
    objective.attach(vit)
    method = attached(vit, start="zero", solver="lbfgs", penalty="rows")
    loss = method.solve(vit, objective, train, held_out)
    assert method.found is not None
    theirs = LogisticRegression(C=method.found.strength, fit_intercept=False, tol=1e-9, max_iter=10_000)
    with np.errstate(divide="ignore"):
        theirs.fit(train.rows.double().numpy(), train.labels.numpy(), sample_weight=objective.weight(train.labels).numpy())
    with torch.no_grad():
        said = logits(method, vit, held_out.rows).softmax(dim=1)
        assert loss == pytest.approx(objective.of(logits(method, vit, train.rows), train.labels).item(), rel=1e-3)
    np.testing.assert_allclose(said.numpy(), theirs.predict_proba(held_out.rows.double().numpy()), atol=3e-2)
    weights, right = objective.weight(held_out.labels), said.argmax(dim=1) == held_out.labels
    assert method.found.accuracy == pytest.approx(float((weights * right).sum() / weights.sum()))
    assert float(right[held_out.labels == 1].float().mean()) == 0.0  # it learns not to say what counts nothing


def test_validation_that_weighs_nothing_leaves_the_usual_strength(vit: Backbone) -> None:
    objective = CrossEntropy(class_weights=[1.0, 1.0, 0.0])
    objective.attach(vit)
    method, held_out = attached(vit, solver="lbfgs"), labelled(vit, 20, 2)
    method.solve(vit, objective, labelled(vit, 60, 1), LabelledRows(held_out.rows, torch.full_like(held_out.labels, 2)))
    assert method.found is not None
    assert method.found.strength == pytest.approx(USUAL, rel=0.2)


def test_rows_of_another_clip_are_penalised_as_they_are(vit: Backbone) -> None:
    found = []
    for penalty in ("tower", "rows"):
        method = LinearProbe(start="zero", solver="lbfgs", penalty=penalty)
        method.start_rows, method.delta = torch.zeros(3, 40), nn.Parameter(torch.zeros(3, 40))
        generator = torch.Generator().manual_seed(0)
        parts = [LabelledRows(F.normalize(torch.randn(30, 40, generator=generator), dim=1), torch.arange(30) % 3) for _ in range(2)]
        method.solve(vit, CrossEntropy(), *parts)
        found.append(method.delta.detach())
    assert torch.equal(*found)


def test_under_bfloat16_the_same_is_found(vit: Backbone) -> None:
    found = []
    for precision in (nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)):
        method = attached(vit, start="zero", solver="lbfgs")
        train, held_out = labelled(vit, 60, 1), labelled(vit, 60, 2)
        with precision:
            loss = method.solve(vit, CrossEntropy(), train, held_out)
        found.append((method.found, method.delta.detach().tolist(), loss))
    assert found[0] == found[1]
    assert found[0][0].accuracy > found[0][0].tried[0.0]  # type: ignore[union-attr]


def test_it_is_never_below_zero_shot_on_validation(backbone: Backbone) -> None:
    for seed in range(3):
        held_out = labelled(backbone, 40, seed + 50)
        zero_shot = top1(logits(attached(backbone), backbone, held_out.rows), held_out.labels)
        method = attached(backbone, solver="lbfgs")
        labels = torch.randint(0, 3, (12,), generator=torch.Generator().manual_seed(seed))  # of no use
        method.solve(backbone, CrossEntropy(), LabelledRows(labelled(backbone, 12, seed).rows, labels), held_out)
        assert method.found is not None
        assert method.found.tried[0.0] == pytest.approx(zero_shot)
        assert top1(logits(method, backbone, held_out.rows), held_out.labels) >= zero_shot - 1e-6


def test_where_zero_shot_is_best_it_stays(vit: Backbone) -> None:
    method = attached(vit, solver="lbfgs", bias=True)
    train, rows = labelled(vit, 30, 1), labelled(vit, 40, 2).rows
    held_out = LabelledRows(rows, logits(method, vit, rows).argmax(dim=1).detach())
    loss = method.solve(vit, CrossEntropy(), train, held_out)
    assert method.found is not None
    assert (method.found.strength, method.found.accuracy) == (0.0, 1.0)
    assert not any(p.any() for p in method.parameters())
    assert loss == pytest.approx(F.cross_entropy(logits(method, vit, train.rows), train.labels).item(), rel=1e-5)


def test_towards_texts_that_say_nothing_it_is_not_drawn(vit: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    train, held_out = labelled(vit, 60, 1), labelled(vit, 60, 2)
    rows = {}
    for name, arguments in {"zero": {"start": "zero"}, "none": {"trust": 0.0}, "whole": {"trust": 1.0}, "fitted": {}}.items():
        method = attached(vit, solver="lbfgs", **arguments)
        if name == "fitted":  # the texts say the contrary
            method.start_rows.copy_(torch.stack([-train.rows[train.labels == i].mean(dim=0) for i in range(3)]))
        with caplog.at_level(logging.INFO, "cliptune.methods.linear_probe"):
            method.solve(vit, CrossEntropy(), train, held_out)
        rows[name] = (method.start_rows + method.delta).detach()
    torch.testing.assert_close(rows["none"], rows["zero"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows["fitted"], rows["zero"], atol=1e-5, rtol=1e-4)
    assert (rows["whole"] - rows["zero"]).abs().max() > 1e-3
    told = ["drawn towards 0 of the class texts' rows" in line for line in caplog.messages]
    assert told == [False, True, False, True]


def test_labels_that_are_not_known_count_nowhere(vit: Backbone) -> None:
    found = []
    for hidden in (False, True):
        method = attached(vit, solver="lbfgs")
        parts = [labelled(vit, 60, seed) for seed in (1, 2)]
        if hidden:
            parts = [LabelledRows(torch.cat([p.rows, -p.rows]), torch.cat([p.labels, torch.full_like(p.labels, -1)])) for p in parts]
        method.solve(vit, CrossEntropy(), *parts)
        found.append((method.found, method.delta.detach()))
    assert found[0][0] == found[1][0]
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-3, rtol=1e-3)


def test_what_was_chosen_is_in_the_log(vit: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    method = attached(vit, solver="lbfgs")
    with caplog.at_level(logging.INFO, "cliptune.methods.linear_probe"):
        method.solve(vit, CrossEntropy(), labelled(vit, 60, 1), labelled(vit, 60, 2))
    assert method.found is not None
    (line,) = caplog.messages
    assert f"C = {method.found.strength:g} is chosen on validation, top-1 {method.found.accuracy:.4f}" in line
