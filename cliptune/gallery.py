"""Images that a search found, with their scores: as a picture (PNG), or as one page that needs no other file (HTML).

Which images, and how they were found, is the caller's. An image that cannot be read any more has a box with its name in its place.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import textwrap
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from PIL import Image, ImageOps

from cliptune.errors import ConfigError, DataError
from cliptune.images import decode
from cliptune.pictures import COLUMNS, fonts_for

log = logging.getLogger(__name__)

SIDE = 320  # pixels of a thumbnail at most
CELL, GAP, CAPTION, HEADING = 240, 20, 45, 25  # pixels of the picture: of an image, between two, below one, and of a line above all
LETTER, DPI = 9, 120  # pixels that a letter above takes, on average; and of an inch, by which letters are measured
MOST_DRAWN = 240  # images of the picture: 40 rows
INK, PALE, GROUND = "#1f2328", "#656d76", "#eef0f2"


class Shown(NamedTuple):
    """An image that was found."""

    path: Path
    score: float
    thumbnail: Image.Image | None  # where it can be read

    @property
    def name(self) -> str:
        """The file's name in letters that can be shown."""
        return _shown(self.path.name)


def draw_gallery(file: str | Path, hits: Sequence[tuple[str | Path, float]], title: str) -> None:
    """Draw images and their scores.

    Args:
        file: `.png` or `.html`.
        hits: paths and scores, the best first. A picture has the first 240 of them.
        title: what was asked for.

    Raises:
        ConfigError: the file has another suffix, or cannot be written.
        DataError: there are no hits.
    """
    file = Path(file)
    draw = DRAWN.get(file.suffix.lower())
    if draw is None:
        raise ConfigError(f"{file} ends in {file.suffix or 'no suffix'}, but a gallery is {' or '.join(DRAWN)}. Take {file.stem}.html.")
    if not hits:
        raise DataError(f"there are no images to draw in {file}. Ask for 1 or more.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(file, hits, _shown(title))
    except OSError as error:
        raise ConfigError(f"cannot write the gallery {file}: {error.strerror or error}. Give another file.") from None


def _read(hit: tuple[str | Path, float]) -> Shown:
    path = Path(hit[0])
    try:
        image = Image.fromarray(decode(path).permute(1, 2, 0).numpy())
    except DataError as error:
        log.warning("%s", error)
        return Shown(path, hit[1], None)
    image.thumbnail((SIDE, SIDE))
    return Shown(path, hit[1], image)


def _shown(text: str) -> str:
    """A text with a mark for each letter that cannot be printed, such as bytes of a name that are not UTF-8."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


# The picture, in pixels


def _draw_picture(file: Path, hits: Sequence[tuple[str | Path, float]], title: str) -> None:
    found = [_read(hit) for hit in hits[:MOST_DRAWN]]
    columns, rows = min(COLUMNS, max(len(found), 3)), -(-len(found) // COLUMNS)
    width = GAP + columns * (CELL + GAP)
    heading = textwrap.wrap(title, width // LETTER)[:3]
    if len(hits) > MOST_DRAWN:
        heading.append(f"the first {MOST_DRAWN} of {len(hits):,} images")
    height = 2 * GAP + HEADING * len(heading) + rows * (CELL + CAPTION + GAP)
    with rc_context({"font.family": fonts_for([*heading, *(hit.name for hit in found)])}):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
        renderer = FigureCanvasAgg(figure).get_renderer()  # one for all names to be measured by: it is as large as the picture
        _write(figure, (GAP, height - GAP), "\n".join(heading), va="top", fontsize=10)
        for i, hit in enumerate(found):
            left = GAP + i % columns * (CELL + GAP)
            bottom = height - 2 * GAP - HEADING * len(heading) - CELL - i // columns * (CELL + CAPTION + GAP)
            _draw_cell(figure, hit, left, bottom)
            _shorten(_write(figure, (left, bottom - 0.4 * CAPTION), hit.name), renderer)
            _write(figure, (left, bottom - 0.85 * CAPTION), f"{hit.score:.3f}", color=PALE)
        figure.savefig(file, dpi=DPI)


def _draw_cell(figure: Figure, hit: Shown, left: int, bottom: int) -> None:
    """Draw an image in the middle of its square."""
    figure.add_artist(Rectangle((left, bottom), CELL, CELL, facecolor=GROUND, linewidth=0, zorder=-1, transform=IdentityTransform()))
    if hit.thumbnail is None:
        _write(figure, (left + CELL / 2, bottom + CELL / 2), "cannot be read", ha="center", va="center", fontsize=8, color=PALE)
        return
    image = ImageOps.contain(hit.thumbnail, (CELL, CELL))
    figure.figimage(np.asarray(image), left + (CELL - image.width) // 2, bottom + (CELL - image.height) // 2)


def _write(figure: Figure, place: tuple[float, float], words: str, **style: Any) -> Text:
    return figure.text(*place, words, transform=IdentityTransform(), parse_math=False, **{"fontsize": 7, "color": INK, **style})


def _shorten(text: Text, renderer: RendererAgg) -> None:
    """Take letters from the middle until the text fits below its image: its beginning and its number tell images apart."""
    words, width = text.get_text(), text.get_window_extent(renderer).width
    left = int(len(words) * CELL / width) if width > CELL else 0
    while left > 1 and text.get_window_extent(renderer).width > CELL:
        text.set_text(f"{words[: left // 2]}…{words[-(left - left // 2) :]}")
        left -= 1


# The page

PAGE = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1f2328; --pale: #59636e; --page: #fff; --ground: #eef0f2; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6edf3; --pale: #9198a1; --page: #0d1117; --ground: #1c2128; }} }}
body {{ margin: 1.5rem; font: 14px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--page); }}
h1 {{ margin: 0; font-size: 1.25rem; overflow-wrap: anywhere; }}
p {{ margin: .25rem 0 1.25rem; color: var(--pale); }}
ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(180px, 40vw), 1fr)); gap: 1rem;
  margin: 0; padding: 0; list-style: none; }}
li {{ min-width: 0; content-visibility: auto; contain-intrinsic-size: auto 230px; }}
a {{ display: block; color: inherit; text-decoration: none; }}
a:hover b, a:focus b {{ text-decoration: underline; }}
img, i {{ display: flex; width: 100%; aspect-ratio: 1; object-fit: contain; align-items: center; justify-content: center;
  border-radius: 6px; background: var(--ground); color: var(--pale); font-style: normal; }}
b {{ display: block; margin-top: .35rem; font-weight: 400; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
small {{ color: var(--pale); font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{count}</p>
<ol>
"""


def _draw_page(file: Path, hits: Sequence[tuple[str | Path, float]], title: str) -> None:
    count = f"{len(hits):,} images, the most similar first" if len(hits) > 1 else "1 image"
    with file.open("w", encoding="utf-8") as handle:
        handle.write(PAGE.format(title=escape(title), count=count))
        handle.writelines(_item(_read(hit), file.parent.resolve()) for hit in hits)
        handle.write("</ol>\n</body>\n</html>\n")


def _item(hit: Shown, folder: Path) -> str:
    name = escape(hit.name)
    picture = "<i>cannot be read</i>"
    if hit.thumbnail is not None:
        picture = f'<img src="{_data_uri(hit.thumbnail)}" alt="{name}" loading="lazy" decoding="async">'
    where = escape(_shown(str(hit.path)))
    return f'<li><a href="{_link(hit.path, folder)}" title="{where}">{picture}<b>{name}</b><small>{hit.score:.3f}</small></a></li>\n'


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _link(path: Path, folder: Path) -> str:
    """A link from a page in a folder: a relative one below it, so that both may be moved together."""
    path = path.resolve()
    if path.is_relative_to(folder):
        return quote(os.fsencode(path.relative_to(folder).as_posix()))
    return path.as_uri()


DRAWN: dict[str, Callable[[Path, Sequence[tuple[str | Path, float]], str], None]] = {".png": _draw_picture, ".html": _draw_page}
