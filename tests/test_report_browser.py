"""The report in a real browser: nothing is fetched, nothing of the data is run; it serves at any width, in the dark and on paper."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_measures import EVIL
from report_runs import make_run

from cliptune.report.writing import SECTIONS, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine: apt-get install chromium")


class Seen:
    """A page with all that a browser said of it."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())

    def column(self, section: str, place: int) -> list[str]:
        """The shown cells of the first table of a section."""
        cells = self.page.locator(f"#{section} table.sortable").first.locator(f"tbody tr:not([hidden]) td:nth-child({place})")
        return list(cells.all_inner_texts())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with classes and captions."""
    return write_report(make_run(tmp_path_factory.mktemp("runs") / "both", 200, 7, 2))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 200 classes with long names, one of which is markup."""
    names = [EVIL, *(f"a species with quite a long name, number {i}" for i in range(1, 200))]
    return write_report(make_run(tmp_path_factory.mktemp("runs") / "many", 2000, 200, 0, names))


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    pages: list[Any] = []

    def open_page(file: Path, width: int = 1200, **options: Any) -> Seen:
        pages.append(browser.new_page(viewport={"width": width, "height": 900}, **options))
        return Seen(pages[-1], file)

    yield open_page
    for page in pages:
        page.close()


def test_every_section_is_there_nothing_is_fetched_and_nothing_complains(opened: Any, both: Path) -> None:
    seen = opened(both)
    assert seen.page.locator("main section").evaluate_all("all => all.map((one) => one.id)") == [anchor for anchor, *_ in SECTIONS]
    assert [url for url in seen.asked if not url.startswith("data:")] == [both.as_uri()]
    assert seen.said == []
    assert seen.page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    assert seen.page.locator("main img").count() > 20


def test_markup_in_the_data_is_shown_and_not_run(opened: Any, both: Path) -> None:
    seen = opened(both)
    assert seen.page.title() == "both: what was won"
    assert seen.page.locator('img[src="x"]').count() == 0
    assert seen.page.locator("#retrieval").get_by_text(EVIL).count() > 0
    seen.page.locator("#bias .dots b").last.hover()
    assert seen.page.locator("#tip").inner_text().startswith(EVIL)  # as text there too
    assert seen.page.title() == "both: what was won"


def test_a_click_sorts_and_another_turns_it_around(opened: Any, both: Path) -> None:
    seen = opened(both)
    head = seen.page.locator("#classes th button", has_text="change")
    head.click()
    changes = [float(cell.replace("\N{MINUS SIGN}", "-")) for cell in seen.column("classes", 5)]
    assert changes == sorted(changes)
    head.click()
    assert [float(cell.replace("\N{MINUS SIGN}", "-")) for cell in seen.column("classes", 5)] == sorted(changes, reverse=True)
    assert seen.page.locator("#classes th[aria-sort=descending]").inner_text().startswith("change")


def test_words_in_the_field_leave_the_rows_that_hold_them(opened: Any, both: Path) -> None:
    seen = opened(both)
    field = seen.page.locator("#confusion input[type=search]")
    every = len(seen.column("confusion", 1))
    field.fill("MELANOMA nevi")
    left = seen.column("confusion", 1)
    assert 0 < len(left) < every
    assert seen.page.locator("#confusion output").last.inner_text() == f"{len(left)} of {every}"
    field.fill("")
    assert len(seen.column("confusion", 1)) == every


def test_a_map_of_200_classes_names_the_cell_that_is_pointed_at_or_walked_to(opened: Any, many: Path) -> None:
    seen = opened(many)
    heat = seen.page.locator(".heat").last
    heat.scroll_into_view_if_needed()
    box = heat.locator("svg").bounding_box()
    cells = {tuple(map(int, cell.split(",")))[:2]: int(cell.split(",")[2]) for cell in heat.get_attribute("data-cells").split()}
    names, images = heat.get_attribute("data-names").split("\n"), heat.get_attribute("data-images").split()
    row, column = next(place for place in cells if place[0] != place[1])
    seen.page.mouse.move(box["x"] + (column + 0.5) * box["width"] / 200, box["y"] + (row + 0.5) * box["height"] / 200)
    told = heat.locator("output").inner_text()
    assert told.startswith(f"{names[row]} called {names[column]}: {cells[row, column]} of {images[row]} (")
    heat.focus()
    for key in ["ArrowRight"] * (row - column) if row > column else ["ArrowLeft"] * (column - row):
        seen.page.keyboard.press(key)
    assert heat.locator("output").inner_text().startswith(f"{names[row]} is right: {cells.get((row, row), 0)} of")


@pytest.mark.parametrize("which", ["both", "many"])
def test_a_phone_scrolls_down_only(opened: Any, which: str, request: pytest.FixtureRequest) -> None:
    seen = opened(request.getfixturevalue(which), 390)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.said == []
    wide = "(all) => all.filter((one) => one.getBoundingClientRect().right > innerWidth + 1).length"
    assert seen.page.locator("section > *, .card, .ask").evaluate_all(wide) == 0


def test_the_dark_scheme_is_dark_and_readable(opened: Any, both: Path) -> None:
    seen = opened(both, color_scheme="dark")
    ground, ink = (seen.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert max(_rgb(ground)) < 60
    assert min(_rgb(ink)) > 200


def test_paper_has_everything_and_no_navigation(opened: Any, both: Path) -> None:
    seen = opened(both, color_scheme="dark")
    seen.page.emulate_media(media="print")
    assert max(_rgb(seen.page.evaluate("getComputedStyle(document.body).color"))) < 60  # paper is white, whatever the screen is
    assert not seen.page.locator("nav").is_visible()
    assert seen.page.locator("main section h2").count() == len(SECTIONS)
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert seen.page.locator("#again details pre").is_visible()
    cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollHeight > one.clientHeight + 2).length"
    assert seen.page.evaluate(cut) == 0
    seen.page.set_viewport_size({"width": 720, "height": 1000})  # what A4 leaves between its margins
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_closed_can_be_reached_by_keys_and_links_lead_to_sections(opened: Any, both: Path) -> None:
    seen = opened(both)
    hrefs = seen.page.locator("nav a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert hrefs == [f"#{anchor}" for anchor, *_ in SECTIONS]
    seen.page.locator("nav a", has_text="Calibration").focus()
    seen.page.keyboard.press("Enter")
    api.expect(seen.page.locator("#calibration h2")).to_be_in_viewport()
    charts = seen.page.locator("svg[role=img]")
    assert charts.count() > 5
    assert charts.evaluate_all("all => all.every((one) => one.getAttribute('aria-label'))")


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
