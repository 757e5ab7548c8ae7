"""A run folder as a report reads it: whole, old, of several seeds, and damaged."""

import json
from pathlib import Path

import pytest
from report_runs import make_run

from cliptune.errors import CheckpointError
from cliptune.report.reading import read_run


def test_a_run_is_read_with_all_its_parts(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "a", 60, 7, 2))
    assert run.name == "a"
    assert run.after.classes is not None
    assert run.before.retrieval is not None
    assert (len(run.after.classes), run.after.classes.classes, len(run.before.retrieval.owner)) == (60, 7, 120)
    assert run.series("guard/caltech101/top1")[0] == (0, pytest.approx(0.912))
    assert run.part("guard", "caltech101", "metric") == "top1"
    assert run.part("guard", "no such", "metric") == {}
    assert run.examples.name(4) == "melanoma"
    assert run.examples.name(70) == "class 70"


def test_a_folder_with_a_summary_alone_is_read(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps({"command": "test"}), encoding="utf-8")
    run = read_run(tmp_path)
    assert (run.metrics, run.config, run.last.classes, run.last.retrieval, run.examples.classes) == ([], "", None, None, [])


def test_where_only_the_untouched_model_was_scored_its_answers_stand_for_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", 60)
    (folder / "evaluation" / "adapted.safetensors").unlink()
    run = read_run(folder)
    assert run.last is run.before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "has no summary.json"),
        ("{", "is not read"),
        ("[1]", "holds no object"),
        (json.dumps({"runs": {"1": {"folder": "runs/a-1"}, "2": {"folder": "runs/a-2"}}}), "holds 2 runs, a seed each. Give one of them"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=said) as error:
        read_run(tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_answers_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", 60)
    (folder / "evaluation" / "adapted.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"adapted.safetensors is not read"):
        read_run(folder)
