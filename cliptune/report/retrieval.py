"""Retrieval both ways: how far down what is right lies, before and after, and what is found for a few images and texts."""

from torch import Tensor

from cliptune.metrics.answers import RetrievalAnswers
from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, el, join
from cliptune.page.pictures import Pictures
from cliptune.report.choosing import choose_retrieval, comparable
from cliptune.report.reading import RunRead

DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)


def retrieval(run: RunRead, pictures: Pictures) -> Markup | None:
    """The chart of ranks, and the examples that `choosing` picks."""
    after = run.last.retrieval
    if after is None or not len(after):
        return None
    before = run.before.retrieval if run.last is run.after else None
    before = before if before is not None and comparable(before, after) else None
    chosen = choose_retrieval(before, after)
    images = [_of_image(run, pictures, place, before, after) for place in chosen.images]
    texts = [_of_text(run, pictures, place, before, after) for place in chosen.texts]
    return join(
        [
            el("div", [_ranks(way, before, after, run.last is run.after) for way in ("image", "text")], class_="charts"),
            [el("h3", "What images find"), el("div", images, class_="asked")] if run.examples.texts else None,
            [el("h3", "What texts find"), el("div", texts, class_="asked")] if run.examples.texts else None,
        ]
    )


def _ranks(way: str, before: RetrievalAnswers | None, after: RetrievalAnswers, adapted: bool) -> Markup | None:
    states = [("zero-shot", before, 0), ("adapted" if adapted else "zero-shot", after, 1)]
    series = [Series(name, _found(getattr(answers, f"{way}_rank")), tone) for name, answers, tone in states if answers is not None]
    title, of = ("Image to text", "images") if way == "image" else ("Text to image", "texts")
    return chart(
        title, series, Axis("the first k that are found", log=True, low=1), Axis(f"share of {of} with a right one", "share", high=1)
    )


def _found(rank: Tensor) -> list[Point]:
    return [Point(k, share, name=f"in the first {k}: {share:.1%}") for k in DEPTHS if (share := float((rank < k).float().mean())) >= 0]


def _of_image(run: RunRead, pictures: Pictures, place: int, before: RetrievalAnswers | None, after: RetrievalAnswers) -> Markup:
    number = str(int(after.number[place]))
    name, own = run.examples.names.get(number, f"test image {number}"), run.examples.captions.get(number, [])
    lines = []
    for text, score in zip(after.image_top[place].tolist(), after.image_score[place].tolist(), strict=True):
        if text >= 0:
            words = run.examples.texts.get(str(text), f"text {text}")
            good = int(after.owner[text]) == place or words in own
            lines.append(el("li", words, " ", el("small", f"{score:.3f}"), class_="good" if good else None))
    shown = pictures.image(number, name) if run.examples.pictures else None
    missed = el("p", el("small", "its own: "), own[0]) if int(after.image_rank[place]) >= len(lines) and own else None
    ranked = _ranked(before.image_rank if before is not None else None, after.image_rank, place)
    return el("div", el("figure", shown, el("figcaption", name, title=name)), el("div", ranked, el("ol", lines), missed), class_="ask")


def _of_text(run: RunRead, pictures: Pictures, place: int, before: RetrievalAnswers | None, after: RetrievalAnswers) -> Markup:
    words, owner = run.examples.texts.get(str(place), f"text {place}"), int(after.owner[place])
    found = []
    shown = [image for image in after.text_top[place].tolist() if image >= 0]
    for image, score in zip(shown, after.text_score[place].tolist(), strict=False):
        number = str(int(after.number[image]))
        good = image == owner or words in run.examples.captions.get(number, [])
        found.append(_thumb(run, pictures, number, f"{score:.3f}", good))
    if owner not in shown:
        found.append(_thumb(run, pictures, str(int(after.number[owner])), "its own", True))
    ranked = _ranked(before.text_rank if before is not None else None, after.text_rank, place)
    return el("div", el("p", words, class_="query"), ranked, el("div", found, class_="thumbs"), class_="ask text")


def _thumb(run: RunRead, pictures: Pictures, number: str, below: str, good: bool) -> Markup:
    name = run.examples.names.get(number, f"test image {number}")
    shown = pictures.image(number, name) if run.examples.pictures else el("span", name, class_="none")
    return el("figure", shown, el("figcaption", below), class_="thumb" + (" good" if good else ""), title=name)


def _ranked(before: Tensor | None, after: Tensor, place: int) -> Markup:
    """At which place what is right was and is."""
    now = int(after[place]) + 1
    if before is None:
        return el("p", el("span", f"right one at place {now:,}", class_="chip " + ("good" if now == 1 else "")))
    was = int(before[place]) + 1
    level = "good" if now < was or now == 1 else "stop" if now > was else ""
    moved = f"place {was:,} \N{RIGHTWARDS ARROW} {now:,}" if was != now else f"place {now:,}, as before"
    return el("p", el("span", f"right one: {moved}", class_=f"chip {level}".strip()))
