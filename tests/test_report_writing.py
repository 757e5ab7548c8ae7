"""The report's text: sections as far as there is something to say, numbers as in the files, and nothing of the data as markup."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from page_reader import Reader
from report_answers import class_answers, retrieval_answers
from report_measures import EVIL
from report_runs import make_run

from cliptune.commands.report import run as command
from cliptune.errors import ConfigError
from cliptune.metrics.answers import Answers
from cliptune.report.classes import by_class
from cliptune.report.confusion import arranged, cells_of
from cliptune.report.reading import read_run
from cliptune.report.writing import SECTIONS, report_page, write_report


def read(folder: Path) -> Reader:
    return Reader(report_page(read_run(folder)))


def anchors(page: Reader) -> list[str]:
    return [str(given["id"]) for tag, given in page.tags if tag == "section"]


def test_a_run_with_everything_has_every_section_and_is_well_formed(tmp_path: Path) -> None:
    page = read(make_run(tmp_path / "a", 80, 7, 2))
    assert (page.open, page.wrong) == ([], [])
    assert anchors(page) == [anchor for anchor, *_ in SECTIONS]


@pytest.mark.parametrize(
    ("classes", "captions", "absent"),
    [(7, 0, {"retrieval"}), (0, 2, {"classes", "confusion", "calibration", "examples"}), (200, 0, {"retrieval"})],
)
def test_what_a_run_has_not_is_left_out(classes: int, captions: int, absent: set[str], tmp_path: Path) -> None:
    page = read(make_run(tmp_path / "a", 300, classes, captions))
    assert {anchor for anchor, *_ in SECTIONS} - set(anchors(page)) == absent
    assert page.wrong == []


def test_a_summary_of_before_gives_a_page(tmp_path: Path) -> None:
    old = {
        "command": "fit",
        "backbone": {"name": "nano", "pretrained": None},
        "method": {"class": "cliptune.methods.full.Full", "arguments": {"towers": "both"}},
        "objective": {"class": "cliptune.objectives.contrastive.Contrastive", "arguments": {}},
        "zero_shot": {"val/top1": 0.1, "test/top1": 0.0953},
        "adapted": {"val/top1": 0.97, "test/top1": 0.9806},
        "counts": {"train": 1258, "validation": 179, "test": 360, "classes": 10, "parameters_all": 5, "parameters_learned": 5},
        "seconds": {"fit": 158.2, "total": 170.1},
        "peak_memory_mb": 901.5,
        "seed": 1,
        "data": {"path": ["digits"], "eval_path": None, "fingerprint": "ab", "notes": []},
        "versions": {"cliptune": "0.1"},
    }
    (tmp_path / "summary.json").write_text(json.dumps(old), encoding="utf-8")
    page = read(tmp_path)
    assert anchors(page) == ["scores", "run", "data", "cost", "again"]
    for part in ("9.5%", "98.1%", "+88.5", "Full on nano with Contrastive on digits", f"cliptune fit --config {tmp_path}/config.yaml"):
        assert part in page.text, part


@pytest.mark.parametrize(
    "summary", [{}, {"command": "test", "zero_shot": {"test/top1": 0.5}, "adapted": {}}, {"adapted": {"val/score": 1.0}}]
)
def test_however_little_there_is_there_is_a_page(summary: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert read(tmp_path).wrong == []


def test_words_of_the_data_are_shown_and_never_run(tmp_path: Path) -> None:
    names = [EVIL, *"abcdef"]
    page = read(make_run(tmp_path / "a", 80, 7, 2, names))
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1
    assert all(str(given.get("src")).startswith("data:image/jpeg;base64,") for tag, given in page.tags if tag == "img")
    assert not [given for _, given in page.tags if any(key.startswith("on") for key in given)]
    for section in ("forgetting", "classes", "confusion", "retrieval", "templates", "learned", "composition", "bias", "data"):
        assert EVIL in page.text, section


def test_the_page_needs_nothing_else_and_lets_only_its_own_script_run(tmp_path: Path) -> None:
    text = report_page(read_run(make_run(tmp_path / "a", 80, 7, 2)))
    script = re.search(r"<script>(.*)</script>", text, flags=re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"<[^>]*\s(?:src|href)=\"(?!data:|#)", text)


def test_a_change_that_may_be_chance_is_not_called_better(tmp_path: Path) -> None:
    sure = {
        "test/top1": {"change": 0.02, "low": -0.01, "high": 0.05, "p": 0.2},
        "test/ece": {"change": 0.1, "low": 0.05, "high": 0.15, "p": 0.0},
    }
    page = report_page(read_run(make_run(tmp_path / "a", 80, changes=sure)))
    rows = re.findall(r"<tr><td><span>(top-1|calibration error)(?:<br>.*?)?</span>.*?</tr>", page)
    assert rows[:2] == ["top-1", "calibration error"]
    cell = {name: re.search(rf"<tr><td><span>{name}<.*?class=\"chip ?(\w*)\" data-tip=\"([^\"]*)\">([\w ]+)<", page) for name in rows[:2]}
    assert cell["top-1"] is not None
    assert cell["calibration error"] is not None
    assert cell["top-1"].groups() == ("", "p = 0.20", "may be chance")
    assert cell["calibration error"].groups() == ("stop", "p &lt; 0.001", "worse")  # less is better


def test_thumbnails_end_where_the_room_does(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", 300, 7, 2)
    file = folder / "evaluation" / "examples.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    kept["pictures"] = dict.fromkeys(kept["pictures"], "A" * 400000)
    file.write_text(json.dumps(kept), encoding="utf-8")
    assert write_report(folder).stat().st_size < 5_000_000


def test_the_command_writes_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "a", 60)
    command([str(folder)])
    assert (folder / "report.html").is_file()
    command([str(folder), "--output", str(tmp_path / "b" / "page.html")])
    assert (tmp_path / "b" / "page.html").read_text(encoding="utf-8") == (folder / "report.html").read_text(encoding="utf-8")
    assert "needs no other file" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"is no \.html file"):
        command([str(folder), "--output", "page.txt"])


# numbers


def test_classes_are_counted_as_by_hand() -> None:
    before, after = class_answers(200, 5, 1.0, noise=1), class_answers(200, 5, 2.0, noise=2)
    found = by_class(before, after)
    for label in range(5):
        own = (after.label == label).nonzero()[:, 0].tolist()
        was = [int(before.top[i, 0]) == label for i in own]
        now = [int(after.top[i, 0]) == label for i in own]
        wrong = [int(after.top[i, 0]) for i in own if int(after.top[i, 0]) != label]
        assert found.won is not None
        assert found.lost is not None
        assert (found.images[label], found.after[label]) == (len(own), sum(now))
        assert found.won[label] == sum(b and not a for a, b in zip(was, now, strict=True))
        assert found.lost[label] == sum(a and not b for a, b in zip(was, now, strict=True))
        assert found.times[label] == max((wrong.count(other) for other in set(wrong)), default=0)


def test_cells_of_the_confusion_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix

    answers = class_answers(300, 8, 1.0)
    cells, whole = cells_of(answers), torch.zeros(8, 8, dtype=torch.long)
    whole[cells.truth, cells.said] = torch.from_numpy(cells.count)
    assert whole.tolist() == confusion_matrix(answers.label, answers.top[:, 0], labels=range(8)).tolist()
    assert cells.share.sum() == pytest.approx(8.0)


def test_classes_that_are_confused_become_neighbours() -> None:
    answers = class_answers(40, 20, 0.0)
    answers.label = torch.arange(20).repeat(2)
    answers.top[:, 0] = answers.label
    answers.top[:20, 0] = (answers.label[:20] + 10) % 20  # half of each class is taken for the one ten further on
    order = arranged(cells_of(answers), 20).tolist()
    assert sorted(order) == list(range(20))
    assert all(abs(order.index(label) - order.index((label + 10) % 20)) == 1 for label in range(20))


def test_where_nothing_is_confused_there_is_a_page_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", 60, 30)
    right = class_answers(60, 30, 50.0)
    from cliptune.outcomes import write_answers

    for state in ("zero_shot", "adapted"):
        write_answers(folder / "evaluation" / f"{state}.safetensors", Answers(right, retrieval_answers(60, 1, 1.0)))
    assert "Nothing is confused." in read(folder).text
