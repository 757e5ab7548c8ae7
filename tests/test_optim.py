"""The schedule's values and the optimizer's groups, by hand and against torch's own cosine."""

from functools import partial
from math import cos, pi

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from cliptune.errors import ConfigError
from cliptune.optim import Group, Schedule, build_optimizer, build_schedule

ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def parameters(count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


def test_warm_up_is_a_share_of_all_steps_and_then_comes_a_cosine() -> None:
    schedule = Schedule(warmup=0.1, final=0.2)
    by_hand = {0: 1 / 11, 4: 5 / 11, 9: 10 / 11, 10: 1.0, 55: 0.2 + 0.8 / 2, 40: 0.2 + 0.8 * (1 + cos(pi / 3)) / 2, 100: 0.2, 130: 0.2}
    assert {step: schedule.factor(step, 100) for step in by_hand} == pytest.approx(by_hand)
    assert schedule.factor(19, 200) == pytest.approx(20 / 21)  # twice the steps, twice the warm-up


def test_without_warm_up_it_is_torchs_cosine() -> None:
    optimizer = torch.optim.SGD(parameters(1), lr=1.0)
    theirs = CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert Schedule(warmup=0).factor(step, 20) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_constant_stays_after_the_warm_up() -> None:
    schedule = Schedule(warmup=0.5, decay="constant")
    assert [schedule.factor(step, 4) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_run_of_few_steps_learns_in_each(steps: int) -> None:
    factors = [Schedule().factor(step, steps) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


def test_the_schedule_multiplies_each_groups_rate() -> None:
    groups = [Group(params=parameters(1), lr_factor=factor, decay=True) for factor in (1.0, 0.1)]
    optimizer = build_optimizer(ADAMW, groups)
    scheduler = build_schedule(optimizer, Schedule(warmup=0.25), steps=8)
    seen = []
    for _ in range(8):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    factors = [1 / 3, 2 / 3, *((1 + cos(pi * i / 6)) / 2 for i in range(6))]
    assert seen == [pytest.approx([0.01 * f, 0.001 * f]) for f in factors]


def test_groups_get_their_factor_and_no_decay_where_it_is_wrong() -> None:
    groups = [
        Group(params=parameters(2), lr_factor=1.0, decay=True),
        Group(params=parameters(1), lr_factor=0.5, decay=True),
        Group(params=parameters(3), lr_factor=2.0, decay=False),
    ]
    built = build_optimizer(ADAMW, groups).param_groups
    assert [(group["lr"], group["weight_decay"], len(group["params"])) for group in built] == [
        (0.01, 0.1, 2),
        (0.005, 0.1, 1),
        (0.02, 0.0, 3),
    ]
    assert not any({"lr_factor", "decay"} & group.keys() for group in built)
    assert groups[1] == {"params": groups[1]["params"], "lr_factor": 0.5, "decay": True}  # the method's own are left as they are


def test_a_step_shrinks_only_what_decays() -> None:
    matrix, norm = parameters(2)
    optimizer = build_optimizer(
        ADAMW, [Group(params=[matrix], lr_factor=0.5, decay=True), Group(params=[norm], lr_factor=0.5, decay=False)]
    )
    for p in (matrix, norm):
        p.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(matrix.data, torch.full((2,), 1 - 0.005 * 0.1))
    assert torch.equal(norm.data, torch.ones(2))


def test_any_optimizer_of_torch_serves() -> None:
    built = build_optimizer(partial(torch.optim.SGD, lr=1.0, momentum=0.9), [Group(params=parameters(1), lr_factor=0.5, decay=False)])
    assert (built.param_groups[0]["lr"], built.param_groups[0]["momentum"]) == (0.5, 0.9)


ERRORS = {
    "warmup in steps": ({"warmup": 500}, r"warmup 500 is not in 0\.\.1\. It is a share of all steps"),
    "warmup negative": ({"warmup": -0.1}, r"warmup -0\.1 is not"),
    "decay": ({"decay": "linear"}, r"decay 'linear' is not known\. Take cosine or constant"),
    "final": ({"final": -0.5}, r"final -0\.5 is not in 0\.\.1"),
    "final as a rate": ({"final": 5}, r"final 5 is not in 0\.\.1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_scheduled_is_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message):
        Schedule(**arguments)
