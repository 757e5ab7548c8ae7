"""The page of measurements shows what the files of results say, and nothing that was typed."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
from sets import SETS  # noqa: E402
from sets_page import overview, tables  # noqa: E402


@pytest.fixture(scope="module")
def page() -> ModuleType:
    """benchmarks/page.py, which needs no package but its neighbour."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("page", ROOT / "benchmarks" / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_as_the_results_are(page: ModuleType) -> None:
    for file in page.PAGES:
        text = file.read_text(encoding="utf-8")
        assert page.drawn(text) == text, "run `python benchmarks/page.py`"


def places(page: ModuleType) -> list[str]:
    return [name for file in page.PAGES for name in re.findall(r"<!-- results (\w+) -->", file.read_text(encoding="utf-8"))]


def test_every_result_with_lines_is_shown(page: ModuleType) -> None:
    files = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in page.RESULTS.glob("*.json")}
    drawable = {name.removesuffix("_gpu") for name, found in files.items() if "a" in found or "table" in found}
    assert drawable <= set(places(page))
    assert len(places(page)) == len(set(places(page)))


def test_every_place_has_the_command_that_writes_its_file(page: ModuleType) -> None:
    assert set(places(page)) <= set(page.COMMANDS)
    assert len(set(page.COMMANDS.values())) == len(page.COMMANDS)
    for command in page.COMMANDS.values():
        assert (ROOT / command.partition("python ")[2].split()[0]).is_file()


def test_a_glance_counts_the_goals_of_each_section_and_names_those_missed(page: ModuleType, tmp_path: Path) -> None:
    ratio = {"median": 0.91, "min": 0.4, "max": 1.625}
    lines = [
        {"case": "fast", "ratio": ratio, "goal": "<= 1.0 met"},
        {"case": "slow", "ratio": ratio, "goal": "<= 0.8 missed", "memory goal": 0.5, "peak ratio": 0.75},
        {"case": "told", "ratio": ratio, "goal": ""},
    ]
    (tmp_path / "one.json").write_text(json.dumps({"lines": lines}), encoding="utf-8")
    (tmp_path / "two.json").write_text(json.dumps({"goals": [{"case": "made", "met": True}]}), encoding="utf-8")
    text = "## A `--b` of 1,000\n<!-- results one -->\nx\n<!-- results two -->\n## Other\n<!-- results three -->\n"
    assert page.glance(text, tmp_path).splitlines()[2:] == [
        "| [A `--b` of 1,000](#a-b-of-1000) | 2 of 4 | one: slow (0.91, goal <= 0.8)<br>one: memory: slow (0.75, goal <= 0.5) |",
        "| [Other](#other) | not measured |  |",
    ]


def test_a_glance_counts_what_was_planned_and_names_sections_without_a_goal(page: ModuleType, tmp_path: Path) -> None:
    goals = [{"case": "x", "met": True}, {"case": "y", "met": False}]
    (tmp_path / "one.json").write_text(json.dumps({"goals": goals, "planned": 7}), encoding="utf-8")
    (tmp_path / "two.json").write_text(json.dumps({"lines": [{"case": "told", "goal": ""}]}), encoding="utf-8")
    text = "## Cells\n<!-- results one -->\n## Prose\n## Told\n<!-- results two -->\n"
    assert page.glance(text, tmp_path).splitlines()[2:] == [
        "| [Cells](#cells) | 1 of 2 measured cells, 2 of 7 | y |",
        "| [Told](#told) | no goal as a ratio |  |",
    ]


def test_a_gpus_result_is_shown_behind_the_cpus(page: ModuleType, tmp_path: Path) -> None:
    machine = {"cpu": "Z80", "capability": "DEFAULT", "cores": 2, "threads": 1, "load": 0.5}
    for name, more in (("one", {}), ("one_gpu", {"gpu": "G1"})):
        found = {"table": name, "machine": {**machine, **more}, "versions": {"torch": "2", "commit": "abc+"}}
        (tmp_path / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
    cpu = "1 of 2 cores, Z80 with DEFAULT, load 0.5"
    assert page.drawn("<!-- results one -->\n<!-- end -->\n", tmp_path).splitlines()[1:-1] == [
        "one",
        "",
        f"*{cpu}; torch 2, commit abc+; day not written down.*",
        "",
        "one_gpu",
        "",
        f"*{cpu}, G1; torch 2, commit abc+; day not written down.*",
    ]


def test_a_table_says_medians_spread_goal_notes_and_who_is_absent(page: ModuleType, tmp_path: Path) -> None:
    line = {"case": "x", "ratio": {"median": 0.5, "min": 0.4, "max": 0.625}, "goal": "<= 0.4 missed", "items": 2}
    other = {"case": "y", "ratio": {"median": 1.0, "min": 1.0, "max": 1.0}, "goal": "", "items": 2, "peak, MB": 1234.5}
    found = {
        "date": "2026-11-29 10:00 UTC",
        "machine": {"cpu": "Z80", "capability": "DEFAULT", "cores": 2, "threads": 1, "load": 0.5},
        "versions": {"torch": "2", "open_clip_torch": "3", "lightning": "4"},
        "a": "ours",
        "b": "theirs",
        "lines": [{**line, "seconds": {"a": [1, 2, 3], "b": [4, 4, 0.004]}}, {**other, "seconds": {"a": [0.01234], "b": [250.4]}}],
        "absent": ["somebody is absent"],
    }
    (tmp_path / "one.json").write_text(json.dumps(found), encoding="utf-8")
    before = "a\n<!-- results one -->\nold\n<!-- end -->\nb\n<!-- results none -->\n<!-- end -->\n"
    lines = page.drawn(before, tmp_path).splitlines()
    assert lines[:3] == [
        "a",
        "<!-- results one -->",
        "|  | ours, s | theirs, s | time of ours / theirs | least to greatest | goal | peak, MB |",
    ]
    assert lines[4:6] == [
        "| x | 2 | 4 | 0.500 | 0.400 to 0.625 | <= 0.4, **missed** |  |",
        "| y | 0.0123 | 250 | 1.000 | one pair |  | 1,234 |",
    ]
    assert lines[6:11] == [
        "",
        "somebody is absent",
        "",
        "*1 of 2 cores, Z80 with DEFAULT, load 0.5; torch 2, open_clip_torch 3, lightning 4; 2026-11-29.*",
        "<!-- end -->",
    ]
    assert lines[11:] == ["b", "<!-- results none -->", "Not measured yet.", "<!-- end -->"]


def test_the_page_of_sweeps_has_what_the_files_say(page: ModuleType) -> None:
    found = json.loads((page.RESULTS / "sets.json").read_text(encoding="utf-8"))["sets"]
    classes = {name: one for name, one in found.items() if SETS[name].get("label_column") is not None}
    text = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    for part in (overview(classes), *tables(classes, {name: one for name, one in found.items() if name not in classes})):
        assert part in text


def test_a_part_is_put_between_its_marks_alone(page: ModuleType) -> None:
    assert page.put("a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- end -->\n", ("<!-- x -->", "<!-- end -->"), "new") == (
        "a\n<!-- x -->\nnew\n<!-- end -->\nb\n<!-- end -->\n"
    )
