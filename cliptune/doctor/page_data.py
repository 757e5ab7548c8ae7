"""The page's sections on the data itself."""

from collections import Counter

from cliptune.data.classes import as_words
from cliptune.doctor.findings import Pair, SplitFacts
from cliptune.doctor.histogram import histogram
from cliptune.doctor.page_places import picture, thumb
from cliptune.doctor.places import Place
from cliptune.doctor.problems import Problem
from cliptune.doctor.report import Report
from cliptune.page.markup import Markup, bar, el, join, prose, size, table
from cliptune.page.pictures import Pictures

SHOWN, LISTED, PAIRS, BARS, REPEATED, EXAMPLES = 12, 200, 60, 1000, 15, 24  # pictures and paths of a problem, pairs, classes, ...
LABELS = {"stop": "stops or spoils a fit", "warn": "makes it worse", "note": "good to know"}


def problems(report: Report, pictures: Pictures) -> Markup:
    """What is wrong, the worst first."""
    serious = [one for one in report.problems if one.level != "note"]
    notes = [one for one in report.problems if one.level == "note"]
    found: list[object] = [_problem(one, pictures) for one in serious]
    if not serious:
        found.append(el("p", "Nothing that would stop or spoil a fit."))
    if notes:
        found += [el("h3", "Good to know"), el("div", [_problem(one, pictures) for one in notes], class_="notes")]
    return join(found)


def _problem(problem: Problem, pictures: Pictures) -> Markup:
    places = problem.places
    seen = [place for place in places[: 4 * SHOWN] if pictures.has(place.key)][:SHOWN]
    thumbs = el("div", [thumb(place, pictures) for place in seen], class_="thumbs") if seen else None
    listed = None
    if places:
        more = f" (the first {LISTED})" if len(places) > LISTED else ""
        lines = [_line(place) for place in places[:LISTED]]
        listed = el("details", el("summary", f"which ones{more}"), el("ul", lines), open=not seen and len(places) <= 5)
    title = el("strong", problem.title[:1].upper() + problem.title[1:])
    return el("div", title, el("p", prose(problem.way)), thumbs, listed, class_=f"problem {problem.level}", title=LABELS[problem.level])


def _line(place: Place) -> Markup:
    return el("li", place.path, " ", el("small", f"{place.split} {place.row}" + (f": {place.detail}" if place.detail else "")))


def splits(report: Report, pictures: Pictures) -> Markup:
    """Rows of each split, and what was left out."""
    found = report.findings.splits
    rows = [
        (el("span", name, class_=f"chip {name}"), f"{split.rows:,}", f"{split.captions:,}", f"{_labelled(split):,}", size(split.bytes))
        for name, split in found.items()
    ]
    lost = [
        el("li", f"{name}: {n:,} rows left out, {reason}") for name, split in found.items() for reason, n in split.left_out.items() if n
    ]
    stack = el("div", [_part(name, split.rows) for name, split in found.items()], class_="stack")
    head = ("split", "rows", "texts", "labelled", "of image files")
    return join([stack, table(head, rows, numeric=(1, 2, 3, 4)), el("ul", lost, class_="plain") if lost else None])


def _labelled(split: SplitFacts) -> int:
    return split.rows - split.unlabelled if split.labels else 0


def _part(name: str, count: int, title: str = "") -> Markup | None:
    return el("i", class_=name, style=f"flex:{count} 1 0", title=title or f"{name}: {count:,}") if count else None


def classes(report: Report, pictures: Pictures) -> Markup | None:
    """Images of each class, the most frequent first."""
    found, parts = report.findings.classes, report.findings.splits
    if not found.names:
        return None
    whole: Counter[str] = Counter()
    for split in parts.values():
        whole.update(split.labels)
    most = max(whole.values(), default=1)
    bars: list[object] = []
    for label, count in whole.most_common(BARS):
        inner = [_part(name, split.labels.get(label, 0)) for name, split in parts.items()]
        stack = el("div", inner, class_="stack", style=f"width:{max(100 * count / most, 0.6):.2f}%")
        bars += [el("span", as_words(label), title=label), stack, el("span", f"{count:,}")]
    legend = [el("span", name, class_=f"chip {name}") for name in parts]
    facts = (
        f"{len(found.names):,} classes, as uncertain as {found.effective:,.1f} of one size. Train's largest has {found.largest_share:.1%} "
        f"of its images, {found.imbalance:,.1f} times those of the smallest."
    )
    cut = [el("span", f"{one.name}: {' + '.join(one.pieces)}", class_="chip") for one in found.cut[:40]]
    return join(
        [
            el("p", facts),
            el("p", legend),
            el("div", bars, class_="classes", tabindex=0),
            [el("h3", "Names that the tokenizer cuts"), el("div", cut)] if cut else None,
            _examples(report, pictures),
        ]
    )


def _examples(report: Report, pictures: Pictures) -> Markup | None:
    listed = report.findings.examples.items()
    firsts = ((label, next((place for place in places if pictures.has(place.key)), None)) for label, places in listed)
    found = [(label, place) for label, place in firsts if place is not None]
    shown = [
        el("figure", picture(place, pictures), el("figcaption", as_words(label)), class_="thumb", title=label)
        for label, place in found[:EXAMPLES]
    ]
    return join([el("h3", "What they look like"), el("div", shown, class_="thumbs")]) if shown else None


def images(report: Report, pictures: Pictures) -> Markup | None:
    """Sizes, formats and modes."""
    found = report.findings.images
    if not found.readable and not found.unreadable:
        return None
    side = report.zero.input_side
    graphs = [
        histogram(found.short_sides, "short side, pixels", mark=side or None, mark_name=f"input {side}"),
        histogram(found.widths, "width, pixels"),
        histogram(found.heights, "height, pixels"),
        histogram(found.bytes, "bytes of a file"),
    ]
    facts = [f"{found.readable:,} images can be read"]
    facts += [f"{found.unreadable:,} cannot"] if found.unreadable else []
    facts += [f"{found.below_input:,} are smaller than the model's input and so are enlarged"] if found.below_input else []
    facts += [f"{found.grey:,} have no colour"] if found.grey else []
    counted = [
        el("div", el("h3", name), _counts(values))
        for name, values in (("Format", found.formats), ("Mode", found.modes), ("Most frequent sizes", dict(list(found.sizes.items())[:8])))
        if values
    ]
    return join([el("p", "; ".join(facts) + "."), el("div", graphs, class_="grid"), el("div", counted, class_="grid")])


def _counts(values: dict[str, int]) -> Markup:
    whole = max(sum(values.values()), 1)
    return el("div", [[el("span", name), bar(n / whole), el("span", f"{n:,}")] for name, n in values.items()], class_="rows")


def copies(report: Report, pictures: Pictures) -> Markup | None:
    """Pairs of the same picture, leaks into test first."""
    found = report.findings.duplicates
    if not found.pairs:
        return el("p", "No image is there twice, nor nearly so.") if report.findings.images.readable else None
    across = [el("span", f"{count:,} {where}", class_="chip stop") for where, count in found.across.items() if count]
    inside = [el("span", f"{count:,} superfluous in {split}", class_="chip") for split, count in found.inside.items() if count]
    counted = ((found.bytes, "the same file"), (found.near, "nearly the same"))
    kinds = [el("span", f"{count:,} {what}", class_="chip") for count, what in counted if count]
    kinds += [el("span", f"{found.conflicts:,} with different labels", class_="chip stop")] if found.conflicts else []
    shown: list[Markup] = []
    other: list[Pair] = []
    for pair in found.pairs:
        if len(shown) < PAIRS and pictures.has(pair.first.key) and pictures.has(pair.second.key):
            shown.append(_pair(pair, pictures))
        else:
            other.append(pair)
    lines = [el("li", f"{pair.first.split} {pair.first.path} and {pair.second.split} {pair.second.path}") for pair in other[:LISTED]]
    more = f"{len(other):,} more pairs" + (f", of which the first {LISTED}; all of them: doctor.json" if len(other) > LISTED else "")
    listed = el("details", el("summary", more), el("ul", lines)) if other else None
    return join([el("p", across, inside, kinds), el("div", shown, class_="pairs"), listed])


def _pair(pair: Pair, pictures: Pictures) -> Markup:
    what = "the same file" if pair.kind == "bytes" else f"nearly the same (distance {pair.distance:.2g})"
    style = "leak" if pair.across else "conflict" if pair.conflict else ""
    labels = [el("br"), as_words(pair.labels[0] or "?"), " and ", as_words(pair.labels[1] or "?")] if pair.conflict else None
    both = [
        el("figure", picture(place, pictures), el("figcaption", _split(place), el("br"), place.path)) for place in (pair.first, pair.second)
    ]
    return el("div", el("p", what, labels), el("div", both), class_=f"pair {style}".strip())


def _split(place: Place) -> Markup:
    return el("span", place.split, class_=f"chip {place.split}")


def texts(report: Report, pictures: Pictures) -> Markup | None:
    """Lengths, repetitions, false negatives, language."""
    found, language = report.findings.captions, report.findings.languages
    if not found.count:
        return None
    what = "captions" if found.source == "captions" else "texts around class names"
    negatives = found.false_negatives
    lines = [f"{found.count:,} {what}, {found.distinct:,} different; {found.truncated:,} ({found.truncated_share:.1%}) are cut off."]
    if negatives.batch_size > 1 and negatives.per_batch > 0:
        by = ", ".join(f"{value:.2f} by {name}" for name, value in negatives.by.items() if value)
        lines.append(
            f"In a batch of {negatives.batch_size} an image meets {negatives.per_image:.2f} texts of other rows that are as right as its "
            f"own ({by}); {negatives.share:.2%} of all pairs."
        )
    broken = f"; {language.broken:.1%} of the texts break into bytes" if language.broken else ""
    lines.append(f"{language.tokens_per_word:.2f} tokens for a word{broken}.")
    graph = histogram(found.tokens, "tokens of a text", mark=found.context_length, mark_name=f"{found.context_length} are read")
    scripts = {name: round(1000 * share) for name, share in language.scripts.items()}
    beside = el("figure", el("figcaption", "letters by script"), _shares(scripts)) if scripts else None
    repeated = table(
        ("text", "rows of train"), [(one.text, (one.count, f"{one.count:,}")) for one in found.repeated[:REPEATED]], numeric=(1,)
    )
    return join(
        [
            [el("p", line) for line in lines],
            el("div", graph, beside, class_="grid"),
            [el("h3", "Captions of several rows"), repeated] if found.repeated and found.source == "captions" else None,
            el("p", f"Multilingual backbones that would serve: {', '.join(language.backbones)}") if language.backbones else None,
        ]
    )


def _shares(values: dict[str, int]) -> Markup:
    return el("div", [[el("span", name), bar(n / 1000), el("span", f"{n / 10:.1f}%")] for name, n in values.items()], class_="rows")
