"""What the site takes from elsewhere, for mkdocs: recipes with their cards, and formulas as MathML.

Nothing is copied: a recipe's files are read where they lie. A formula is TeX in a fence called `math`, as GitHub has it; MathML is drawn by
browsers themselves, so that a page needs neither network nor script.
"""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHOWN = (".md", ".yaml", ".py", ".json", ".txt", ".png", ".jpg", ".svg")  # of recipes


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the recipes, and how to work on the project, under the names that they have here."""
    recipes = [file for file in sorted((ROOT / "recipes").rglob("*")) if file.suffix in SHOWN]
    for file in [*recipes, ROOT / "CONTRIBUTING.md"]:
        files.append(File(file.relative_to(ROOT).as_posix(), str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn formulas into MathML, links into docs/ into links to the top of the site, where its files are, and their names into titles."""
    if page.file.src_dir == str(ROOT):
        markdown = re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    markdown = re.sub(r"\[(?:docs/)?(\w+)\.md\]\(", lambda link: f"[{_title(link[1])}](", markdown)
    return re.sub(r"^```math\n(.*?)^```$", _formula, markdown, flags=re.DOTALL | re.MULTILINE)


def _title(name: str) -> str:
    """What a page of docs/ is called."""
    file = ROOT / "docs" / f"{name}.md"
    return file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") if file.is_file() else f"{name}.md"


def _formula(fence: "re.Match[str]") -> str:
    lines: Any = (line.strip() for line in fence[1].strip().split(r"\\"))
    return "\n".join(f'<div class="formula">{convert(line, display="block")}</div>' for line in lines) + "\n"
