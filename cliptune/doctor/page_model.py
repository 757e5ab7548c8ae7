"""The page's sections on what the untouched backbone says, and on what is recommended."""

from cliptune.data.classes import as_words
from cliptune.doctor.distance import VERDICTS, explain
from cliptune.doctor.page_places import picture
from cliptune.doctor.report import Report
from cliptune.doctor.scores import ClassScores, Confusion
from cliptune.doctor.settings import Recommendation
from cliptune.doctor.terminal import shown
from cliptune.page.markup import Markup, bar, el, join, meter, prose, table
from cliptune.page.pictures import Pictures

PAIRS = 16
LIMITS = (
    "What this cannot say: which images the backbone was trained on; how much of a low score is due to class names, templates or captions, "
    "and how much to the images; how good an adapted model will be. With few images of a class the nearest one is further away, "
    "and with near duplicates it is nearer, than it would be in general."
)


def zero_shot(report: Report, pictures: Pictures) -> Markup:
    """Right answers by class, and what is taken for what."""
    zero = report.zero
    of = f"{zero.images:,} of {zero.rows:,} images of {' and '.join(zero.splits) or 'train'}"
    lost = f"; {zero.unreadable:,} could not be read" if zero.unreadable else ""
    found: list[object] = [el("p", f"{zero.backbone}, untouched, on {of}{lost}. Test is not looked at: it is for the end.")]
    if zero.classes is not None and zero.classes.classes:
        found += _classes(zero.classes, report, pictures)
    if zero.retrieval is not None:
        recall, name = zero.retrieval.recall, {"image_to_text": "image to text", "text_to_image": "text to image"}
        rows = [(name[way], *(f"{recall[f'recall@{k}_{way}']:.3f}" for k in (1, 5, 10))) for way in name]
        found += [
            el("h3", f"Retrieval among {zero.retrieval.images:,} images and {zero.retrieval.texts:,} texts"),
            table(("", "R@1", "R@5", "R@10"), rows, numeric=(1, 2, 3)),
        ]
    return join(found)


def _classes(found: ClassScores, report: Report, pictures: Pictures) -> list[object]:
    rows = [
        (
            one.name,
            (one.images, f"{one.images:,}"),
            (one.accuracy, f"{one.accuracy:.0%}"),
            el("span", bar(one.accuracy, mark=(one.low, one.high)), title=f"95% interval {one.low:.0%} to {one.high:.0%}"),
            (one.confused / one.images, f"{one.confused_with} ({one.confused / one.images:.0%})" if one.confused else ""),
            (one.said, f"{one.said:,}"),
        )
        for one in sorted(found.classes, key=lambda one: (one.accuracy, -one.images))
    ]
    head = ("class", "images", "right", "95% interval", "taken most for", "called so")
    meters = el(
        "div",
        meter("top-1", f"{found.top1:.1%} ({found.low:.1%} to {found.high:.1%})", bar(found.top1, mark=(found.low, found.high))),
        meter("mean over classes", f"{found.per_class:.1%}", bar(found.per_class)),
        meter("always the largest class", f"{found.largest:.1%}", bar(found.largest, "test")),
        meter("guessing", f"{found.chance:.1%}", bar(found.chance, "test")),
        class_="meters",
    )
    drawn = [(pair, _both(pair, report, pictures)) for pair in found.pairs]
    pairs = [el("div", el("p", _taken(pair)), el("div", both), class_="pair") for pair, both in drawn if both is not None][:PAIRS]
    others = [el("span", _taken(pair), class_="chip") for pair, both in drawn if both is None][:PAIRS]
    return [
        meters,
        el(
            "p",
            el("small", "The sample has the classes evenly; top-1 weighs each by its share of all rows. Click a column's head to sort."),
        ),
        table(head, rows, sortable=True, numeric=(1, 2, 5)),
        [el("h3", "Confused most"), el("div", pairs, class_="pairs"), el("p", others)] if drawn else None,
    ]


def _taken(pair: Confusion) -> str:
    return f"{pair.count / pair.images:.0%} of {pair.truth} are taken for {pair.said} ({pair.count} of {pair.images})"


def _both(pair: Confusion, report: Report, pictures: Pictures) -> list[Markup] | None:
    """A picture of each class; None where one is missing."""
    found = [_example(name, report, pictures) for name in (pair.truth, pair.said)]
    return [one for one in found if one is not None] if all(found) else None


def _example(name: str, report: Report, pictures: Pictures) -> Markup | None:
    """A picture of a class, whose label may be spelled otherwise."""
    found = (place for label, places in report.findings.examples.items() if name in (label, as_words(label)) for place in places)
    place = next((place for place in found if pictures.has(place.key)), None)
    return el("figure", picture(place, pictures), el("figcaption", name)) if place is not None else None


def distance(report: Report, pictures: Pictures) -> Markup:
    """How well images and words agree, in numbers and words."""
    found = report.zero.distance
    meters = [
        meter("choosing the right text, above guessing", f"{found.skill:.2f}", bar(found.skill)),
        meter("own text nearer than another (guessing: 0.50)", f"{found.alignment:.2f}", bar(found.alignment)),
    ]
    if found.neighbour_skill is not None:
        name = "nearest image of the same class, above guessing"
        meters.append(meter(name, f"{found.neighbour_skill:.2f}", bar(found.neighbour_skill, "validation")))
    meters.append(meter("how alike all images are (mean cosine)", f"{found.spread:.2f}", bar(found.spread, "test")))
    verdict = VERDICTS[found.verdict]
    alike = [el("span", f"{a} / {b} {cosine:.3f}", class_="chip") for a, b, cosine in found.alike]
    return join(
        [
            el("p", verdict[:1].upper() + verdict[1:], class_="verdict"),
            el("div", meters, class_="meters"),
            el("ul", [el("li", line) for line in explain(found)], class_="plain"),
            [el("h3", "Class texts that are nearly the same to the text tower"), el("p", alike)] if alike else None,
            el("p", el("small", LIMITS)),
        ]
    )


def recommendations(report: Report, pictures: Pictures) -> Markup:
    """What to set, and why; and the whole config."""
    listed = [_advice(one) for one in sorted(report.recommendations, key=lambda one: (not one.changes, not one.apply))]
    lines = [el("span", line + "\n", class_="c" if line.lstrip().startswith("#") else None) for line in report.fixed.splitlines()]
    copy = el("button", "copy", class_="copy", type="button")
    return join([listed, el("h3", "The config with these", copy), el("pre", el("code", lines), tabindex=0)])


def _advice(one: Recommendation) -> Markup:
    if not one.changes:
        what = el("span", el("code", f"{one.key}: {shown(one.current)}"), " ", el("span", "right as it is", class_="chip"))
    else:
        kind = el("span", "set below", class_="chip set") if one.apply else el("span", "for you to judge", class_="chip")
        now = [" ", el("code", shown(one.current), class_="now")] if one.current is not None else None
        what = el("span", el("code", el("b", f"{one.key}: {shown(one.value)}")), now, " ", kind)
    source = el("p", el("small", one.source)) if one.source else None
    return el("div", el("h3", one.topic[:1].upper() + one.topic[1:]), el("div", what, el("p", prose(one.reason)), source), class_="advice")
