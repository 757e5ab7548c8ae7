"""The published algorithms that cliptune's accuracy is compared with run as they are: on nano, a few steps each."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cliptune.backbone import Backbone

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from few_shot_peers import cell, goal
from published import ALGORITHMS, Part, Task


def part(count: int, seed: int) -> Part:
    """Images whose class is their brightness."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(count) % 2
    images = [torch.randint(0, 100, (3, 40, 40), generator=generator, dtype=torch.uint8) + 150 * int(label) for label in labels]
    return Part(images, labels)


def small_task(half: bool = False) -> Task:
    untouched = Backbone("nano").eval().requires_grad_(False)
    return Task(untouched, ["cat", "dog"], "a photo of a {}.", part(4, 0), part(4, 1), part(6, 2), seed=1, share=0.02, views=2, half=half)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_on_a_copy_and_scores_the_test_images(name: str) -> None:
    task = small_task()
    before = task.untouched.fingerprint()
    logits = ALGORITHMS[name](task).detach()
    assert logits.shape == (6, 2)
    assert bool(logits.isfinite().all())
    assert not torch.allclose(logits, task.scale * task.rows("test") @ task.class_rows().T)  # it is not zero-shot
    assert task.untouched.fingerprint() == before


@pytest.mark.parametrize("name", ["CoOp", "VPT", "CLIP-LoRA", "FLYP"])
def test_steps_are_in_half_precision_where_the_releases_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    halved = name in ("CoOp", "CLIP-LoRA")
    found, products = [], Task.products

    def seen(task: Task) -> Any:
        found.append(task.half)
        return products(task)

    monkeypatch.setattr(Task, "products", seen)
    logits = [ALGORITHMS[name](small_task(half)).detach() for half in (False, True)]
    assert set(found) == ({False, True} if halved else set())
    assert torch.equal(*logits) != halved
    assert bool(logits[1].isfinite().all())


def test_flyp_mirrors_no_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    augmented, shares = Task.augmented, []

    def seen(task: Task, numbers: Tensor, area: tuple[float, float], mirrored: float = 0.5) -> Tensor:
        shares.append(mirrored)
        return augmented(task, numbers, area, mirrored)

    monkeypatch.setattr(Task, "augmented", seen)
    ALGORITHMS["FLYP"](small_task())
    assert set(shares) == {0.0}
    views = []
    for mirrored in (0.0, 1.0):
        torch.manual_seed(0)
        views.append(augmented(small_task(), torch.arange(4), mirrored=mirrored))
    assert torch.equal(views[0].flip(-1), views[1])


def test_a_few_shot_goal_is_met_where_the_mean_is_not_below() -> None:
    assert goal([1.0, -1.0, 0.0]) == "met"
    assert goal([1.0, -1.0, -0.1]) == "within one standard error"  # mean -0.03, error 0.58
    assert goal([-1.0, -1.1, -0.9]) == goal([-0.1]) == "missed"


def test_a_few_shot_cell_tells_both_scores_the_difference_and_few_seeds() -> None:
    def runs(*pairs: tuple[float, float]) -> list[dict[str, dict[str, float]]]:
        return [{"published": {"top1": theirs}, "cliptune": {"top1": ours}} for theirs, ours in pairs]

    assert cell(runs((0.425, 0.462))) == "0.425 / 0.462<br>+3.7, n = 1"
    assert cell(runs((0.5, 0.49), (0.5, 0.495), (0.5, 0.485))) == "0.500 / 0.490<br>**-1.0 ± 0.5**"
