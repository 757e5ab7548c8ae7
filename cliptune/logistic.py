"""Multinomial logistic regression on rows, drawn towards given class rows, and the sweep of its strength on validation.

By torch's L-BFGS and not scikit-learn's: it can draw towards rows other than zero, it runs where the rows are, and it takes 0.2 to 0.8
of its time to get lower (benchmarks/probe_features.py).
"""

from collections.abc import Callable
from functools import partial
from math import log10, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from cliptune.similarity import exact

ITERATIONS = 1000  # Radford et al. 2021, appendix A.3
COARSE = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)  # ibid.: of lambda; here of C = 1 / lambda, which is the same set
PER_DECADE = 8  # ibid.: the resolution at which the search ends
USUAL = 10.0  # C that few-shot probes on rows of unit length want, within a decade or so (docs/benchmarks_parts.md, a linear probe)
AWAY = 9.0  # nats that no step away from the start is less likely beforehand: as three decades from the usual C
PAST = 9.0  # nats that a strength is less likely than a smaller one: still greater ones, which take the most iterations, are not tried
TRUST = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TOLERANCE = 1e-5  # of the greatest entry of the gradient, in the measure in which the mean loss bends about as 1: float32 tells no less
ROUGH = 1e-3  # likewise, to tell strengths apart
CHANGE = 1e-16  # of the mean loss along a step: below both, else they end first
LOST = 1e-4  # of the greatest square: what a product gives less of, rows of half precision hardly tell
LONGEST = 30.0  # a step, of the shortest; where images are told apart the bend is soon another than where it was measured


class Solution(NamedTuple):
    """Class rows as the difference from those they are drawn towards."""

    delta: Tensor  # [C, D]
    bias: Tensor | None  # [C]
    loss: float  # mean cross-entropy on the training rows, by weight


class Choice(NamedTuple):
    """What a sweep chose."""

    strength: float  # C, the inverse of the L2 strength; 0 for no step away from the start
    accuracy: float  # on validation
    tried: dict[float, float]  # accuracy on validation by C


class Problem:
    """Minimise  sum of CE(scale * rows @ (start + delta).T + bias)  +  |scale * delta|^2 / (2 * strength)  at any strength.

    CE of logits z and targets t is  - sum of t * log softmax(z):  targets weigh images and classes, and are spread where labels are
    smoothed. With `start` zero that is scikit-learn's `LogisticRegression(C=strength, class_weight=...)`. Drawn towards the zero-shot rows
    it is CLAP's constraint on linear probing (Silva-Rodriguez et al. 2024, sec. 4: a penalty on the distance of each class row from its
    text's) with one strength for all classes. In full float32, whatever the precision around it.

    CLIP's rows lie along few of their axes, over which L-BFGS takes many small steps. So they are turned to their principal axes, once for
    all strengths, and a step along each is scaled by how sharply the sum bends there; of N rows in more than N dimensions N are left.

    Args:
        rows: [N, D].
        targets: [N, C], none below 0; an image whose targets are all 0 is left out.
        start: [C, D].
        scale: the factor on the products.
        with_bias: learn a bias for each class, which is drawn towards nothing.
    """

    def __init__(self, rows: Tensor, targets: Tensor, start: Tensor, scale: float, with_bias: bool = False) -> None:
        known = targets.sum(dim=1) > 0
        self.scale, self.with_bias, self.dtype = scale, with_bias, start.dtype
        with exact(rows.device):
            rows, self.targets = rows[known].float(), targets[known].float()
            weights = self.targets.sum(dim=1, keepdim=True)  # [N, 1]
            self.weight, self.log_weights = float(weights.sum()), weights.log()
            self.weights = weights
            self.origin = scale * rows @ start.float().T  # [N, C], of what does not change
            self.middle = (weights * rows).sum(dim=0) / self.weight if with_bias else torch.zeros_like(rows[0])
            rows = rows - self.middle if with_bias else rows  # a free bias takes the middle up: far fewer iterations
            self.axes, self.squares = _principal(weights.sqrt() * rows)
            turned = rows @ self.axes
            self.inputs = torch.cat([turned, rows.new_ones(len(rows), 1)], dim=1) if with_bias else turned

    def solve(self, strength: float, guess: Solution | None = None, tolerance: float = TOLERANCE) -> Solution:
        """The minimum.

        Args:
            strength: C; the smaller, the stronger the pull.
            guess: where to begin; the minimum is the same.
            tolerance: where to end.
        """
        with exact(self.inputs.device):  # rounded to bfloat16 the line search finds no way down, and stays where it began
            return self._solution(self._minimum(strength, self._change(guess), tolerance))

    def search(
        self, accuracy: Callable[[Solution | None], float], loss: Callable[[Solution | None], float], images: float
    ) -> tuple[Solution | None, Choice]:
        """As `sweep`, by rough minima, of which the best is made a fine one unless it loses by that."""
        best, choice = sweep(partial(self.solve, tolerance=ROUGH), accuracy, loss, images)
        if best is None:
            return best, choice
        fine = self.solve(choice.strength, best)
        return (fine, choice._replace(accuracy=said)) if (said := accuracy(fine)) >= choice.accuracy else (best, choice)

    def _minimum(self, strength: float, change: Tensor, tolerance: float) -> Tensor:
        """From a change to the best, both [C, axes and bias]."""
        inputs, targets, weights = self.inputs, self.targets, self.weights
        pull = torch.full_like(change[0], 1 / strength)
        if self.with_bias:
            pull[-1] = 0
        steps = self._steps(change, pull)
        steered = change / steps
        steered.grad = torch.zeros_like(steered)

        def evaluate() -> Tensor:  # by hand: the gradient is two products
            change = steps * steered
            logits = self.origin + inputs @ change.T
            norm = logits.logsumexp(dim=1, keepdim=True)
            loss = (weights * norm - (targets * logits).sum(dim=1, keepdim=True)).sum() + (pull * change.square()).sum() / 2
            apart = (logits - (norm - self.log_weights)).exp() - targets
            steered.grad = steps * (apart.T @ inputs + pull * change) / self.weight
            return loss / self.weight

        solver = torch.optim.LBFGS([steered], 1, ITERATIONS, None, tolerance, CHANGE, history_size=20, line_search_fn="strong_wolfe")
        solver.step(evaluate)  # type: ignore[arg-type]
        return steps * steered

    def _steps(self, change: Tensor, pull: Tensor) -> Tensor:
        """The length of a step along each axis, after which the mean loss bends about as 1 everywhere: [axes and bias]."""
        said = (self.origin + self.inputs @ change.T).softmax(dim=1)
        squares = torch.cat([self.squares, self.squares.new_full((1,), self.weight)]) if self.with_bias else self.squares
        bend = (said * (1 - said)).mean() * squares + pull
        steps = (self.weight / bend).sqrt()
        return steps.clamp(max=LONGEST * float(steps.min()))

    def _change(self, solution: Solution | None) -> Tensor:
        if solution is None:
            return self.inputs.new_zeros(self.origin.shape[1], self.inputs.shape[1])
        delta = self.scale * solution.delta.to(self.inputs)
        change = delta @ self.axes
        if not self.with_bias:
            return change
        bias = solution.bias.to(delta) if solution.bias is not None else 0
        return torch.cat([change, (bias + delta @ self.middle)[:, None]], dim=1)

    def _solution(self, change: Tensor) -> Solution:
        logits = self.origin + self.inputs @ change.T
        delta = change[:, : len(self.squares)] @ self.axes.T
        bias = (change[:, -1] - delta @ self.middle).to(self.dtype) if self.with_bias else None
        loss = -float((self.targets * logits.log_softmax(dim=1)).sum()) / self.weight
        return Solution((delta / self.scale).to(self.dtype), bias, loss)


def _principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Orthogonal axes of [N, D], as columns [D, min(N, D)], and the sum of squares along each."""
    few = len(rows) < rows.shape[1]  # then what is left out must be nothing, and is found in more digits
    given = rows.cpu().double() if few else rows
    squares, axes = torch.linalg.eigh((given.T @ given).cpu().double())
    kept = min(rows.shape)
    return axes[:, -kept:].to(rows), squares[-kept:].clamp(min=0).to(rows)


def sweep(
    fit: Callable[[float, Solution | None], Solution],
    accuracy: Callable[[Solution | None], float],
    loss: Callable[[Solution | None], float],
    images: float,
) -> tuple[Solution | None, Choice]:
    """Choose the strength on validation, by CLIP's search: a coarse grid, then half the interval around the best, to 8 steps a decade.

    The best is the most probable one: by the likelihood of validation's labels, and beforehand by how usual the strength is, a normal
    distribution of log10 C around `USUAL`, of a nat for each squared decade. A dozen images tell few strengths apart, and the usual one
    is taken; hundreds say which it is. The coarse grid goes up, and ends at a C that is far less likely than a smaller one. No step away
    from the start is a candidate too, and what is more than one standard error less accurate than the start is none.

    Args:
        fit: from C, and a solution to begin from, to the minimum.
        accuracy: of a solution, on validation; of None, that of the start.
        loss: likewise, mean cross-entropy.
        images: that both are of, or of how many of equal weight they tell as much.

    Returns:
        The solution, None for the start, and the choice.
    """
    found: dict[float, Solution] = {}
    tried: dict[float, float] = {0.0: accuracy(None)}
    costs: dict[float, float] = {0.0: images * loss(None) + AWAY}
    least = tried[0.0] - _error(tried[0.0], images)

    def best_of(strengths: list[float]) -> float:
        allowed = [strength for strength in strengths if tried[strength] >= least]
        return min(allowed or strengths, key=lambda strength: (costs[strength], strength))

    def attempt(strength: float) -> None:
        if strength not in tried:
            near = min(found, key=lambda known: abs(log10(known / strength)), default=None)
            found[strength] = fit(strength, None if near is None else found[near])
            tried[strength] = accuracy(found[strength])
            costs[strength] = images * loss(found[strength]) + log10(strength / USUAL) ** 2

    for strength in COARSE:
        attempt(strength)
        best = best_of([one for one in tried if one])
        if tried[best] >= least and costs[strength] > costs[best] + PAST:
            break
    step = 2.0  # decades
    while step > 1 / PER_DECADE:
        step /= 2
        best = best_of([strength for strength in tried if strength])
        for side in (-step, step):
            strength = float(f"{best * 10**side:.6g}")
            if COARSE[0] <= strength <= COARSE[-1]:
                attempt(strength)
    best = best_of(list(tried))
    return found.get(best), Choice(best, tried[best], dict(sorted(tried.items())))


def undo(product: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates of rows in which distances are those before a product made the rows.

    Args:
        product: [width, D].

    Returns:
        [D, D] that turns rows so, and its inverse. What the product cannot give stays as it is, so that any rows may be turned.
    """
    whole = product.cpu().double()
    squares, axes = torch.linalg.eigh(whole.T @ whole)
    stretch = squares.where(squares > LOST * squares.max(), squares.max()).sqrt()
    turn, back = (axes * scale @ axes.T for scale in (1 / stretch, stretch))
    return turn.to(product), back.to(product)


def trust_of(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> float:
    """The share of the class texts' logits that has the lowest loss: 0 where they say nothing of these images.

    Args:
        logits: [N, C], of the class texts.
        loss: of logits, a scalar.
    """
    return min(TRUST, key=lambda share: (float(loss(share * logits)), -share))


def _error(share: float, images: float) -> float:
    """The standard error of a share of so many; where all or none are right, that of half an image."""
    return sqrt(share * (1 - share) / images) if 0 < share < 1 else 0.5 / images
