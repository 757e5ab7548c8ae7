"""The whole of a page: head, navigation, sections, foot. It needs no other file, asks no host, and lets only its own script run."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cliptune.page.markup import Markup, el

ROOM = 4_000_000  # bytes of all pictures of a page


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        anchor: its name in links.
        title: above it.
        body: what it says; a section without one is left out.
        short: its title in the navigation, where that is another.
    """

    anchor: str
    title: str
    body: Markup | None
    short: str = ""


@cache
def _asset(kind: str) -> str:
    return Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")


def document(title: str, header: Sequence[object], sections: Sequence[Section], foot: object) -> str:
    """The page as text.

    Args:
        title: of the window.
        header: the heading and what stands with it.
        sections: in order.
        foot: what the page was made by.
    """
    script, made = _asset("js"), [section for section in sections if section.body is not None]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        el("title", title),
        el("style", Markup(_asset("css"))),
    )
    body = el(
        "body",
        el("header", header),
        el(
            "nav",
            el("div", [el("a", section.short or section.title, href=f"#{section.anchor}") for section in made]),
            aria_label="Sections",
        ),
        el("main", [el("section", el("h2", section.title), section.body, id=section.anchor) for section in made]),
        el("footer", foot),
        el("script", Markup(script)),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"
