"""What cells come to: means by hand, zero-shot only from those that begin with it, and the same images for all."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sweeps import cells, result, summary

from cliptune.errors import TrainingError
from cliptune.sweep.entries import BUILT_IN
from cliptune.sweep.page import page
from cliptune.sweep.recommending import recommend
from cliptune.sweep.results import BASELINE, Table, check_same_images, result_of, spread, standard_error
from cliptune.sweep.telling import Failure, Outcome, data_of, drawn, write_data


def table(*results: Any, shots: tuple[int | None, ...] = (4, None)) -> Table:
    return Table(results, ["full", "lora", "probe"], shots)


def write(cell: Any, **changes: Any) -> None:
    folder = Path(cell.planned.root, cell.name)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(cell.planned.config, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps({**summary(0.8, 1, guard=0.5), **changes}), encoding="utf-8")


@pytest.mark.usefixtures("elsewhere")
def test_a_run_is_read_by_the_metric_that_its_recipe_monitors() -> None:
    first, second, third = cells("a b c")
    write(first)
    found = result_of(first)
    assert found is not None
    assert (found.metric, found.validation, found.test) == (
        "top1",
        {"zero_shot": 0.4, "adapted": 0.8},
        {"zero_shot": 0.45, "adapted": 0.8 - 0.1},
    )
    assert found.guards == {"old": (0.6, 0.5)}
    assert (found.data, found.images, found.parameters) == (("images of seed 1", "b"), 1000, 10)
    balanced = {"val/top1": 0.8, "val/macro_f1": 0.7, "test/top1": 0.75, "test/macro_f1": 0.65}
    write(second, adapted=balanced, best={"monitor": "val/macro_f1"})
    found = result_of(second)
    assert found is not None
    assert (found.metric, found.test["adapted"]) == ("macro_f1", 0.65)
    losing: dict[str, Any] = {state: {**summary(0.8, 1)[state], "val/nll": 0.3, "test/nll": 0.4} for state in ("zero_shot", "adapted")}
    fourth = cells("d")[0]
    write(fourth, **losing, best={"monitor": "val/nll"})
    found = result_of(fourth)
    assert found is not None
    assert found.metric == "top1"  # more is better of what is compared
    assert result_of(third) is None
    write(third, adapted={})
    with pytest.raises(TrainingError, match=r"^out/cells/c-1-seed1/summary.json is not read"):
        result_of(third)


def test_means_and_places_are_those_of_a_hand_computation() -> None:
    found = table(
        result("full", 4, 1, 0.7, 0.6),
        result("full", 4, 2, 0.8, 0.8),
        result("probe", None, 1, 0.9, 0.7, train=500, test={"adapted": 0.7}),
    )
    assert found.methods == ["full", "probe"]
    cell = found.test("full", 4)
    assert cell is not None
    assert (cell.mean, cell.std, cell.n) == (pytest.approx(0.7), pytest.approx(math.sqrt(0.02)), 2)
    assert str(cell) == "0.700 ± 0.141"
    assert str(spread([0.5])) == "0.500"
    assert found.test("full", None) is None
    assert found.zero_shot() == 0.45  # of those that measured it
    assert (found.place(4), found.place(None)) == (4.0, 50.0)


def test_methods_are_held_against_a_probe_that_knows_no_words_seed_by_seed() -> None:
    lucky, unlucky = (1, 0.5), (2, 0.3)
    runs = [result("full", 4, seed, 0.9, score + 0.02 * seed) for seed, score in (lucky, unlucky)]
    found = table(*runs, *(result("probe", 4, seed, 0.9, score) for seed, score in (lucky, unlucky, (3, 0.9))))
    assert found.baseline == "full"  # the first
    found = Table(found.results, ["full", "probe", "lora"], (4, None))
    plain = found.above("probe", 4)
    assert plain is not None
    assert (plain.mean, plain.std, plain.n) == (pytest.approx(-0.03), pytest.approx(0.01 * math.sqrt(2)), 2)
    assert found.above("full", 4) is None  # itself
    assert found.above("probe", None) is None
    assert BASELINE in BUILT_IN
    named = [replace(one, cell=replace(one.cell, method=BASELINE)) if one.cell.method == "probe" else one for one in found.results]
    known = Table(named, ["full", BASELINE], (4, None))
    assert known.baseline == BASELINE
    assert "Above linear_probe_zero, on the same images" in page(outcome(known))
    assert "+3.0 ± 1.4" in page(outcome(known))
    assert data_of(outcome(known))["means"][0]["above_baseline"]["mean"] == pytest.approx(0.03)
    assert table(result("full", 4, 1, 0.7, 0.6)).baseline is None
    assert "Above full" not in page(outcome(table(result("full", 4, 1, 0.7, 0.6))))


def test_guards_tell_the_mean_change() -> None:
    found = table(
        result("lora", 4, 1, 0.7, 0.6, guards={"old": (0.5, 0.4), "odd": (0.5, 0.5)}),
        result("lora", 4, 2, 0.7, 0.6, guards={"old": (0.5, 0.5)}),
    )
    assert {name: change.mean for name, change in found.guards("lora", 4).items()} == {"old": pytest.approx(-0.05)}
    assert found.guards("full", 4) == {}
    assert (found.kept("lora", 4), found.kept("full", 4)) == (pytest.approx(0.9), None)


def test_other_images_are_refused() -> None:
    one, other = result("full", 4, 1, 0.7, 0.6), result("lora", 4, 1, 0.7, 0.6)
    check_same_images([one, other, result("lora", 4, 2, 0.7, 0.6)])
    with pytest.raises(TrainingError, match="lora-4-1 trained on other images than out/cells/full-4-1"):
        check_same_images([one, replace(other, data=("more", "test"))])
    with pytest.raises(TrainingError, match="lora-4-1 was tested on other images"):
        check_same_images([one, replace(other, data=(other.data[0], "more"))])


def test_a_mean_is_as_sure_as_its_seeds_and_its_images_say() -> None:
    assert standard_error([0.5, 0.7], 10**9) == pytest.approx(math.sqrt(0.02) / math.sqrt(2))
    assert standard_error([0.5], 96) == pytest.approx(0.05)  # (48 + 2) of 100
    assert standard_error([1.0], 3) > 0.1


def outcome(found: Table, *failed: Failure) -> Outcome:
    return Outcome("blood <cells>", "cliptune sweep --config x", Path("out"), found, recommend(found), failed, {"cliptune": "1"})


@pytest.mark.usefixtures("elsewhere")
def test_the_page_and_the_files_hold_what_there_is_and_what_failed() -> None:
    found = table(result("full", 4, 1, 0.7, 0.6, guards={"old": (0.5, 0.4)}), result("lora", None, 1, 0.7, 0.65, train=100))
    lacking = Failure(cells("bad")[0], "ConfigError: <b>no</b>")
    Path("out").mkdir()
    write_data(outcome(found, lacking))
    data = json.loads(Path("out/sweep.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(data_of(outcome(found, lacking))))
    assert [(one["method"], one["shots"], one["test"]["mean"]) for one in data["means"]] == [("full", 4, 0.6), ("lora", "all", 0.65)]
    assert data["recommendation"]["shots"] == "all"
    with Path("out/sweep.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["method"], row["shots"], row["adapted"], row["guard_old_after"], row["error"]) for row in rows] == [
        ("full", "4", "0.6", "0.4", ""),
        ("lora", "all", "0.65", "", ""),
        ("bad", "1", "", "", "ConfigError: <b>no</b>"),
    ]
    text = page(outcome(found, lacking))
    assert "blood &lt;cells&gt;" in text
    assert "<b>no</b>" not in text
    for title in ("Which method", "Accuracy against shots", "Gain against forgetting", "Costs", "Runs", "Without a result"):
        assert f"<h2>{title}</h2>" in text
    assert "<h2>Without a result</h2>" not in page(outcome(found))
    assert "Gain against forgetting" not in page(outcome(table(result("full", 4, 1, 0.7, 0.6))))


def test_the_table_and_the_page_tell_how_much_of_the_guards_is_kept() -> None:
    guards = {"old": (0.5, 0.42), "odd": (0.5, 0.5)}
    found = table(result("full", 4, 1, 0.7, 0.6, guards=guards), result("lora", 4, 1, 0.7, 0.65))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(drawn(found))
    lines = [re.split(r"[\s│┃]+", line.strip()) for line in console.export_text().splitlines()]
    assert lines[0][-2:] == ["guards", "kept"]
    assert {line[0]: line[-1] for line in lines if line[0] in ("full", "lora")} == {"full": "84%", "lora": "-"}
    text = page(outcome(found))
    assert "guards kept" in text
    assert '<div class="warn"><b>84.0%</b><span>of the guards kept</span></div>' in page(
        outcome(table(result("full", 4, 1, 0.7, 0.6, guards=guards)))
    )
    assert "What keeps less than 90% of the untouched CLIP" in text
    assert "guards kept" not in page(outcome(table(result("full", 4, 1, 0.7, 0.6))))


def test_the_page_tells_the_rule_that_chose_and_has_ticks_at_the_shots() -> None:
    by_time = table(*(result("full", shots, 1, 0.7, 0.6) for shots in (1, 4)), shots=(1, 4))
    losses = {"losses": {"zero_shot": 2.0, "adapted": 0.1234}, "images": 12}
    by_loss = table(*(result("full", shots, 1, 0.7, 0.6, **losses) for shots in (1, 4)), shots=(1, 4))
    first, second = page(outcome(by_time)), page(outcome(by_loss))
    assert "trains in the least time" in first
    assert "cross-entropy" not in first
    assert "trains in the least time" not in second
    assert "the one with the lowest cross-entropy there" in second
    assert "cross-entropy</" in second
    assert ">0.123</td>" in second
    ticks = re.findall(r'<div class="xs">(.*?)</div>', first)[0]
    assert re.findall(r">([^<]+)</span>", ticks) == ["1", "4"]
