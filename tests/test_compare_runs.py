"""Which folders are compared, and what their rows say."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from compared import by_accuracy, class_answers, made

from cliptune.comparison.comparing import compare
from cliptune.comparison.entries import entries_of
from cliptune.comparison.folders import find_runs
from cliptune.errors import CheckpointError, ConfigError
from cliptune.metrics.answers import Answers


def test_a_folder_of_runs_gives_its_fits_and_says_what_is_left_out(tmp_path: Path) -> None:
    for name in ("b", "a"):
        made(tmp_path / name, metrics={"test/top1": 0.5})
    made(tmp_path / "tested", metrics={"test/top1": 0.5}, command="test")
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "config.yaml").touch()
    (tmp_path / "compare").mkdir()
    found, notes = find_runs([tmp_path, tmp_path / "a"])
    assert [one.folder.name for one in found] == ["a", "b"]
    assert [note.partition(": ")[2] for note in notes] == ["open", "tested; name them to have them"]
    assert [one.folder.name for one in find_runs([tmp_path / "tested", tmp_path / "b"])[0]] == ["tested", "b"]


def test_what_is_no_run_that_has_ended_is_told_in_a_line(tmp_path: Path) -> None:
    run = made(tmp_path / "run", metrics={"test/top1": 0.5})
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "config.yaml").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "summary.json").write_text("{", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "summary.json").write_text("{}", encoding="utf-8")
    cases = {
        "runn": f"there is no folder {tmp_path}/runn. Did you mean run?",
        "open": "has not ended: it has no summary.json. Go on with it, cliptune fit --config",
        "empty": "is no run folder, and holds none",
        "torn": "summary.json is not read: Expecting property name",
        "other": "summary.json is not read: it lacks 'zero_shot'",
        "run/summary.json": "is a file. Give the run's folder",
    }
    for name, told in cases.items():
        with pytest.raises(CheckpointError) as error:
            find_runs([run, tmp_path / name])
        assert told in str(error.value), name
        assert "\n" not in str(error.value)


def test_one_run_alone_is_sent_to_the_report(tmp_path: Path) -> None:
    run = made(tmp_path / "run", metrics={"test/top1": 0.5})
    with pytest.raises(ConfigError, match=f"and {run} is one. Look at it alone: cliptune report {run}"):
        find_runs([run, tmp_path])


def test_a_metric_that_none_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, metrics={"test/top1": 0.5, "test/macro_f1": 0.4}) for name in "ab"]
    assert compare(runs, "macro_f1").metric == "test/macro_f1"
    with pytest.raises(ConfigError, match=r"--metric test/macrof1: none of the runs has it. Did you mean test/macro_f1\?"):
        compare(runs, "test/macrof1")


def test_seeds_are_a_row_of_means_that_speaks_for_their_runs(tmp_path: Path) -> None:
    runs = {}
    for seed, value in ((1, 0.5), (2, 0.7)):
        folder = made(
            tmp_path / f"x-seed{seed}", metrics={"test/top1": value}, seconds={"fit": 10.0 * seed}, guard=_guard(0.6 - 0.1 * seed)
        )
        scores = {"zero_shot": {"test/top1": 0.1}, "adapted": {"test/top1": value}}
        runs[str(seed)] = {"folder": f"elsewhere/{folder.name}", **scores}
    spread = {"n": 2, "mean": 0.6, "std": 0.1414, "min": 0.5, "max": 0.7, "values": [0.5, 0.7]}
    (tmp_path / "x-seeds").mkdir()
    told = {"command": "seeds", "seeds": [1, 2], "runs": runs, "zero_shot": {}, "adapted": {"test/top1": spread}}
    (tmp_path / "x-seeds" / "summary.json").write_text(json.dumps(told), encoding="utf-8")
    made(tmp_path / "y", metrics={"test/top1": 0.55})
    found, _ = find_runs([tmp_path])
    rows = entries_of(found)
    assert [row.name for row in rows] == ["x-seeds", "y", "zero-shot"]
    seeds = rows[0]
    assert (seeds.metrics, seeds.spreads, seeds.seeds) == ({"test/top1": 0.6}, {"test/top1": 0.1414}, 2)
    assert (seeds.seconds, seeds.method, seeds.shots) == (15.0, "LoRA", "16")
    assert seeds.guards["other"].change == pytest.approx((-0.1 - 0.2) / 2)
    notes = compare([tmp_path]).notes
    assert any("means over seeds: x-seeds" in note for note in notes)


def _guard(after: float) -> dict[str, object]:
    return {"other": {"metric": "top1", "zero_shot": {"top1": 0.6}, "adapted": {"top1": after}}}


def test_zero_shot_is_one_row_and_one_for_each_backbone(tmp_path: Path) -> None:
    zero = Answers(by_accuracy(torch.full((3,), 0.3), 10, 0)[0], None)
    made(tmp_path / "a", metrics={"test/top1": 0.5}, zero_shot=zero)
    made(tmp_path / "b", metrics={"test/top1": 0.6}, before={"test/top1": 0.1001})  # another precision
    rows = entries_of(find_runs([tmp_path])[0])
    assert [(row.name, row.kind) for row in rows] == [("a", "run"), ("b", "run"), ("zero-shot", "zero-shot")]
    assert rows[-1].answers is not None
    made(tmp_path / "templates", metrics={"test/top1": 0.5}, before={"test/top1": 0.2})  # other words around the classes
    assert [row.name for row in entries_of(find_runs([tmp_path])[0])[3:]] == ["zero-shot of a", "zero-shot of templates"]
    shutil.rmtree(tmp_path / "templates")
    large = {"name": "ViT-L-14", "pretrained": "openai"}
    made(tmp_path / "c", metrics={"test/top1": 0.6}, before={"test/top1": 0.4}, backbone=large, base_fingerprint="b1")
    assert [row.name for row in entries_of(find_runs([tmp_path])[0])[3:]] == ["zero-shot nano", "zero-shot ViT-L-14 openai"]


def test_rows_of_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [made(tmp_path / root / "lora", metrics={"test/top1": 0.5}) for root in ("one", "two")]
    assert [row.name for row in entries_of(find_runs(runs)[0])][:2] == ["one/lora", "two/lora"]


def test_runs_on_other_test_data_are_rows_but_compared_with_none(tmp_path: Path) -> None:
    right = Answers(class_answers(torch.tensor([0, 1, 2] * 9), torch.tensor([0, 1, 2] * 9), 3), None)
    for name in "ab":
        made(tmp_path / name, adapted=right, metrics={"test/top1": 1.0})
    data = {"path": ["x"], "eval_path": None, "fingerprint": "f1", "test_fingerprint": "t1"}
    made(tmp_path / "other", adapted=right, metrics={"test/top1": 1.0}, data=data)
    found = compare([tmp_path])
    assert [row.name for row in found.rows] == ["a", "b", "zero-shot of a", "other", "zero-shot of other"]
    assert found.best is not None
    assert found.best.name == "a"
    assert found.paired is not None
    assert [row.name for row in found.paired.rows] == ["a", "b"]
    assert "not compared with the others, since their test data is another: other" in found.notes


def test_training_data_does_not_keep_runs_apart_but_an_old_run_that_cannot_tell_is(tmp_path: Path) -> None:
    for name, train in (("few", "f1"), ("many", "f2")):
        made(tmp_path / name, metrics={"test/top1": 0.5}, data={"fingerprint": train, "test_fingerprint": "t0"})
    made(tmp_path / "old", metrics={"test/top1": 0.9}, data={"fingerprint": "f1"})
    found = compare([tmp_path])
    assert [row.name for row in found.comparable if row.kind == "run"] == ["few", "many"]


def test_an_old_run_without_answers_is_in_the_table_and_not_paired(tmp_path: Path) -> None:
    right = Answers(class_answers(torch.tensor([0, 1] * 9), torch.tensor([0, 1] * 9), 2), None)
    for name in "ab":
        made(tmp_path / name, adapted=right, metrics={"test/top1": 0.8})
    made(tmp_path / "old", metrics={"test/top1": 0.9})
    found = compare([tmp_path])
    assert [row.name for row in found.rows] == ["old", "a", "b", "zero-shot"]
    assert found.best is found.rows[0]
    assert found.paired is not None
    assert found.paired.reference.name == "a"
    assert any("answers were not kept" in note and "old" in note for note in found.notes)
