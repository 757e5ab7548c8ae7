"""The recommendation: by validation alone, the cheapest within one standard error of the best."""

import re
from dataclasses import replace

import pytest
from sweeps import result

from cliptune.sweep.recommending import Recommendation, recommend
from cliptune.sweep.results import Result, Table

MANY = {"images": 1_000_000}  # so that seeds alone say how sure a mean is


def advice(*results: Result, shots: tuple[int | None, ...] = (4,)) -> Recommendation:
    return recommend(Table(results, ["full", "lora", "probe"], shots))


def three(method: str, validation: float, test: float, apart: float = 0.0, **changes: object) -> list[Result]:
    return [result(method, 4, seed, validation + apart * (seed - 2), test, **{**MANY, **changes}) for seed in (1, 2, 3)]


def test_within_one_standard_error_the_cheapest_is_recommended() -> None:
    full = three("full", 0.90, 0.80, apart=0.03, seconds=100.0)  # standard error 0.03 / sqrt(3) = 0.0173
    found = advice(*full, *three("lora", 0.89, 0.70, seconds=20.0), *three("probe", 0.88, 0.99, seconds=1.0))
    assert (found.name, found.best) == ("lora", "full")
    assert found.sentence.startswith(
        "Recommended: lora. At 4 shots its top-1 on validation (0.890) is within one standard error (0.017) of the best "
        "(full, 0.900), and it trains in 20 s instead of 1 min 40 s. "
        "These are means over 3 seeds. Validation has 1,000,000 images for each. On test"
    )
    assert "On test it scores 0.700 ± 0.000, zero-shot 0.450; it learns 100 parameters." in found.sentence


def test_times_of_about_the_same_length_are_no_reason() -> None:
    found = advice(*three("full", 0.90, 0.8, apart=0.03, seconds=3.0), *three("lora", 0.89, 0.7, seconds=1.6))
    assert found.name == "full"
    assert advice(*three("full", 0.90, 0.8, apart=0.03, seconds=3.3), *three("lora", 0.89, 0.7, seconds=1.6)).name == "lora"


def test_the_test_split_has_no_say() -> None:
    results = [*three("full", 0.90, 0.1, seconds=100.0), *three("lora", 0.80, 0.9, seconds=1.0)]
    assert advice(*results).name == "full"
    assert advice(*results).sentence.startswith(
        "Recommended: full. At 4 shots its top-1 on validation is the best (0.900), and no other is within one standard error ("
    )


def test_the_best_is_taken_where_what_is_as_good_takes_as_long() -> None:
    found = advice(*three("full", 0.90, 0.8, apart=0.03, seconds=3.0), *three("lora", 0.89, 0.7, seconds=1.6))
    assert (
        "is the best (0.900), and none that is within one standard error (0.017) of it trains in less than half its time." in found.sentence
    )


def test_what_is_no_better_than_zero_shot_is_not_recommended() -> None:
    same = {"validation": {"zero_shot": 0.6, "adapted": 0.61}, "images": 100}
    found = advice(result("full", 4, 1, 0, 0.5, **same))
    assert found.name == "zero_shot"
    assert found.sentence == (
        "Recommended: no training, the untouched CLIP. At 4 shots its top-1 on validation (0.600) is within one standard error "
        "(0.048) of the best (full, 0.610), and it costs nothing. This is one seed, so trust it little. Validation has 100 images: too few "
        "to be sure."
    )


def test_it_is_chosen_at_the_most_shots_that_most_methods_have() -> None:
    few = [result("full", 4, 1, 0.5, 0.5, **MANY), result("lora", 4, 1, 0.9, 0.9, **MANY)]
    all_images = [result("full", None, 1, 0.9, 0.9, **MANY), result("lora", None, 1, 0.5, 0.5, **MANY)]
    found = advice(*few, *all_images, shots=(4, None))
    assert (found.name, found.shots) == ("full", None)
    assert "full. With all images its" in found.sentence
    assert advice(*few, all_images[0], shots=(4, None)).shots == 4


def test_guards_and_small_validation_are_told() -> None:
    found = advice(result("lora", 4, 1, 0.9, 0.8, images=12, guards={"photos": (0.5, 0.46)}))
    assert "It changes the guards: photos -0.040." in found.sentence
    assert "This is one seed, so trust it little. Validation has 12 images: too few to be sure. On test" in found.sentence
    assert "guards" not in advice(result("lora", 4, 1, 0.9, 0.8)).sentence


KEEPS = {"guards": {"photos": (0.5, 0.49), "old": (0.4, 0.4)}}
FORGETS = {"guards": {"photos": (0.5, 0.07), "old": (0.4, 0.4)}}


def test_what_forgets_is_left_out_where_something_as_good_does_not() -> None:
    full = three("full", 0.90, 0.8, apart=0.03, seconds=3.0, **FORGETS)
    found = advice(*full, *three("lora", 0.89, 0.7, seconds=3.0, **KEEPS), *three("probe", 0.70, 0.7, **KEEPS))
    assert (found.name, found.best) == ("lora", "full")
    assert (
        "its top-1 on validation (0.890) is within one standard error (0.017) of the best (full, 0.900), and it keeps 98% of the guards "
        "where that keeps 14%. These"
    ) in found.sentence
    assert [round(one["kept"], 2) for one in found.told()["candidates"][:3]] == [0.14, 0.98, 0.98]
    quick = advice(*three("full", 0.90, 0.8, apart=0.03, seconds=100.0, **FORGETS), *three("lora", 0.89, 0.7, seconds=20.0, **KEEPS))
    assert "keeps 98% of the guards where that keeps 14%, and trains in 20 s instead of 1 min 40 s. These" in quick.sentence


def test_nothing_as_good_may_keep_the_guards() -> None:
    full = three("full", 0.90, 0.8, apart=0.03, **FORGETS)
    found = advice(*full, *three("lora", 0.70, 0.65, **KEEPS), *three("probe", 0.71, 0.69, **KEEPS))
    assert found.name == "full"
    assert found.sentence.endswith(
        "It changes the guards: photos -0.430, old +0.000, so that it keeps 14%. "
        "Of what keeps 90% of each guard probe is the best on validation (0.710; on test 0.690 ± 0.000)."
    )
    assert advice(*full).sentence.endswith("so that it keeps 14%. Nothing that was trained keeps 90% of each guard.")


def test_the_best_keeps_the_guards_and_others_as_good_do_not() -> None:
    best = three("full", 0.90, 0.8, apart=0.03, seconds=100.0, **KEEPS)
    alone = advice(*best, *three("lora", 0.89, 0.7, seconds=1.0, **FORGETS))
    assert (
        "is the best (0.900), and no other that is within one standard error (0.017) of it keeps 90% of each guard. These" in alone.sentence
    )
    slow = three("probe", 0.89, 0.7, seconds=99.0, **KEEPS)
    beside = advice(*best, *three("lora", 0.89, 0.7, seconds=1.0, **FORGETS), *slow)
    assert beside.name == "full"
    assert "none that is within one standard error (0.017) of it and keeps 90% of each guard trains in less than half" in beside.sentence


def test_of_few_images_what_forgets_is_left_out_too() -> None:
    few = {"images": 12}
    sure = three("full", 1.0, 0.9, losses={"adapted": 0.01}, **few, **FORGETS)
    others = [
        *three("lora", 1.0, 0.8, losses={"adapted": 0.1}, **few, **KEEPS),
        *three("probe", 1.0, 0.8, losses={"adapted": 0.2}, **few, **KEEPS),
    ]
    found = advice(*sure, *others)
    assert (found.name, found.by_loss) == ("lora", True)
    assert "the lowest (0.100) of all that keep 90% of each guard and whose top-1 there is the best" in found.sentence


def test_of_few_images_the_surest_is_taken() -> None:
    """A dozen images are all right by every method; the probe is cheap, and hardly sure."""
    sure = [result("lora", 4, seed, 1.0, 0.97, images=12, seconds=30.0, losses={"adapted": 0.01}) for seed in (1, 2, 3)]
    cheap = [result("probe", 4, seed, 1.0, 0.85, images=12, seconds=1.0, losses={"adapted": 0.40}) for seed in (1, 2, 3)]
    found = advice(*sure, *cheap)
    assert found.name == "lora"
    assert (found.by_loss, found.told()["chosen_by"], found.best) == (True, "cross_entropy", "probe")
    assert found.sentence.startswith(
        "Recommended: lora. At 4 shots its cross-entropy on validation is the lowest (0.010) of all whose top-1 there is the best "
        "(probe, 1.000) or within one standard error of it (0.034); its own is the same. These are means over 3 seeds. Validation has 12 "
        "images for each: too few to tell methods apart by accuracy alone, so cross-entropy chose. On test it scores 0.970"
    )
    single = advice(*[replace(one, losses={"zero_shot": 3.0, "adapted": 0.01}) for one in sure])
    assert "top-1 on validation is the best (1.000), and no other is within one" in single.sentence  # nothing was left to cross-entropy
    assert "too few to be sure. On test" in single.sentence
    worse = [result("full", 4, seed, 0.5, 0.5, images=12, losses={"adapted": 0.001}) for seed in (1, 2, 3)]
    assert advice(*sure, *cheap, *worse).name == "lora"  # sure and wrong
    near = [replace(one, validation={"zero_shot": 0.4, "adapted": 0.99}) for one in sure]
    assert "(0.034); its own is 0.990. These" in advice(*near, *cheap).sentence
    low = [replace(one, validation={"zero_shot": 0.4, "adapted": 0.99}) for one in cheap]
    assert "there is the best (its own, 1.000) or within one standard error of it (0.034). These" in advice(*sure, *low).sentence
    many = advice(*[replace(one, images=1000) for one in [*sure, *cheap]])
    assert (many.name, many.by_loss, many.told()["chosen_by"]) == ("probe", False, "training_time")


def test_images_of_validation_count_once_unless_seeds_draw_their_own() -> None:
    few = advice(*[result("lora", 4, seed, 0.5, 0.5, images=32) for seed in (1, 2, 3)])
    every = advice(*[result("lora", None, seed, 0.5, 0.5, images=32) for seed in (1, 2, 3)], shots=(None,))
    errors = [next(one.error for one in found.candidates if one.name == "lora") for found in (few, every)]
    assert errors == [pytest.approx((0.25 / 100) ** 0.5), pytest.approx((0.25 / 36) ** 0.5)]


def test_it_is_one_paragraph_and_plain_data() -> None:
    found = advice(*three("full", 0.9, 0.8))
    assert not re.search(r"\n|  ", found.sentence)
    told = found.told()
    assert [one["method"] for one in told["candidates"]] == ["full", "zero_shot"]
    assert told["candidates"][0]["validation"] == pytest.approx(0.9)
