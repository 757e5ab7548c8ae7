"""CLIP's search for the L2 strength, against hand-made accuracies."""

from collections.abc import Callable
from math import log10

import pytest
import torch

from cliptune.logistic import COARSE, Choice, Solution, sweep


def marked(strength: float) -> Solution:
    return Solution(torch.tensor([[strength]], dtype=torch.float64), None, 0.0)


def searched(
    accuracy: Callable[[float], float], loss: Callable[[float], float] = lambda c: 0.0, images: int | None = None
) -> tuple[Solution | None, Choice, list[tuple[float, float | None]]]:
    """Sweep over made-up accuracies by C, 0 for the start; and each C tried with the one that it began from."""
    asked: list[tuple[float, float | None]] = []

    def fit(strength: float, guess: Solution | None) -> Solution:
        asked.append((strength, None if guess is None else guess.delta.item()))
        return marked(strength)

    def strength(solution: Solution | None) -> float:
        return 0.0 if solution is None else solution.delta.item()

    best, choice = sweep(fit, lambda solution: accuracy(strength(solution)), lambda solution: loss(strength(solution)), images)
    return best, choice, asked


@pytest.mark.parametrize("peak", [-3.7, -2.0, -0.31, 0.0, 0.7, 1.01, 3.05, 4.6])
def test_the_search_ends_within_an_eighth_of_a_decade(peak: float) -> None:
    best, choice, asked = searched(lambda c: -abs(log10(c) - peak) if c else -99.0)
    assert best is not None
    assert best.delta.item() == choice.strength
    assert abs(log10(choice.strength) - peak) <= 1 / 16 + 1e-5
    assert len(asked) <= 7 + 2 * 4  # halving 2 decades four times gives 1/8
    assert len({c for c, _ in asked}) == len(asked)
    assert choice.accuracy == choice.tried[choice.strength] == max(choice.tried.values())


@pytest.mark.parametrize(("side", "end"), [(1, 1e6), (-1, 1e-6)])
def test_the_search_stays_in_the_papers_range(side: int, end: float) -> None:
    _, choice, asked = searched(lambda c: side * log10(c) if c else -99.0)
    assert choice.strength == end
    assert all(1e-6 <= c <= 1e6 for c, _ in asked)


def test_the_coarse_grid_is_the_papers_and_comes_first() -> None:
    assert tuple(10.0**k for k in (-6, -4, -2, 0, 2, 4, 6)) == COARSE  # Radford et al. 2021, appendix A.3
    _, choice, asked = searched(lambda c: -abs(log10(c)) if c else -99.0)
    assert [c for c, _ in asked[:7]] == list(COARSE)
    assert set(choice.tried) == {0.0, *(c for c, _ in asked)}


def test_each_solve_begins_from_the_nearest_solved_one() -> None:
    _, _, asked = searched(lambda c: -abs(log10(c) - 0.7) if c else -99.0)
    assert asked[0][1] is None
    for i, (c, begun) in enumerate(asked[1:], start=1):
        assert begun is not None
        assert abs(log10(begun / c)) == pytest.approx(min(abs(log10(known / c)) for known, _ in asked[:i]), abs=1e-9)


def test_among_equals_the_strongest_pull_is_taken() -> None:
    best, choice, _ = searched(lambda c: 0.9 if 0.5 < c < 5e3 else 0.5)
    assert choice.accuracy == 0.9
    assert choice.strength == min(c for c, found in choice.tried.items() if found == 0.9)
    assert choice.strength < 1.0  # the search went on towards a stronger pull
    assert best is not None


def test_of_equals_in_accuracy_the_lower_loss_is_taken() -> None:
    """On few images of validation many strengths are right everywhere, the strongest pull among them the least sure."""
    _, choice, _ = searched(lambda c: 1.0 if c > 1e-3 else 0.5, lambda c: abs(log10(c) - 2.5) if c else 99.0)
    assert choice.strength == pytest.approx(10**2.5, rel=0.2)
    _, choice, _ = searched(lambda c: 0.9 if c == 1e-2 else 0.5, lambda c: 1.0 if c == 1e-2 else 0.0)
    assert choice.strength == 1e-2  # accuracy comes first


def test_what_so_few_images_cannot_tell_apart_is_told_apart_by_its_loss() -> None:
    """At 0.9 one standard error is 0.03 of a hundred images, and 0.003 of ten thousand."""

    def accuracy(c: float) -> float:
        return {0.0: 0.1, 1.0: 0.9}.get(c, 0.88)

    def loss(c: float) -> float:
        return abs(log10(c) - 2) if c else 99.0

    assert searched(accuracy, loss, 100)[1].strength == 100.0
    assert searched(accuracy, loss, 10_000)[1].strength == 1.0
    _, choice, _ = searched(lambda c: 0.89 if c == 0.0 else accuracy(c), loss, 100)
    assert choice.strength == 1.0  # what is below the start is not taken
    all_right = searched(lambda c: 1.0 if c == 1.0 else 0.96 if c else 0.1, loss, 10)[1]
    assert all_right.strength == 100.0  # half an image of ten


def test_the_start_is_kept_where_nothing_is_better() -> None:
    best, choice, _ = searched(lambda c: 0.8 if c in (0.0, 1.0, 100.0) else 0.7)
    assert best is None
    assert (choice.strength, choice.accuracy) == (0.0, 0.8)


def test_the_start_is_left_where_something_is_better() -> None:
    best, choice, _ = searched(lambda c: 0.81 if c == 100.0 else 0.8)
    assert best is not None
    assert (choice.strength, choice.accuracy) == (100.0, 0.81)
