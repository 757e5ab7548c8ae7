"""The search for the L2 strength, against hand-made accuracies and losses."""

from collections.abc import Callable
from math import log10

import pytest
import torch

from cliptune.logistic import AWAY, COARSE, USUAL, Choice, Solution, sweep

MANY = 1e6  # images of validation, against which what is usual has no weight


def marked(strength: float) -> Solution:
    return Solution(torch.tensor([[strength]], dtype=torch.float64), None, 0.0)


def searched(
    loss: Callable[[float], float], images: float = MANY, accuracy: Callable[[float], float] = lambda c: 0.5
) -> tuple[Solution | None, Choice, list[tuple[float, float | None]]]:
    """Sweep over made-up figures by C, 0 for the start; and each C tried with the one that it began from."""
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
    best, choice, asked = searched(lambda c: abs(log10(c) - peak) if c else 99.0)
    assert best is not None
    assert best.delta.item() == choice.strength
    assert abs(log10(choice.strength) - peak) <= 1 / 16 + 1e-5
    assert len(asked) <= 7 + 2 * 4  # halving 2 decades four times gives 1/8
    assert len({c for c, _ in asked}) == len(asked)
    assert choice.accuracy == choice.tried[choice.strength]


@pytest.mark.parametrize(("side", "end"), [(1, 1e6), (-1, 1e-6)])
def test_the_search_stays_in_the_papers_range(side: int, end: float) -> None:
    _, choice, asked = searched(lambda c: -side * log10(c) if c else 99.0)
    assert choice.strength == end
    assert all(1e-6 <= c <= 1e6 for c, _ in asked)


def test_the_coarse_grid_is_the_papers_and_comes_first() -> None:
    assert tuple(10.0**k for k in (-6, -4, -2, 0, 2, 4, 6)) == COARSE  # Radford et al. 2021, appendix A.3
    _, choice, asked = searched(lambda c: abs(log10(c)) / 10 if c else 99.0, images=1)
    assert [c for c, _ in asked[:7]] == list(COARSE)
    assert set(choice.tried) == {0.0, *(c for c, _ in asked)}


def test_the_grid_ends_where_strengths_are_far_less_likely() -> None:
    """Those beyond take the most iterations: 46 of 68 seconds on 12,800 rows of 200 classes."""
    _, choice, asked = searched(lambda c: abs(log10(c) - 1) if c else 99.0, images=1000)
    assert [c for c, _ in asked if c in COARSE] == list(COARSE[:-1])  # at 1e4 it is 2,000 nats less likely than at 1 and 100
    assert choice.strength == pytest.approx(10)


def test_what_is_less_accurate_than_the_start_ends_no_grid() -> None:
    _, choice, asked = searched(lambda c: abs(log10(c)) if c else 99.0, 1000, lambda c: 0.9 if c in (0.0, 1e6) else 0.1)
    assert 1e6 in dict(asked)
    assert choice.strength == 1e6


def test_each_solve_begins_from_the_nearest_solved_one() -> None:
    _, _, asked = searched(lambda c: abs(log10(c) - 0.7) if c else 99.0)
    assert asked[0][1] is None
    for i, (c, begun) in enumerate(asked[1:], start=1):
        assert begun is not None
        assert abs(log10(begun / c)) == pytest.approx(min(abs(log10(known / c)) for known, _ in asked[:i]), abs=1e-9)


def test_where_validation_says_nothing_the_usual_strength_is_taken() -> None:
    _, choice, _ = searched(lambda c: 1.0, images=7)
    assert choice.strength == pytest.approx(USUAL, rel=0.2)


@pytest.mark.parametrize(("images", "decades"), [(1, 1.0), (10, 2.1), (10_000, 3.0)])
def test_the_more_images_the_more_validation_has_to_say(images: int, decades: float) -> None:
    """Of images * (log10 C - 4)^2 / 8 + (log10 C - 1)^2 the least is at 1 + 3 * images / (images + 8)."""
    _, choice, _ = searched(lambda c: (log10(c) - 4) ** 2 / 8 if c else 99.0, images)
    exact = 3 * images / (images + 8)
    assert log10(choice.strength / USUAL) == pytest.approx(exact, abs=1 / 8)
    assert exact <= decades


def test_the_start_is_kept_where_nothing_is_likely_enough() -> None:
    images = 100
    gain = AWAY / images  # of mean loss at the usual strength, that outweighs how likely the start is
    best, choice, _ = searched(lambda c: 1.0 - (0.9 * gain if c == 0 else 0.0), images)
    assert best is not None
    best, choice, _ = searched(lambda c: 1.0 - (1.1 * gain if c == 0 else 0.0), images, lambda c: 0.8 if c else 0.7)
    assert best is None
    assert (choice.strength, choice.accuracy) == (0.0, 0.7)


def test_what_is_surely_less_accurate_than_the_start_is_not_taken() -> None:
    """At 0.9 one standard error is 0.03 of a hundred images, and 0.003 of ten thousand."""

    def accuracy(c: float) -> float:
        return 0.9 if c in (0.0, 1.0) else 0.88

    def loss(c: float) -> float:
        return abs(log10(c) - 2) if c else 99.0

    assert searched(loss, 100, accuracy)[1].strength > 50
    assert searched(loss, 10_000, accuracy)[1].strength == 1.0
    all_right = searched(loss, 10, lambda c: 1.0 if c in (0.0, 1.0) else 0.96)[1]
    assert all_right.strength > 1.0  # half an image of ten
