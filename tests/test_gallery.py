"""Galleries: every hit is shown, whatever its file and its name; the page needs no other file and runs nothing that a name says."""

import base64
import io
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlparse

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cliptune import gallery
from cliptune.errors import CliptuneError, ConfigError, DataError
from cliptune.gallery import draw_gallery

RED, GREEN = (200, 20, 30), (30, 160, 40)
EVIL = "<img src=x onerror=alert(1)>&\"'.png"


def image(file: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (60, 30)) -> Path:
    Image.new("RGB", size, colour).save(file, "PNG")
    return file


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures drawn."""
    drawn: list[Figure] = []

    def keep(**arguments: Any) -> Figure:
        drawn.append(Figure(**arguments))
        return drawn[-1]

    monkeypatch.setattr(gallery, "Figure", keep)
    return drawn


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_a_page_shows_images_names_scores_and_links(tmp_path: Path) -> None:
    (tmp_path / "in it").mkdir()
    first, second = image(tmp_path / "in it" / "a b#1.png", size=(800, 400)), image(tmp_path / "c.png", GREEN)
    (tmp_path / "out").mkdir()
    for file, links in ((tmp_path / "g.html", ["in%20it/a%20b%231.png", "c.png"]), (tmp_path / "out" / "g.html", None)):
        draw_gallery(file, [(first, 0.98765), (str(second), -0.5)], "a cat")
        page = Page(file)
        assert [a["href"] for a in page.all("a")] == (links or [first.as_uri(), second.as_uri()])
        assert [text for text in page.texts if text[0] in "ac0-2" and "\n" not in text] == [
            "a cat", "a cat", "2 images, the most similar first", "a b#1.png", "0.988", "c.png", "-0.500",
        ]  # fmt: skip
        shown = [Image.open(io.BytesIO(base64.b64decode(str(img["src"]).partition("base64,")[2]))) for img in page.all("img")]
        assert [picture.size for picture in shown] == [(320, 160), (60, 30)]  # shrunk, never blown up
        for picture, colour in zip(shown, (RED, GREEN), strict=True):
            np.testing.assert_allclose(np.asarray(picture).reshape(-1, 3).mean(axis=0), colour, atol=4)  # JPEG's


def test_a_page_needs_no_other_file(tmp_path: Path) -> None:
    draw_gallery(tmp_path / "g.html", [(image(tmp_path / f"{i}.png"), 0.5) for i in range(3)], "a cat")
    page = Page(tmp_path / "g.html")
    assert all(str(img["src"]).startswith("data:image/jpeg;base64,") and img["loading"] == "lazy" for img in page.all("img"))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    text = (tmp_path / "g.html").read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_and_title_are_text(tmp_path: Path) -> None:
    path = image(tmp_path / EVIL)
    draw_gallery(tmp_path / "g.html", [(path, 0.5)], "</title><script>alert(2)</script>")
    page = Page(tmp_path / "g.html")
    assert page.texts.count("</title><script>alert(2)</script>") == 2  # title and heading
    assert EVIL in page.texts
    assert not page.all("script")
    (img,) = page.all("img")
    assert set(img) == {"src", "alt", "loading", "decoding"}
    assert img["alt"] == EVIL
    (link,) = page.all("a")
    assert link["title"] == str(path)
    assert unquote_to_bytes(str(link["href"])).decode() == EVIL


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", [b"caf\xe9.png", b"zwei\nZeilen.png", b"a:b?c%20.png"])
def test_odd_names_are_shown_and_lead_to_their_file(tmp_path: Path, name: bytes, figures: list[Figure]) -> None:
    path = tmp_path / os.fsdecode(name)
    try:
        image(path)
    except OSError:
        pytest.skip("a file system without such names")
    draw_gallery(tmp_path / "g.html", [(path, 0.5)], "a cat")
    draw_gallery(tmp_path / "g.png", [(path, 0.5)], "a cat")
    shown = name.decode("utf-8", "replace").replace("\n", "\ufffd")
    page = Page(tmp_path / "g.html")
    assert shown in page.texts
    assert shown in words(figures[0])
    link = urlparse(str(page.all("a")[0]["href"]))
    assert not link.scheme
    assert unquote_to_bytes(link.path) == name


@pytest.mark.parametrize("suffix", [".html", ".png"])
def test_what_cannot_be_read_is_shown_by_its_name(
    tmp_path: Path, suffix: str, figures: list[Figure], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    names = ["gone.png", "broken.png", "there.png"]
    image(tmp_path / "there.png")
    draw_gallery(tmp_path / f"g{suffix}", [(tmp_path / name, 0.5) for name in names], "a cat")
    texts = Page(tmp_path / "g.html").texts if suffix == ".html" else words(figures[0])
    assert texts.count("cannot be read") == 2
    assert set(names) <= set(texts)
    assert len(caplog.messages) == 2
    assert str(tmp_path / "gone.png") in caplog.text


def test_a_picture_has_every_image_with_its_colours_in_order(tmp_path: Path) -> None:
    """Seen by the pixels: the first of the second row is the seventh."""
    colours = [(30 * i, 255 - 30 * i, 20 * i) for i in range(8)]
    paths = [image(tmp_path / f"{i}.png", colour, (40, 40)) for i, colour in enumerate(colours)]
    draw_gallery(tmp_path / "g.PNG", [(path, 0.5) for path in paths], "a cat")
    with Image.open(tmp_path / "g.PNG") as opened:
        picture = opened.convert("RGB")
    top, across, down = 2 * gallery.GAP + gallery.HEADING + 120, gallery.CELL + gallery.GAP, gallery.CELL + gallery.CAPTION + gallery.GAP
    for i, colour in enumerate(colours):
        place = gallery.GAP + 120 + i % 6 * across, top + i // 6 * down
        np.testing.assert_allclose(picture.getpixel(place), colour, atol=1)


def test_images_keep_their_shape(tmp_path: Path, figures: list[Figure]) -> None:
    wide, high = image(tmp_path / "wide.png", size=(90, 30)), image(tmp_path / "high.png", size=(20, 80))
    draw_gallery(tmp_path / "g.png", [(wide, 0.5), (high, 0.4)], "a cat")
    assert [image.get_array().shape for image in figures[0].images] == [(80, 240, 3), (240, 60, 3)]
    assert figures[0].images[1].ox - figures[0].images[0].ox == gallery.CELL + gallery.GAP + 90  # in the middle of the next square


@pytest.mark.parametrize("name", ["W" * 100 + "17.png", "고양이" * 30 + "17.png", "17.png", "i" * 40 + "17.png"])
def test_names_fit_below_their_image(tmp_path: Path, name: str, figures: list[Figure]) -> None:
    draw_gallery(tmp_path / "g.png", [(tmp_path / name, 0.5), (tmp_path / "next.png", 0.4)], "a cat")
    text = next(text for text in figures[0].texts if text.get_text().endswith("17.png"))
    assert text.get_window_extent().width <= gallery.CELL
    assert text.get_text()[0] == name[0]
    assert text.get_text() == name or len(text.get_text()) > 10  # shortened no more than needed


def test_names_and_title_of_a_picture_are_no_formulas(tmp_path: Path) -> None:
    draw_gallery(tmp_path / "g.png", [(image(tmp_path / "$x^2.png"), 0.5), (image(tmp_path / "$1_$.png"), 0.5)], "costs $5^ and $6_")
    assert (tmp_path / "g.png").is_file()


def test_a_picture_has_the_first_of_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: list[Figure]) -> None:
    monkeypatch.setattr(gallery, "MOST_DRAWN", 4)
    draw_gallery(tmp_path / "g.png", [(tmp_path / f"{i}.png", 0.5) for i in range(1200)], "a cat")
    assert words(figures[0]).count("0.500") == 4
    assert words(figures[0])[0] == "a cat\nthe first 4 of 1,200 images"


@pytest.mark.parametrize(
    ("name", "hits", "error", "message"),
    [
        ("g.gif", 1, ConfigError, r"g.gif ends in .gif, but a gallery is .png or .html. Take g.html"),
        ("g", 1, ConfigError, r"g ends in no suffix"),
        ("g.png", 0, DataError, "there are no images to draw in"),
        ("file/g.html", 1, ConfigError, "cannot write the gallery .*: (File exists|Not a directory). Give another file"),
        ("folder.html", 1, ConfigError, "cannot write the gallery .*folder"),
        ("folder.png", 1, ConfigError, "cannot write the gallery .*folder"),
    ],
)
def test_what_a_gallery_refuses(tmp_path: Path, name: str, hits: int, error: type[CliptuneError], message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=message) as caught:
        draw_gallery(tmp_path / name, [(image(tmp_path / "a.png"), 0.5)] * hits, "a cat")
    assert "\n" not in str(caught.value)


def test_a_gallery_makes_its_folder(tmp_path: Path) -> None:
    draw_gallery(tmp_path / "new" / "folder" / "g.html", [(image(tmp_path / "a.png"), 0.5)], "a cat")
    assert "1 image" in Page(tmp_path / "new" / "folder" / "g.html").texts
