"""Which images a report shows: the surest mistakes, what was won and lost, a few of each kind."""

import torch

from cliptune.metrics.answers import ClassAnswers, RetrievalAnswers
from cliptune.report.choosing import ALIKE, SHOWN, choose_classes, choose_retrieval, comparable


def classes(label: list[int], said: list[int], sure: list[float], own: list[float] | None = None) -> ClassAnswers:
    """Answers among five classes, of which the best is told."""
    count = len(label)
    top = torch.tensor(said)[:, None].repeat(1, 5)
    chance = torch.tensor(sure)[:, None].repeat(1, 5)
    mine = torch.tensor(own if own is not None else sure)
    return ClassAnswers(torch.arange(count), torch.tensor(label), None, top, chance, mine, None, 5)


def found(images: list[int], texts: list[int]) -> RetrievalAnswers:
    """Answers of which only the ranks matter."""
    n, m = len(images), len(texts)
    top, score = torch.zeros(n, 5, dtype=torch.long), torch.zeros(n, 5)
    ranks = (torch.tensor(images), torch.zeros(n), top, score)
    owner = torch.arange(m) % n
    others = torch.zeros(m, 5, dtype=torch.long)
    return RetrievalAnswers(torch.arange(n), *ranks, owner, torch.tensor(texts), torch.zeros(m), others, torch.zeros(m, 5))


def test_the_surest_mistakes_come_first_and_right_ones_never() -> None:
    after = classes([0, 1, 2, 3], [0, 2, 1, 1], [0.99, 0.5, 0.9, 0.7])
    assert choose_classes(None, after).mistakes == [2, 3, 1]


def test_won_and_lost_are_told_from_both_models_and_ordered_by_how_much() -> None:
    before = classes([0, 1, 2, 3, 4], [1, 2, 2, 3, 0], [0.9] * 5, [0.3, 0.1, 0.8, 0.9, 0.1])
    after = classes([0, 1, 2, 3, 4], [0, 1, 0, 3, 1], [0.9] * 5, [0.6, 0.9, 0.1, 0.9, 0.2])
    chosen = choose_classes(before, after)
    assert (chosen.newly_right, chosen.newly_wrong) == ([1, 0], [2])
    assert set(chosen.mistakes) == {2, 4}


def test_one_kind_of_mistake_does_not_crowd_out_the_others() -> None:
    many = classes([0] * 40 + [1, 2, 3], [1] * 40 + [0, 0, 0], [0.99] * 40 + [0.5, 0.4, 0.3])
    chosen = choose_classes(None, many).mistakes
    assert {40, 41, 42} <= set(chosen)
    assert len(chosen) == SHOWN  # where there are too few others, more of the same fill the room
    alike = classes([0] * 40 + [1] * 40 + [2] * 40, [1] * 40 + [2] * 40 + [3] * 40, [0.9] * 120)
    assert choose_classes(None, alike).mistakes[:ALIKE] == [0, 1, 2]


def test_one_of_several_classes_is_right() -> None:
    after = classes([0, 1], [2, 2], [0.9, 0.8])
    after.several = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)
    assert choose_classes(None, after).mistakes == [1]


def test_answers_on_other_images_are_not_compared() -> None:
    before, after = classes([0, 1], [1, 0], [0.9, 0.9]), classes([0, 1], [0, 1], [0.9, 0.9])
    assert choose_classes(before, after).newly_right == [0, 1]
    before.number = torch.tensor([0, 7])
    assert not comparable(before, after)
    assert choose_classes(before, after).newly_right == []


def test_images_and_texts_that_won_and_lost_are_asked() -> None:
    before, after = found([9, 0, *[3] * 30], [0, 5, *[1] * 30]), found([0, 9, *[3] * 30], [4, 0, *[1] * 30])
    chosen = choose_retrieval(before, after)
    assert chosen.images[:2] == [0, 1]
    assert chosen.texts[:2] == [1, 0]
    assert len(chosen.images) == len(chosen.texts) == 8
    assert choose_retrieval(None, after).images[0] == 0
