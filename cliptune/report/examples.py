"""Test images that tell something: sure and wrong, newly right, newly wrong; each with its texts and the scores of both models."""

from cliptune.metrics.answers import ClassAnswers
from cliptune.page.markup import Markup, el, join
from cliptune.page.numbers import percent
from cliptune.page.pictures import Pictures
from cliptune.report.choosing import choose_classes, comparable
from cliptune.report.reading import RunRead

KINDS = (
    ("mistakes", "Most confident mistakes", "Look at the labels too: the surest mistakes are often the data's."),
    ("newly_right", "Newly right", "Wrong before, right now; those that won the most first."),
    ("newly_wrong", "Newly wrong", "Right before, wrong now: what was paid."),
)


def examples(run: RunRead, pictures: Pictures) -> Markup | None:
    """The images that `choosing` picks, with what both models say."""
    after = run.last.classes
    if after is None or not len(after):
        return None
    before = run.before.classes if run.last is run.after else None
    before = before if before is not None and comparable(before, after) else None
    chosen, made = choose_classes(before, after), []
    for key, title, says in KINDS:
        places = getattr(chosen, key)
        if places:
            cards = [_card(run, pictures, place, before, after) for place in places]
            made += [el("h3", title), el("p", says, class_="pale"), el("div", cards, class_="cards")]
    return join(made) if made else None


def _card(run: RunRead, pictures: Pictures, place: int, before: ClassAnswers | None, after: ClassAnswers) -> Markup:
    number = str(int(after.number[place]))
    name = run.examples.names.get(number, f"test image {number}")
    truths = _truths(after, place)
    lines = [_line(run, "adapted" if run.last is run.after else "zero-shot", after, place, truths)]
    if before is not None:
        lines.append(_line(run, "zero-shot", before, place, truths))
    captions = [el("p", text, class_="said", title=text) for text in run.examples.captions.get(number, [])[:1]]
    shown = pictures.image(number, name) if run.examples.pictures else None
    true = el("p", el("b", ", ".join(run.examples.name(label) for label in truths)), class_="true")
    return el("figure", shown, el("figcaption", true, lines, captions, el("small", name, title=name)), class_="card")


def _truths(answers: ClassAnswers, place: int) -> list[int]:
    if answers.several is not None:
        return [int(label) for label in answers.several[place].nonzero()[:, 0]] or [int(answers.label[place])]
    return [int(answers.label[place])]


def _line(run: RunRead, who: str, answers: ClassAnswers, place: int, truths: list[int]) -> Markup:
    """What a model says, how sure it is, and, where that is wrong, what it gives the truth."""
    said, sure = int(answers.top[place, 0]), float(answers.top_probability[place, 0])
    good = said in truths
    pairs = zip(answers.top[place].tolist(), answers.top_probability[place].tolist(), strict=True)
    tip = [f"{percent(chance, 0)} {run.examples.name(label)}" for label, chance in pairs]
    tip += [f"true class: {percent(float(answers.label_probability[place]))}"] if not good else []
    return el(
        "p",
        el("small", el("span", who), el("span", percent(sure, 0))),
        el("span", el("i", style=f"width:{100 * sure:.0f}%"), run.examples.name(said), class_="guess " + ("good" if good else "bad")),
        data_tip="\n".join(tip),
        class_="who",
    )
