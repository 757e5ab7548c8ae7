"""The comparison as one page that needs no other file, with the look of the report."""

from pathlib import Path

from cliptune.comparison.comparing import Comparison
from cliptune.comparison.names import short
from cliptune.comparison.page_classes import classes, pairs
from cliptune.comparison.page_scores import costs, number, scores, settings
from cliptune.page.markup import Markup, el, join, tile
from cliptune.page.shell import Section, document
from cliptune.run import versions
from cliptune.whole import write_whole

SECTIONS = (("scores", "Scores", scores), ("cost", "Cost", costs), ("pairs", "Pairs", pairs), ("classes", "Classes", classes))


def write_page(file: Path, found: Comparison) -> Path:
    """Write the page, whole or not at all; gives its file."""
    text = page(found)
    write_whole(file, lambda handle: handle.write(text.encode("utf-8", "replace")))
    return file


def page(found: Comparison) -> str:
    """The page; a section without anything to say is left out."""
    made = [Section(anchor, title, make(found)) for anchor, title, make in SECTIONS]
    made.append(Section("settings", "What differs", settings(found)))
    title = f"{_runs(found)} compared"
    return document(title, [el("h1", title), _lead(found), _tiles(found)], made, _foot())


def _runs(found: Comparison) -> str:
    count = sum(row.seeds for row in found.rows if row.kind != "zero-shot")
    return f"{count:,} run{'s' if count != 1 else ''}"


def _lead(found: Comparison) -> Markup:
    """What is best, in a sentence."""
    if found.best is None:
        return el("p", "None of them can be called the best.", class_="lead")
    said: list[object] = [el("strong", found.best.name), f" has the best {short(found.metric)} on the test data"]
    equal = [row.name for row in found.as_good()]
    if found.paired is None or not found.paired.tested:
        said.append("; whether that is more than chance could not be tested.")
    elif equal:
        said += ["; ", el("strong", ", ".join(equal)), f" may be as good: the difference to {found.paired.reference.name} may be chance."]
    else:
        said.append("; that all others on the same images are behind is more than chance.")
    return el("p", join(said), class_="lead")


def _tiles(found: Comparison) -> Markup:
    tiles = []
    if found.best is not None:
        tiles.append(tile(number(found.best.metrics[found.metric], found.metric), f"{short(found.metric)}, {found.best.name}", "good"))
    zeros = [row for row in found.comparable if row.kind == "zero-shot" and found.metric in row.metrics]
    if zeros:
        tiles.append(tile(number(zeros[0].metrics[found.metric], found.metric), f"{short(found.metric)}, {zeros[0].name}"))
    if found.paired is not None:
        tiles.append(tile(f"{found.paired.images:,}", "test images that all of them answered"))
    if found.classes is not None:
        tiles.append(tile(f"{len(found.classes.names):,}", "classes"))
    return el("div", tiles, class_="tiles") if tiles else Markup("")


def _foot() -> str:
    told = ", ".join(f"{name} {version}" for name, version in versions().items() if name in ("cliptune", "torch", "python"))
    return f"cliptune compare. Numbers of a run are those of its own summary.json. {told}"
