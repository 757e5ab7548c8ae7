"""The report as one page that needs no other file: light and dark, readable on a phone, under 5 MB."""

from pathlib import Path

from cliptune.doctor.distance import VERDICTS
from cliptune.doctor.page_data import classes, copies, images, problems, splits, texts
from cliptune.doctor.page_model import distance, recommendations, zero_shot
from cliptune.doctor.report import Report
from cliptune.page.markup import Markup, el, join, tile
from cliptune.page.pictures import Pictures
from cliptune.page.shell import ROOM, Section, document
from cliptune.whole import write_whole

SECTIONS = (
    ("mend", "To mend", problems),
    ("advice", "Recommended", recommendations),
    ("splits", "Splits", splits),
    ("classes", "Classes", classes),
    ("images", "Images", images),
    ("copies", "Copies", copies),
    ("texts", "Texts", texts),
    ("zero-shot", "Zero-shot", zero_shot),
    ("distance", "Distance", distance),
)


def write_page(file: Path, report: Report) -> None:
    """Write the page, whole or not at all."""
    write_whole(file, lambda handle: handle.write(page(report).encode("utf-8", "replace")))


def page(report: Report) -> str:
    """The page; a section without anything to say is left out."""
    pictures = Pictures(report.findings.thumbnails, ROOM)
    made = [Section(anchor, title, make(report, pictures)) for anchor, title, make in SECTIONS]
    header = [el("h1", report.name), _lead(report), _tiles(report)]
    return document(f"{report.name}: what the data is like", header, made, _foot(report))


def _lead(report: Report) -> Markup:
    sources = ", ".join(report.findings.paths)
    return join([el("p", sources, class_="lead"), [el("p", el("small", note), class_="lead") for note in report.findings.notes]])


def _tiles(report: Report) -> Markup:
    found, zero = report.findings, report.zero
    stops = sum(one.level == "stop" for one in report.problems)
    warns = sum(one.level == "warn" for one in report.problems)
    rows = sum(split.rows for split in found.splits.values())
    level, count = ("stop", stops) if stops else ("warn", warns) if warns else ("good", 0)
    tiles = [tile(f"{count}" if count else "none", "must be mended" if stops else "to mend", level), tile(f"{rows:,}", "rows")]
    if found.classes.names:
        tiles.append(tile(f"{len(found.classes.names):,}", "classes"))
    if found.captions.source == "captions" and found.captions.count:
        tiles.append(tile(f"{found.captions.count:,}", "captions"))
    if zero.classes is not None and zero.classes.classes:
        tiles.append(tile(f"{zero.classes.top1:.1%}", "zero-shot top-1"))
    elif zero.retrieval is not None:
        tiles.append(tile(f"{zero.retrieval.recall['recall@1_image_to_text']:.1%}", "zero-shot image to text R@1"))
    verdict, _, _ = VERDICTS[zero.distance.verdict].partition(":")
    tiles.append(tile(verdict, "to what the backbone knows" if zero.distance.verdict in ("near", "far") else "in what the backbone knows"))
    changes = sum(one.changes and one.apply for one in report.recommendations)
    tiles.append(tile(f"{changes}", "changes recommended"))
    return el("div", tiles, class_="tiles")


def _foot(report: Report) -> str:
    found, zero = report.findings, report.zero
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return (
        f"cliptune doctor. Read in {found.seconds:,.1f} s ({found.images_per_second:,.0f} images/s, {found.workers} processes); "
        f"zero-shot in {zero.seconds:,.1f} s. {versions}"
    )
