"""The cards of recipes, README.md files: which one tells of a data set, and what of it a terminal shows."""

import re
from pathlib import Path

from cliptune.shipped import card_of

PICTURE = r"!\[[^\]]*\]\(([^)]+)\)"
COMMENT = r"(?s)<!--.*?-->\n?"


def told_of(folder: Path) -> str:
    """What a card tells of a data set: its title, its warnings and the section of the data set; all of it of a folder of its own card."""
    card = card_of(folder)
    text = card.read_text(encoding="utf-8")
    if card.parent == folder:
        return text
    head, *sections = re.split(r"(?m)^(?=## )", text)
    title, *paragraphs = head.strip().split("\n\n")
    warnings = [part for part in paragraphs if part.startswith("**")]
    own = [part.strip() for part in sections if f"`{folder.name}`" in part.partition("\n")[0]]
    return "\n\n".join([title, *warnings, *own]) + "\n"


def pictures_of(folder: Path) -> list[str]:
    """The links of the pictures that a card shows of a data set or domain."""
    return re.findall(PICTURE, told_of(folder))


def shown(text: str) -> str:
    """A card as a terminal shows it, without comments and pictures."""
    plain = re.sub(rf"(?m)^{PICTURE}\n?", "", re.sub(COMMENT, "", text))
    return re.sub(r"\n{3,}", "\n\n", plain).strip()
