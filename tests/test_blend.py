"""Between zero-shot and adapted: what a share of what was learned is, for every method that has a straight way back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import METHODS, adapted_run

import cliptune
from cliptune import Full, LoRA, PromptTuning
from cliptune.blend import SHARES, Blend, Point, chosen, explored, folded, way_of


@pytest.mark.parametrize("method", ["full", "lora", "pissa", "probe", "plain_probe", "prompts"])
def test_a_blend_of_nothing_is_zero_shot_and_of_all_is_adapted(tiny: dict[str, str], tmp_path: Path, method: str) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], METHODS[method](), tmp_path / "run"))
    start = cliptune.loading.untouched_of(model)
    pixels = torch.randn(5, 3, 32, 32)

    def logits(of: cliptune.AdaptedCLIP) -> torch.Tensor:
        return of.logits(of.encode_pixels(pixels), of.class_rows()[1])

    adapted, zero_shot = logits(model), logits(start)
    assert not torch.allclose(adapted, zero_shot, atol=1e-2)
    way = Blend(model)
    way.set(0.0)
    torch.testing.assert_close(logits(model), zero_shot, rtol=0, atol=2e-4)
    way.set(0.5)
    assert not torch.allclose(logits(model), zero_shot, atol=1e-3)
    way.set(1.0)
    torch.testing.assert_close(logits(model), adapted, rtol=0, atol=2e-4)


def test_a_half_blend_has_the_mean_of_the_weights(tiny: dict[str, str], tmp_path: Path) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], Full(), tmp_path / "run"))
    before = cliptune.loading.untouched_of(model).backbone.state_dict()
    after = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    Blend(model).set(0.5)
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, (before[name] + after[name]) / 2, msg=name)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (LoRA(rank=2, variant="dora"), "a DoRA adapter has no straight way back"),
        (PromptTuning(init="random", words=4), "words that started at random have no straight way back"),
        (PromptTuning(towers="both"), "image prompts have no straight way back"),
    ],
)
def test_what_has_no_straight_way_back_is_not_blended(tiny: dict[str, str], tmp_path: Path, method: Any, expected: str) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], method, tmp_path / "run"))
    with pytest.raises(cliptune.errors.ExportError, match=expected):
        Blend(model)


def points(won: list[float], *guards: list[float]) -> list[Point]:
    return [Point(*one) for one in zip(SHARES, won, zip(*guards, strict=True) if guards else [()] * len(won), strict=True)]


def test_of_equal_shares_the_one_nearest_to_zero_shot_is_chosen_of_those_that_keep_enough() -> None:
    won = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8, 0.7, 0.8]
    assert chosen(points(won)) == 0.7
    photos = [0.5, 0.5, 0.49, 0.48, 0.47, 0.46, 0.45, 0.44, 0.3, 0.2, 0.1]
    assert chosen(points(won, photos)) == 0.7  # they have no say without a condition
    assert chosen(points(won, photos), 0.9) == 0.6  # 0.45 of 0.5
    assert chosen(points(won, photos, [1.0] * 4 + [0.5] * 7), 0.9) == 0.3
    assert chosen(points(won, [0.5] + [0.1] * 10), 0.9) == 0.0


def test_where_what_is_kept_ends_between_two_shares_those_between_are_measured_too() -> None:
    asked: list[list[float]] = []

    def measure(shares: Sequence[float]) -> list[Point]:
        asked.append(list(shares))
        return [Point(share, share, (1 - 0.16 * share,)) for share in shares]  # 0.9 of the guard at 0.625

    found, share = explored(measure, 0.9)
    assert asked == [list(SHARES), [0.625, 0.65, 0.675]]
    assert [point.share for point in found] == [*SHARES[:7], 0.625, 0.65, 0.675, *SHARES[7:]]
    assert share == 0.625
    asked.clear()
    assert explored(measure)[1] == 1.0
    assert explored(measure, 0.5)[1] == 1.0  # all keep that much
    assert asked == [list(SHARES)] * 2


@pytest.mark.parametrize("method", ["lora", "pissa", "dora"])
def test_a_share_of_an_adapter_is_that_share_of_its_change_of_the_weights(tiny: dict[str, str], tmp_path: Path, method: str) -> None:
    run = adapted_run(tiny["vit"], METHODS[method](), tmp_path / "run", amount=0.3)
    before = cliptune.loading.untouched_of(cliptune.load(run)).backbone.state_dict()
    after = folded(cliptune.load(run)).backbone.state_dict()
    way = way_of(cliptune.load(run))
    way.set(0.3)
    blended = folded(way.model).backbone.state_dict()
    changed = [name for name, value in after.items() if (value - before[name]).abs().max() > 1e-2]
    assert len(changed) == 6  # q, k and v of three blocks lie in one matrix each, in both towers
    for name in changed:  # 0.3, and not 0.09, of which both thin matrices would be a share
        torch.testing.assert_close(blended[name], before[name] + 0.3 * (after[name] - before[name]), rtol=0, atol=1e-5, msg=name)


def test_the_way_of_a_dora_leaves_the_model_itself_alone(tiny: dict[str, str], tmp_path: Path) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], METHODS["dora"](), tmp_path / "run"))
    held = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    way_of(model).set(0.0)
    assert all(torch.equal(value, held[name]) for name, value in model.backbone.state_dict().items())
    assert len(held) == len(model.backbone.state_dict())
