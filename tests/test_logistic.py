"""The solver against scikit-learn and scipy."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cliptune.data.formats.features import open_features
from cliptune.logistic import TRUST, Problem, Solution, trust_of, undo
from cliptune.objectives.cross_entropy import CrossEntropy

SCALE, CLASSES, WIDTH = 30.0, 5, 12
CALTECH = Path(__file__).parents[2] / "shared" / "data" / "clip_features" / "caltech101_vitb32.npz"


@lru_cache
def problem(count: int = 150) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows, labels that no plane tells apart wholly, and class rows to start from."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(CLASSES, WIDTH, generator=generator), dim=-1)
    labels = torch.multinomial(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), count, replacement=True, generator=generator)
    rows = F.normalize(centres[labels] + 0.6 * torch.randn(count, WIDTH, generator=generator), dim=-1)
    start = F.normalize(centres + 0.4 * torch.randn(CLASSES, WIDTH, generator=generator), dim=-1)
    return rows, labels, start


def objective(change: np.ndarray, start: Tensor, strength: float, with_bias: bool) -> tuple[float, np.ndarray]:
    """What is minimised and its gradient, by autograd in float64, of [C, D + 1]: scale * delta and the bias."""
    rows, labels, _ = problem()
    given = torch.tensor(change.reshape(CLASSES, WIDTH + 1), dtype=torch.float64, requires_grad=True)
    logits = SCALE * rows.double() @ start.double().T + rows.double() @ given[:, :-1].T + given[:, -1] * with_bias
    total = F.cross_entropy(logits, labels, reduction="sum") + 0.5 / strength * given[:, :-1].square().sum()
    total.backward()
    return total.item(), given.grad.numpy().reshape(-1)  # type: ignore[union-attr]


def solve(
    rows: Tensor, labels: Tensor, start: Tensor, scale: float, strength: float, with_bias: bool = False, guess: Solution | None = None
) -> Solution:
    return Problem(rows, told(labels, len(start)), start, scale, with_bias).solve(strength, guess)


def told(labels: Tensor, classes: int) -> Tensor:
    return CrossEntropy().targets(labels, classes)


def flat(solution: Solution) -> np.ndarray:
    bias = torch.zeros(CLASSES) if solution.bias is None else solution.bias
    return torch.cat([SCALE * solution.delta, bias[:, None]], dim=1).double().numpy().reshape(-1)


def logits_of(solution: Solution, start: Tensor) -> Tensor:
    found = SCALE * problem()[0] @ (start + solution.delta).T
    return found if solution.bias is None else found + solution.bias


# The solver


@pytest.mark.parametrize("with_bias", [False, True])
def test_under_bfloat16_the_minimum_is_the_same(with_bias: bool) -> None:
    rows, labels, start = problem()
    wanted = solve(rows, labels, start, SCALE, 1.0, with_bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = solve(rows, labels, start, SCALE, 1.0, with_bias)
    assert torch.equal(found.delta, wanted.delta)
    assert found.loss == wanted.loss


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_from_zero_it_is_scikit_learns_logistic_regression(strength: float, with_bias: bool) -> None:
    rows, labels, start = problem()
    found = solve(rows, labels, torch.zeros_like(start), SCALE, strength, with_bias)
    theirs = LogisticRegression(C=strength, fit_intercept=with_bias, tol=1e-10, max_iter=10_000).fit(rows.double().numpy(), labels.numpy())
    expected = np.concatenate([theirs.coef_, np.broadcast_to(theirs.intercept_, CLASSES)[:, None]], axis=1).reshape(-1)
    zero = torch.zeros_like(start)
    best = objective(expected, zero, strength, with_bias)[0]
    assert objective(flat(found), zero, strength, with_bias)[0] == pytest.approx(best, rel=1e-6)
    said = logits_of(found, zero).softmax(dim=1).numpy()
    np.testing.assert_allclose(said, theirs.predict_proba(rows.double().numpy()), atol=2e-3)
    assert (found.bias is not None) == with_bias


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2])
def test_from_given_rows_it_is_scipys_minimum(strength: float, with_bias: bool) -> None:
    rows, labels, start = problem()
    found = solve(rows, labels, start, SCALE, strength, with_bias)
    zero = np.zeros(CLASSES * (WIDTH + 1))
    reference = minimize(
        objective, zero, (start, strength, with_bias), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9}
    )
    assert objective(flat(found), start, strength, with_bias)[0] == pytest.approx(reference.fun, rel=1e-6)
    assert objective(zero, start, strength, with_bias)[0] > 1.001 * reference.fun


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e2])
def test_weighed_classes_are_scikit_learns(strength: float, with_bias: bool) -> None:
    rows, labels, start = problem()
    zero, counts = torch.zeros_like(start), labels.bincount(minlength=CLASSES)
    weighed = told(labels, CLASSES) * len(labels) / (CLASSES * counts)
    found = Problem(rows, weighed, zero, SCALE, with_bias).solve(strength)
    theirs = LogisticRegression(C=strength, fit_intercept=with_bias, tol=1e-10, max_iter=10_000, class_weight="balanced")
    wanted = theirs.fit(rows.double().numpy(), labels.numpy()).predict_proba(rows.double().numpy())
    np.testing.assert_allclose(logits_of(found, zero).softmax(dim=1).numpy(), wanted, atol=2e-3)
    said = -np.log(wanted[np.arange(len(labels)), labels]) * weighed.sum(dim=1).numpy()
    assert found.loss == pytest.approx(said.sum() / len(labels), rel=1e-3)


def test_smoothed_and_weighed_targets_have_the_minimum_of_torchs_loss() -> None:
    rows, labels, start = problem()
    loss = CrossEntropy(0.2, [1.0, 2.0, 0.5, 3.0, 1.5])
    loss.weights = torch.tensor(loss.given)
    found = Problem(rows, loss.targets(labels, CLASSES), start, SCALE).solve(1.0)

    def value(change: np.ndarray) -> tuple[float, np.ndarray]:
        given = torch.tensor(change.reshape(CLASSES, WIDTH), requires_grad=True)
        logits = SCALE * rows.double() @ start.double().T + rows.double() @ given.T
        summed = F.cross_entropy(logits, labels, loss.weights.double(), label_smoothing=0.2, reduction="sum")
        total = summed + 0.5 * given.square().sum()
        total.backward()
        return total.item(), given.grad.numpy().reshape(-1)  # type: ignore[union-attr]

    best = minimize(value, np.zeros(CLASSES * WIDTH), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9}).fun
    assert value((SCALE * found.delta).double().numpy())[0] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("with_bias", [False, True])
def test_fewer_rows_than_dimensions_have_the_same_minimum(with_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(9, 40, generator=generator), dim=-1)
    labels, start = torch.arange(9) % 3, F.normalize(torch.randn(3, 40, generator=generator), dim=-1)
    zero = torch.zeros_like(start)
    found = solve(rows, labels, zero, SCALE, 0.1, with_bias)
    theirs = LogisticRegression(C=0.1, fit_intercept=with_bias, tol=1e-10, max_iter=10_000).fit(rows.double().numpy(), labels.numpy())
    np.testing.assert_allclose(SCALE * found.delta, theirs.coef_, atol=1e-3)
    again = solve(rows, labels, start, SCALE, 0.1, with_bias, guess=found)
    torch.testing.assert_close(again.delta, solve(rows, labels, start, SCALE, 0.1, with_bias).delta, atol=1e-4, rtol=0)


def test_steps_are_scaled_by_how_sharply_the_sum_bends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Along axes of very unlike spread, equal steps take more looks at the rows."""
    rows, labels, start = problem()
    narrow = rows * torch.logspace(0, -2, WIDTH)
    looks: list[int] = []
    given = torch.optim.LBFGS.step

    def step(self: torch.optim.LBFGS, closure: Callable[[], Tensor]) -> Tensor:
        def counted() -> Tensor:
            looks[-1] += 1
            return closure()

        looks.append(0)
        return given(self, counted)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.LBFGS, "step", step)
    found = solve(narrow, labels, start, SCALE, 10.0)
    monkeypatch.setattr("cliptune.logistic.LONGEST", 1.0)
    equal = solve(narrow, labels, start, SCALE, 10.0)
    assert 1.3 * looks[0] < looks[1]
    assert found.loss == pytest.approx(equal.loss, rel=1e-3)


def test_the_loss_is_the_mean_over_the_training_rows() -> None:
    rows, labels, start = problem()
    found = solve(rows, labels, start, SCALE, 1.0, True)
    assert found.loss == pytest.approx(F.cross_entropy(logits_of(found, start), labels).item(), rel=1e-5)


def test_the_stronger_the_pull_the_nearer_the_start() -> None:
    rows, labels, start = problem()
    away = [solve(rows, labels, start, SCALE, strength).delta.norm().item() for strength in (1e-6, 1e-4, 1e-2, 1.0, 1e2)]
    assert away == sorted(away)
    assert away[0] < 1e-4
    assert away[-1] > 0.1


def test_the_bias_is_drawn_towards_nothing() -> None:
    """With rows held near zero, the bias alone gives the classes' shares."""
    rows, labels, start = problem()
    found = solve(rows, labels, torch.zeros_like(start), SCALE, 1e-4, with_bias=True)
    assert found.bias is not None
    shares = torch.bincount(labels, minlength=CLASSES) / len(labels)
    torch.testing.assert_close(found.bias.softmax(dim=0), shares, atol=1e-3, rtol=0)


def test_rows_without_a_label_are_left_out() -> None:
    rows, labels, start = problem()
    hidden = labels.clone()
    hidden[::3] = -1
    found = solve(rows, hidden, start, SCALE, 1.0, True)
    expected = solve(rows[hidden >= 0], labels[hidden >= 0], start, SCALE, 1.0, True)
    assert torch.equal(found.delta, expected.delta)
    assert found.loss == expected.loss
    assert (found.delta - solve(rows, labels, start, SCALE, 1.0, True).delta).abs().max() > 1e-3


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_minimum_is_the_same_wherever_it_begins(with_bias: bool) -> None:
    rows, labels, start = problem()
    cold = solve(rows, labels, start, SCALE, 1.0, with_bias)
    for near in (1e-4, 1e4):
        warm = solve(rows, labels, start, SCALE, 1.0, with_bias, guess=solve(rows, labels, start, SCALE, near, with_bias))
        torch.testing.assert_close(logits_of(warm, start), logits_of(cold, start), atol=0.01, rtol=0)


def test_it_begins_where_it_is_told() -> None:
    """From the minimum there is nothing left to do."""
    rows, labels, start = problem()
    for with_bias in (False, True):
        found = solve(rows, labels, start, SCALE, 1.0, with_bias)
        again = solve(rows, labels, start, SCALE, 1.0, with_bias, guess=found)
        torch.testing.assert_close(again.delta, found.delta, atol=1e-4, rtol=0)
        cold = objective(flat(found), start, 1.0, with_bias)[0]
        assert objective(flat(again), start, 1.0, with_bias)[0] == pytest.approx(cold, rel=1e-6)


def test_half_precision_rows_are_solved_in_more() -> None:
    rows, labels, start = problem()
    found = solve(rows.half(), labels, start, SCALE, 1.0)
    assert found.delta.dtype == start.dtype
    torch.testing.assert_close(logits_of(found, start), logits_of(solve(rows, labels, start, SCALE, 1.0), start), atol=0.1, rtol=0)


@pytest.mark.parametrize("width", [20, 12, 7])
def test_a_product_is_undone_up_to_a_rotation(width: int) -> None:
    product = torch.randn(width, 12, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(9, width, generator=torch.Generator().manual_seed(1)) @ product
    turn, back = undo(product)
    before = rows.double() @ torch.linalg.pinv(product.double())  # the shortest that it makes these of
    torch.testing.assert_close((rows @ turn @ turn.T @ rows.T).double(), before @ before.T, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(turn @ back, torch.eye(12), atol=1e-4, rtol=1e-4)


def test_what_a_product_does_not_give_is_not_stretched() -> None:
    product = torch.randn(192, 256, generator=torch.Generator().manual_seed(0))
    turn, back = undo(product)
    other = torch.linalg.qr(product.T, mode="complete")[0][:, 192:]  # no row has anything along these
    torch.testing.assert_close((turn @ other).norm(dim=0), torch.full((64,), float(1 / torch.linalg.norm(product, 2))), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(turn @ back, torch.eye(256), atol=1e-4, rtol=1e-4)


def test_texts_are_trusted_as_far_as_they_fit() -> None:
    rows, labels, start = problem()
    scale = 1.0  # so that no share is too much
    loss = partial(F.cross_entropy, target=labels)
    assert trust_of(scale * rows @ start.T, loss) == 1.0
    assert trust_of(scale * rows @ -start.T, loss) == 0.0
    said = [float(loss(share * SCALE * rows @ start.T)) for share in TRUST]
    assert trust_of(SCALE * rows @ start.T, loss) == TRUST[said.index(min(said))]


# Real features


@pytest.mark.skipif(not CALTECH.exists(), reason="needs shared/data/clip_features")
@pytest.mark.parametrize(("shots", "wanted"), [(1, 0.782), (4, 0.906)])
def test_caltech101_reaches_scikit_learns_top1(shots: int, wanted: float) -> None:
    """C is chosen on validation; the wanted figures are those of the README beside the features."""
    names = ("val", "test", f"shot{shots}")
    parts = {name: table.with_format("torch")[:] for name, table in open_features(CALTECH).items() if name in names}
    rows = {name: (F.normalize(part["image"], dim=-1), part["label"]) for name, part in parts.items()}
    start = torch.zeros(100, 512)

    def logits(solution: Solution | None, split: str = "val") -> Tensor:
        if solution is None or solution.bias is None:
            return torch.zeros(len(rows[split][0]), 100)
        return 100 * rows[split][0] @ solution.delta.T + solution.bias

    def top1(solution: Solution | None, split: str = "val") -> float:
        return (logits(solution, split).argmax(dim=1) == rows[split][1]).float().mean().item()

    def loss(solution: Solution | None) -> float:
        return F.cross_entropy(logits(solution), rows["val"][1]).item()

    problem = Problem(rows[f"shot{shots}"][0], told(rows[f"shot{shots}"][1], 100), start, 100.0, True)
    best, choice = problem.search(top1, loss, len(rows["val"][1]))
    assert top1(best) == choice.accuracy
    assert top1(best, "test") >= wanted
