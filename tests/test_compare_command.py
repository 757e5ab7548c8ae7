"""`cliptune compare` as people see it: terminal, page, tables, and its mistakes in a line."""

import csv
import io
import re
from pathlib import Path

import pytest
import torch
from compared import by_accuracy, made
from page_reader import Reader
from rich.console import Console
from small import error_of

from cliptune.comparison.comparing import Comparison, compare
from cliptune.comparison.page import page
from cliptune.comparison.settings import differing, flat_config, tell_apart, told_part
from cliptune.comparison.terminal import print_comparison
from cliptune.main import main
from cliptune.metrics.answers import Answers

EVIL = '<script>alert("x")</script>'


def fleet(root: Path, runs: int, classes: int, each: int = 20) -> Path:
    """Runs of some methods with names of all lengths, on classes of all kinds."""
    names = [EVIL if i == 1 else f"class number {i}" for i in range(classes)]
    zero, before = by_accuracy(torch.full((classes,), 0.3), each, 99)
    for i in range(runs):
        answers, top1 = by_accuracy(torch.linspace(0.3 + 0.04 * i, 0.95, classes), each, i)
        made(
            root / f"a-run-with-{'quite-' * (i % 4)}a-long-name-{i}",
            Answers(answers, None),
            Answers(zero, None),
            {"test/top1": top1, "test/mean_per_class": top1, "test/nll": 1.25},
            {"test/top1": before, "test/mean_per_class": before},
            method=("LoRA", "Full", "LinearProbe", "PromptTuning")[i % 4],
            config={"data": {"shots": (16, None)[i % 2]}, "run": {"name": f"x{i}"}, "model": {"optimizer": {"lr": 0.1 * (i % 3)}}},
            class_names=names,
            counts={"train": 99, "parameters_learned": 123_456 * (i + 1)},
            seconds={"fit": 7.5 * (i + 1) ** 2},
            intervals={"adapted": {"test/top1": [top1 - 0.0321, top1 + 0.0321]}, "zero_shot": {"test/top1": [0.2, 0.4]}},
            guard={"other": {"metric": "top1", "zero_shot": {"top1": 0.6}, "adapted": {"top1": 0.6 - 0.0123 * (i + 1)}}},
        )
    return root


def shown(found: Comparison, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_comparison(found, console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_twelve_runs_are_readable_in_a_terminal(tmp_path: Path, width: int) -> None:
    found = compare([fleet(tmp_path, 12, 7)])
    lines = shown(found, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text.partition("against")[0]  # no number or name is cut
    for row in found.rows:
        low, high = row.intervals["test/top1"]
        assert f"{row.metrics['test/top1']:.4f}  {low:.3f}-{high:.3f}" in text
        assert row.parameters is not None
    for part in ("-0.1476", "1.48M", "18 min", "800 MB", "PromptTuning", "all: objective CrossEntropy, backbone nano"):
        assert part in text, part
    assert "".join(line[3:30].strip() for line in lines).count("a-run-with-quite-quite-quite-a-long-name-11") == 2  # folded, in both tables
    assert next(line[0] for line in lines if line[:1] in ("\N{BLACK STAR}", "\N{ALMOST EQUAL TO}")) == "\N{BLACK STAR}"


def test_a_wide_terminal_gets_one_table(tmp_path: Path) -> None:
    found = compare([fleet(tmp_path, 2, 3)])
    assert len([line for line in shown(found, 170) if "run" in line and "top-1" in line and "memory" in line]) == 1


def test_words_of_the_data_are_shown_and_never_run(tmp_path: Path) -> None:
    found = compare([fleet(tmp_path, 3, 4)])
    found.rows[1].name = EVIL
    read = Reader(page(found))
    assert (read.open, read.wrong) == ([], [])
    assert read.text.count(EVIL) >= 3
    assert len([tag for tag, _ in read.tags if tag == "script"]) == 1
    assert [given["id"] for tag, given in read.tags if tag == "section"] == ["scores", "cost", "pairs", "classes", "settings"]
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page(found))
    assert EVIL in "\n".join(shown(found, 200))


def test_the_page_draws_scores_against_costs_and_zero_shot_as_a_line(tmp_path: Path) -> None:
    read = Reader(page(compare([fleet(tmp_path, 3, 4)])))
    styles = [str(given.get("class")) for tag, given in read.tags if tag == "path"]
    assert styles.count("line t0 dashed") == 2
    assert len([style for style in styles if style.startswith("point ")]) == 6
    assert len([style for style in styles if style.startswith("interval ")]) == 6
    for part in ("top-1 against parameters that learned", "top-1 against training", "data.shots", "model.optimizer.lr"):
        assert part in read.text
    assert "run.name" not in read.text


def test_the_page_stays_small_however_many_classes_there_are(tmp_path: Path) -> None:
    found = compare([fleet(tmp_path, 12, 4000, each=2)], "guard/other/top1")  # not of test: nothing is drawn anew
    text = page(found)
    assert len(text.encode()) < 5_000_000
    assert "The 1,153 classes that differ most are shown; all are in classes.csv." in text


def test_pages_and_tables_are_written_beside_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet(tmp_path, 3, 4)
    assert main(["compare", str(tmp_path)]) == 0
    assert f"page: {tmp_path}/compare/compare.html" in capsys.readouterr().out
    with (tmp_path / "compare" / "compare.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["kind"] for row in rows] == ["run", "run", "run", "zero-shot"]
    best = rows[0]
    assert (best["best"], best["compared_with"], best["shots"], best["parameters"]) == ("1", "", "16", "370368")
    assert float(best["test/top1_high"]) == pytest.approx(float(best["test/top1"]) + 0.0321)
    assert float(best["forgotten/other"]) == pytest.approx(-0.0369)
    assert (rows[-1]["compared_with"], rows[-1]["metric"]) == (best["run"], "test/top1")
    assert float(rows[-1]["change"]) < float(rows[-1]["change_high"]) < 0
    with (tmp_path / "compare" / "classes.csv").open(encoding="utf-8", newline="") as handle:
        classes = list(csv.DictReader(handle))
    assert len(classes) == 4 * 4
    assert [row["class"] for row in classes[::4]] == ["class number 0", EVIL, "class number 2", "class number 3"]
    most = max(float(row["accuracy"]) for row in classes[:4])
    assert [row["best"] for row in classes[:4]] == [str(int(float(row["accuracy"]) == most)) for row in classes[:4]]
    assert {row["best"] for row in classes[:4]} == {"0", "1"}
    zero = classes[3]
    assert (zero["run"], zero["images"]) == ("zero-shot", "20")
    assert int(zero["won"]) - int(zero["lost"]) == round(20 * (float(zero["accuracy"]) - float(classes[0]["accuracy"])))


def test_an_output_folder_and_another_metric(tmp_path: Path) -> None:
    fleet(tmp_path / "runs", 2, 3)
    words = [str(folder) for folder in sorted((tmp_path / "runs").iterdir())]
    assert main(["compare", *words, "--output", str(tmp_path / "put"), "--metric", "nll"]) == 0
    assert not (tmp_path / "runs" / "compare").exists()
    with (tmp_path / "put" / "compare.csv").open(encoding="utf-8", newline="") as handle:
        assert {row["metric"] for row in csv.DictReader(handle)} == {"test/nll"}


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = fleet(tmp_path / "runs", 2, 3)
    assert error_of(capsys, "compare").startswith("ConfigError: compare lacks its runs: cliptune compare RUN RUN ..., or a folder")
    assert "there is no folder" in error_of(capsys, "compare", str(root), str(tmp_path / "nothing"))
    assert "Did you mean test/top1?" in error_of(capsys, "compare", str(root), "--metric", "test/top2")
    (tmp_path / "file").touch()
    assert "compare cannot write" in error_of(capsys, "compare", str(root), "--output", str(tmp_path / "file"))
    answers = next(root.glob("*/evaluation/adapted.safetensors"))
    answers.write_bytes(b"torn")
    assert "is not read" in error_of(capsys, "compare", str(root))


def test_configs_are_compared_by_their_keys(tmp_path: Path) -> None:
    configs = []
    for i, rank in enumerate((4, 8)):
        part = {"class_path": "cliptune.LoRA", "init_args": {"rank": rank, "targets": ["q", "k"]}}
        folder = made(tmp_path / f"r{i}", config={"model": {"method": part}, "run": {"name": f"r{i}"}, "data": {"shots": 16}})
        configs.append(flat_config(folder))
    assert differing(configs) == ["model.method.rank"]
    assert configs[0] | {"run.name": ""} == {
        "model.method": "LoRA",
        "model.method.rank": "4",
        "model.method.targets": "['q', 'k']",
        "run.name": "",
        "data.shots": "16",
    }
    described = [{"class": "x.LoRA", "arguments": {"rank": rank, "dropout": 0.0}} for rank in (4, 8)]
    assert tell_apart([*described, {"class": "x.Full", "arguments": {"rank": 1}}]) == ["rank 4", "rank 8", ""]
    inner = [{"class": "x.Contrastive", "arguments": {}}, {"class": "x.L2SP", "arguments": {}}]
    assert told_part({"class": "x.Sum", "arguments": {"parts": inner}}) == "Contrastive + L2SP"
