"""The page's pairs of rows, and who wins on which class."""

from collections.abc import Iterator

import numpy as np

from cliptune.comparison.by_class import ByClass
from cliptune.comparison.comparing import Comparison
from cliptune.comparison.page_scores import good, placed
from cliptune.comparison.pairing import Paired
from cliptune.comparison.significance import LEVEL
from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import percent, points, probability

UP, DOWN = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"
CELLS = 15_000  # of the table of classes: about 2 MB
NAMED = 12  # classes of a pair that are named
NARROW = 5  # rows, beyond which columns are named by their places
SENTENCES = 60  # pairs that are told in words


def pairs(found: Comparison) -> Markup | None:
    """Each row against each other: the difference on the same images, and how sure it is."""
    paired = found.paired
    if paired is None:
        return None
    places = [found.rows.index(row) + 1 for row in paired.rows]
    body = []
    for i, row in enumerate(paired.rows):
        cells = [_pair(paired, found.classes, i, j) if i != j else ("nan", "") for j in range(len(paired.rows))]
        body.append([(places[i], placed(places[i], row.name)), *cells])
    what = "class is the right one" if paired.part == "classes" else "first text found is one of the image's own"
    said = (
        f"Of the {paired.images:,} images, in points: how many more the row has right than the column; right is an image whose {what}. "
        f"{UP} and {DOWN}: more than chance (McNemar's exact test on the same images, corrected for all {_count(paired)} pairs by Holm)."
    )
    told = list(_sentences(paired, found.classes)) if found.classes is not None else []
    more = el("details", el("summary", "On which classes"), el("ul", [el("li", one) for one in told[:SENTENCES]])) if told else None
    heads = [_head(place, row.name, True) for place, row in zip(places, paired.rows, strict=True)]
    grid = table(["right more often than", *heads], body, numeric=range(1, 1 + len(places)))
    return join([el("div", grid, class_="pinned"), el("p", el("small", said)), more])


def _count(paired: Paired) -> int:
    return len(paired.rows) * (len(paired.rows) - 1) // 2


def _pair(paired: Paired, classes: ByClass | None, i: int, j: int) -> object:
    won, lost, p = int(paired.won[i, j]), int(paired.won[j, i]), float(paired.p[i, j])
    change = (won - lost) / paired.images
    who = f"{paired.rows[i].name} against {paired.rows[j].name}"
    text = f"{who}: right on {won:,} images where the other is wrong, wrong on {lost:,} where it is right; {probability(p)}"
    if classes is not None and classes.better:
        text += f"\nclasses won for certain: {len(classes.better[i, j])}, lost: {len(classes.better[j, i])}"
    certain = p < LEVEL
    told = good(change > 0, f"{points(change)} {UP if change > 0 else DOWN}") if certain else points(change)
    return (change, el("span", told, data_tip=text))


def _sentences(paired: Paired, classes: ByClass) -> Iterator[str]:
    """Of each pair the classes won and lost, those with most first."""
    kept = [(i, j) for i, j in classes.better if i < j and (classes.better[i, j] or classes.better[j, i])]
    for i, j in sorted(kept, key=lambda pair: -len(classes.better[pair]) - len(classes.better[pair[::-1]])):
        sides = []
        for verb, inner in (("better on", classes.better[i, j]), ("worse on", classes.better[j, i])):
            names = ", ".join(classes.names[c] for c in inner[:NAMED]) + (f" and {len(inner) - NAMED} more" if len(inner) > NAMED else "")
            sides += [f"{verb} {names}"] if inner else []
        yield f"{paired.rows[i].name} against {paired.rows[j].name}: {'; '.join(sides)}"


def classes(found: Comparison) -> Markup | None:
    """The accuracy of each row on each class, those first on which they differ for certain."""
    paired, each = found.paired, found.classes
    if paired is None or each is None:
        return None
    count = len(paired.rows)
    order = [int(c) for c in _order(each) if each.images[c]]
    shown = order[: max(CELLS // count, 20)]
    names = [f"{found.rows.index(row) + 1} {row.name}" for row in paired.rows]
    heads = [_head(found.rows.index(row) + 1, row.name, count > NARROW) for row in paired.rows]
    rows = []
    for c in shown:
        best = each.winners(c)
        won = names[best[0]] if len(best) == 1 else f"{len(best)} alike" if len(best) < count else "all alike"
        cells = [_accuracy(each, i, c, i in best and len(best) < count) for i in range(count)]
        rows.append([each.names[c], (int(each.images[c]), f"{each.images[c]:,}"), *cells, won])
    grid = table(["class", "images", *heads, "best"], rows, True, range(1, 2 + count), "find a class")
    said = (
        f"The share of a class's images that are right; the best are bold. {UP} better, {DOWN} worse than {paired.reference.name} by more "
        f"than chance: McNemar's exact test on the class's images, corrected for all {int((each.images > 0).sum()):,} classes by Holm. "
        "Sorted by that; a click on a head sorts anew."
    )
    left = f" The {len(shown):,} classes that differ most are shown; all are in classes.csv." if len(shown) < len(order) else ""
    return join([el("div", grid, class_="pinned"), el("p", el("small", said + left))])


def _head(place: int, name: str, narrow: bool) -> str:
    """A column of a row: its place and name, or its place alone, which tells the name when pointed at."""
    return el("span", str(place), data_tip=f"{place} {name}") if narrow else f"{place} {name}"


def _order(each: ByClass) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    """Classes by the smallest p, then by how far accuracies lie apart."""
    least = np.where(np.isnan(each.p), 1.0, each.p).min(axis=0)
    apart = np.where(np.isnan(each.accuracy), 0.0, each.accuracy)
    return np.lexsort((apart.min(axis=0) - apart.max(axis=0), least))


def _accuracy(each: ByClass, row: int, number: int, best: bool) -> object:
    value, mark = float(each.accuracy[row, number]), each.mark(row, number)
    told: object = percent(value, 0)
    told = el("b", told) if best else told
    return (round(value, 4), join([told, good(mark > 0, f" {UP if mark > 0 else DOWN}")]) if mark else told)
