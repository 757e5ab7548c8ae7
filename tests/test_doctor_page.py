"""The page, the JSON and the terminal: everything is said, nothing of the data becomes a part of the page."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import pytest
from doctor_reports import EVIL, by_class, captioned, config, picture, report, spread, zero
from page_reader import Reader
from rich.console import Console

from cliptune.doctor.histogram import histogram
from cliptune.doctor.page import page, write_page
from cliptune.doctor.places import Place, Spread
from cliptune.doctor.problems import problems
from cliptune.doctor.recommend import recommend
from cliptune.doctor.report import Report, write_json
from cliptune.doctor.terminal import print_report, shown


def test_the_page_is_well_formed_and_has_all_sections() -> None:
    read = Reader(page(report()))
    assert (read.open, read.wrong) == ([], [])
    anchors = [given["id"] for tag, given in read.tags if tag == "section"]
    assert anchors == ["mend", "advice", "splits", "classes", "images", "copies", "texts", "zero-shot", "distance"]
    assert [given["href"] for tag, given in read.tags if tag == "a"] == [f"#{anchor}" for anchor in anchors]


def test_words_of_the_data_are_shown_and_never_run() -> None:
    read = Reader(page(report(name=EVIL)))
    assert all(str(given.get("src", "data:")).startswith("data:image/jpeg;base64,") for tag, given in read.tags if tag == "img")
    assert not [given for _, given in read.tags if any(key.startswith("on") for key in given)]
    assert read.text.count(EVIL) >= 6  # the name, the class, the paths, the caption, the example, the cut name
    assert len([tag for tag, _ in read.tags if tag == "script"]) == 1


def test_the_page_needs_nothing_else_and_lets_only_its_own_script_run() -> None:
    text = page(report())
    script = re.search(r"<script>(.*)</script>", text, flags=re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_the_page_says_what_was_found() -> None:
    text = Reader(page(report())).text
    for part in (
        "1 image of test (3.3%) is in train too",
        "3 image files have 0 bytes",
        "nearly the same (distance 0.02)",
        "67% of class 0 are taken for class 1 (2 of 3)",
        "Test is not looked at",
        "Multilingual backbones that would serve: xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k",
        "What this cannot say",
        "cliptune fit --config THIS_FILE",
    ):
        assert part in text, part


@pytest.mark.parametrize("findings", ["classes", "captions"])
def test_data_without_one_half_has_a_page_too(findings: str) -> None:
    found = by_class(50, 50) if findings == "classes" else captioned(500)
    scored = zero(classes=None, retrieval=None)
    made = Report("x", found, scored, problems(found, scored, config()), recommend(found, scored, config()))
    read = Reader(page(made))
    assert read.wrong == []
    assert ("Classes" in read.text.split("To mend")[1]) == (findings == "classes")
    print_report(made, Console(file=io.StringIO()))


def test_the_page_stays_small_however_many_pictures_there_are(tmp_path: Path) -> None:
    made = report()
    names = [f"class {i}" for i in range(3000)]
    made.findings.thumbnails = {f"train:{i}": picture() + "A" * 4 * 20_000 for i in range(3000)}
    made.findings.examples = {name: [Place("train", i, f"{i}.jpg")] for i, name in enumerate(names)}
    places = [Place("train", i, f"{i}.jpg") for i in range(1000)]
    for kind in made.findings.images.odd.values():
        kind.places, kind.count = places, 3000
    made.problems = problems(made.findings, made.zero, config())
    write_page(tmp_path / "doctor.html", made)
    assert (tmp_path / "doctor.html").stat().st_size < 5_000_000


def test_the_json_is_plain_and_has_no_pictures(tmp_path: Path) -> None:
    write_json(tmp_path / "doctor.json", report())
    read = json.loads((tmp_path / "doctor.json").read_text(encoding="utf-8"))
    assert set(read) == {"name", "problems", "recommendations", "zero_shot", "findings", "fixed", "versions"}
    assert read["findings"]["splits"]["train"]["rows"] == 148
    assert read["findings"]["duplicates"]["pairs"][0]["across"] is True
    assert "thumbnails" not in read["findings"]
    assert {one["topic"] for one in read["recommendations"]} >= {"method", "objective", "batch size", "learning rate"}
    assert read["zero_shot"]["classes"]["classes"][0]["accuracy"] == pytest.approx(1 / 3)


def test_the_terminal_has_what_to_mend_first_and_takes_no_words_for_markup() -> None:
    buffer = io.StringIO()
    made = report()
    made.findings.classes.names[0] = "[bold]x[/]"
    made.findings.notes = ["[red]note"]
    print_report(made, Console(file=buffer, width=140))
    said = buffer.getvalue()
    assert said.index("To mend") < said.index("Zero-shot") < said.index("Recommended")
    for part in ("[red]note", "3 image files have 0 bytes", EVIL, "top-1", "image to text: R@1 0.100", "model.method: LoRA", "[Zanella"):
        assert part in said, part


def test_values_are_shown_short() -> None:
    assert shown({"class_path": "cliptune.methods.lora.LoRA", "init_args": {"rank": 8, "dropout": 0.0}}) == "LoRA(rank=8)"
    assert [shown(value) for value in (None, True, 1e-5, [1, "a"], "x")] == ["null", "true", "1e-05", "[1, a]", "x"]


def test_columns_are_as_long_as_their_numbers() -> None:
    made = histogram(spread(*[1] * 9, *[10] * 3), "x", mark=5.5, mark_name="here")
    assert made is not None
    assert re.findall(r"height:([\d.]+)", made)[0] == "100.0"
    assert re.findall(r"height:([\d.]+)", made)[-1] == "33.3"
    assert 'style="left:50.00%"' in made
    assert histogram(Spread(), "x") is None
    assert "all 7" in str(histogram(spread(7, 7), "x"))
