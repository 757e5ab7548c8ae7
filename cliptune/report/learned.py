"""What was learned, as far as it can be read: the words nearest to learned prompts, and how large LoRA's change of each layer is."""

from typing import Any

from cliptune.page.axes import Axis
from cliptune.page.charts import Point, Series, chart
from cliptune.page.markup import Markup, bar, el, join, table
from cliptune.page.numbers import percent
from cliptune.page.pictures import Pictures
from cliptune.report.reading import RunRead

TOWERS = {"image": 1, "text": 2}  # their colours
WORDS, NEAREST = 64, 5


def learned(run: RunRead, pictures: Pictures) -> Markup | None:
    """Words, norms of LoRA's layers, changes of whole blocks: what the method tells."""
    words, norms, blocks = (run.part("learned", name) or [] for name in ("words", "lora_norms", "block_changes"))
    made = [
        _words(words, run.part("learned").get("words_learned", len(words))) if words else None,
        _changes("Change by LoRA", "layer", norms) if norms else None,
        _changes("Change of the weights", "block", blocks) if blocks else None,
    ]
    return join(made) if any(one is not None for one in made) else None


def _words(words: list[dict[str, Any]], count: int) -> Markup:
    rows = []
    for word in words[:WORDS]:
        cosines = word.get("cosines") or [None] * len(word["nearest"])
        near = [_near(spelled, far, cosine) for (spelled, far), cosine in zip(word["nearest"][:NEAREST], cosines, strict=False)]
        rows.append(
            [word.get("template") or "", word.get("class_name") or "all classes", word["place"] + 1, el("div", near, class_="near")]
        )
    says = "The vocabulary's words that lie nearest to each learned one, with their distances. Near words are a hint, no more."
    more = f" The first {len(rows)} of {count:,}." if count > len(rows) else ""
    listed = table(("template", "of", "word", "nearest"), rows, numeric=(2,), find="find a word" if len(rows) > 12 else "")
    return join([el("h3", "Learned words"), el("p", says + more, class_="pale"), listed])


def _near(spelled: str, distance: float, cosine: float | None) -> Markup:
    tip = f"distance {distance:.3g}" + (f", cosine {cosine:.2f}" if cosine is not None else "")
    return el("span", [str(spelled), " ", el("small", f"{distance:.2f}")], class_="chip", data_tip=tip)


def _changes(title: str, kind: str, found: list[dict[str, Any]]) -> Markup:
    """A chart where blocks have numbers, and the table of all."""
    by_tower: dict[str, dict[int, list[float]]] = {}
    for one in found:
        if (number := _block(one[kind])) is not None:
            by_tower.setdefault(str(one["tower"]), {}).setdefault(number, []).append(float(one["relative"]))
    series = [
        Series(f"{tower} tower", [Point(block, max(values)) for block, values in sorted(blocks.items())], TOWERS.get(tower, 3))
        for tower, blocks in by_tower.items()
    ]
    most = max((float(one["relative"]) for one in found), default=0) or 1
    rows = [
        [
            one["tower"],
            (i, str(one[kind])),
            (one["norm"], f"{one['norm']:.3f}"),
            (one["relative"], percent(one["relative"], 2)),
            bar(one["relative"] / most),
        ]
        for i, one in enumerate(found)
    ]
    says = "The norm of the change, as a share of the norm of the weights before." + (
        " Of several layers in a block, the greatest." * (kind == "layer")
    )
    drawn = chart(title, series, Axis("block"), Axis("relative norm", "share", low=0), says)
    head = ("tower", kind, "norm", "relative", "")
    whole = table(head, rows, sortable=True, numeric=(2, 3), find=f"find a {kind}" if len(rows) > 12 else "")
    if drawn is None:
        return join([el("h3", title), el("p", says, class_="pale"), whole])
    return join([drawn, el("details", el("summary", f"all {len(rows):,}"), whole)])


def _block(layer: Any) -> int | None:
    """The number of a block: one by itself, or the only one in a name such as `transformer.resblocks.3.attn.q`."""
    if isinstance(layer, int):
        return layer
    numbers = [int(part) for part in str(layer).split(".") if part.isdigit()]
    return numbers[0] if len(numbers) == 1 else None
