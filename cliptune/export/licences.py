"""Under what licence the weights of a base are, as far as it is known: from a README beside them, or by open_clip's tag."""

import re
from pathlib import Path

from cliptune.pretrained import NANO

UNKNOWN = "unknown"
# The licence that each release's own model card or repository names, by the beginning of open_clip's tag
TAGS = {
    "openai": ("mit", "github.com/openai/CLIP"),
    "laion": ("mit", "huggingface.co/laion, model cards"),
    "datacomp": ("mit", "huggingface.co/laion, model cards of DataComp"),
    "commonpool": ("mit", "huggingface.co/laion, model cards of CommonPool"),
    "metaclip": ("cc-by-nc-4.0", "github.com/facebookresearch/MetaCLIP"),
    "webli": ("apache-2.0", "huggingface.co/timm, model cards of SigLIP"),
    "dfn": ("apple-amlr", "huggingface.co/apple, model cards of DFN"),
}


def licence_of(name: str, pretrained: str | None) -> tuple[str, str]:
    """The licence's short name, as the Hugging Face hub writes it, and where that stands.

    Args:
        name: of the backbone.
        pretrained: its weights.

    Returns:
        `unknown` and what to do about it, where it is not known.
    """
    for place in (name, pretrained or ""):
        if place == "nano" or place.startswith("local-dir:"):
            folder = NANO if place == "nano" else Path(place.removeprefix("local-dir:"))
            found = _of_readme(folder / "README.md")
            if found:
                return found, "the README beside the weights"
    for tag, known in TAGS.items():
        if (pretrained or "").lower().startswith(tag):
            return known
    return UNKNOWN, "look it up where the weights are from, before you hand them on"


def _of_readme(file: Path) -> str | None:
    """What a README says in the form of the hub, or under a heading."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    named = re.search(r"^license:\s*(\S.*)$", front[1], re.MULTILINE) if front else None
    if named:
        return named[1].strip()
    section = re.search(r"^#+ Licen[cs]e\s*\n+(.+?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(section[1].split()) if section else None
