"""Multinomial logistic regression on rows, drawn towards given class rows, and the sweep of its strength on validation.

By torch's L-BFGS and not scikit-learn's: it can draw towards rows other than zero, it runs where the rows are, and it takes 0.4 to 1.0
of its time (benchmarks/probe_features.py).
"""

from collections.abc import Callable
from math import log10, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cliptune.similarity import exact

ITERATIONS = 1000  # Radford et al. 2021, appendix A.3
COARSE = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)  # ibid.: of lambda; here of C = 1 / lambda, which is the same set
PER_DECADE = 8  # ibid.: the resolution at which the search ends
TRUST = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TOLERANCE = 1e-6  # of the greatest entry of the mean loss's gradient; scikit-learn's default is 1e-4


class Solution(NamedTuple):
    """Class rows as the difference from those they are drawn towards."""

    delta: Tensor  # [C, D]
    bias: Tensor | None  # [C]
    loss: float  # mean cross-entropy on the training rows


class Choice(NamedTuple):
    """What a sweep chose."""

    strength: float  # C, the inverse of the L2 strength; 0 for no step away from the start
    accuracy: float  # on validation
    tried: dict[float, float]  # accuracy on validation by C


def solve(
    rows: Tensor, labels: Tensor, start: Tensor, scale: float, strength: float, with_bias: bool = False, guess: Solution | None = None
) -> Solution:
    """Minimise  sum of CE(scale * rows @ (start + delta).T + bias)  +  |scale * delta|^2 / (2 * strength).

    With `start` zero that is scikit-learn's `LogisticRegression(C=strength)`. Drawn towards the zero-shot rows it is CLAP's constraint on
    linear probing (Silva-Rodriguez et al. 2024, sec. 4: a penalty on the distance of each class row from its text's) with one strength for
    all classes. In full float32, whatever the precision around it.

    Args:
        rows: [N, D].
        labels: [N], class numbers; -1 is left out.
        start: [C, D].
        scale: the factor on the products.
        strength: C; the smaller, the stronger the pull.
        with_bias: learn a bias for each class, which is drawn towards nothing.
        guess: where to begin; the minimum is the same.

    Returns:
        The minimum.
    """
    with exact(rows.device):  # rounded to bfloat16 the line search finds no way down, and stays where it began
        return _solve(rows, labels, start, scale, strength, with_bias, guess)


def _solve(rows: Tensor, labels: Tensor, start: Tensor, scale: float, strength: float, with_bias: bool, guess: Solution | None) -> Solution:
    known = labels >= 0
    rows, labels = rows[known].float(), labels[known]
    origin = scale * rows @ start.float().T  # [N, C], of what does not change
    count = len(start)
    middle = rows.mean(dim=0) if with_bias else torch.zeros_like(rows[0])  # which a free bias takes up: far fewer iterations
    change = torch.zeros(count, rows.shape[1] + with_bias, dtype=torch.float32, device=rows.device)
    if guess is not None:
        change[:, : rows.shape[1]] = scale * guess.delta
        if with_bias and guess.bias is not None:
            change[:, -1] = guess.bias + change[:, :-1] @ middle
    inputs = torch.cat([rows - middle, rows.new_ones(len(rows), 1)], dim=1) if with_bias else rows
    truth = F.one_hot(labels, count).to(rows.dtype)
    penalised = torch.ones_like(change[0])
    if with_bias:
        penalised[-1] = 0
    change.grad = torch.zeros_like(change)

    def evaluate() -> Tensor:  # by hand: the gradient is two products
        logits = origin + inputs @ change.T
        norm = logits.logsumexp(dim=1)
        loss = (norm - logits.gather(1, labels[:, None])[:, 0]).sum() + (penalised * change.square()).sum() / (2 * strength)
        change.grad = (((logits - norm[:, None]).exp() - truth).T @ inputs + penalised * change / strength) / len(rows)
        return loss / len(rows)

    solver = torch.optim.LBFGS([change], 1, ITERATIONS, None, TOLERANCE, 1e-12, history_size=20, line_search_fn="strong_wolfe")
    solver.step(evaluate)  # type: ignore[arg-type]
    logits = origin + inputs @ change.T
    delta = (change[:, : rows.shape[1]] / scale).to(start.dtype)
    bias = (change[:, -1] - change[:, :-1] @ middle).to(start.dtype) if with_bias else None
    return Solution(delta, bias, float(F.cross_entropy(logits, labels)))


def sweep(
    fit: Callable[[float, Solution | None], Solution],
    accuracy: Callable[[Solution | None], float],
    loss: Callable[[Solution | None], float] = lambda solution: 0.0,
    images: int | None = None,
) -> tuple[Solution | None, Choice]:
    """Choose the strength on validation, by CLIP's search: a coarse grid, then half the interval around the best, to 8 steps a decade.

    A dozen images of validation tell few strengths apart by accuracy. So of those that are within one standard error of the best, and not
    below the start, the one with the lowest loss is taken, and of equals the strongest pull. No step away from the start is a candidate
    too, so that the choice is never below the start on validation.

    Args:
        fit: from C, and a solution to begin from, to the minimum.
        accuracy: of a solution, on validation; of None, that of the start.
        loss: likewise; less is better.
        images: that the accuracy is of; where it is not given, only equals are told apart by their loss.

    Returns:
        The solution, None for the start, and the choice.
    """
    found: dict[float, Solution] = {}
    tried: dict[float, float] = {0.0: accuracy(None)}
    losses: dict[float, float] = {0.0: loss(None)}

    def best_of(strengths: list[float]) -> float:
        most = max(tried[strength] for strength in strengths)
        least = most if images is None else max(most - _error(most, images), min(most, tried[0.0]))
        return min((s for s in strengths if tried[s] >= least), key=lambda s: (losses[s], s))

    def attempt(strength: float) -> None:
        if strength not in tried:
            near = min(found, key=lambda known: abs(log10(known / strength)), default=None)
            found[strength] = fit(strength, None if near is None else found[near])
            tried[strength], losses[strength] = accuracy(found[strength]), loss(found[strength])

    for strength in COARSE:
        attempt(strength)
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


def trust_of(rows: Tensor, labels: Tensor, texts: Tensor, scale: float) -> float:
    """The share of the class texts' rows whose logits have the lowest cross-entropy: 0 where they say nothing of these images.

    Args:
        rows: [N, D].
        labels: [N], class numbers; -1 is left out.
        texts: [C, D].
        scale: the factor on the products.
    """
    with exact(rows.device):
        logits = scale * rows.float() @ texts.float().T
        return min(TRUST, key=lambda share: (float(F.cross_entropy(share * logits, labels, ignore_index=-1)), -share))


def _error(share: float, images: int) -> float:
    """The standard error of a share of so many; where all or none are right, that of half an image."""
    return sqrt(share * (1 - share) / images) if 0 < share < 1 else 0.5 / images
