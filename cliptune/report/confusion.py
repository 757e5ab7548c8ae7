"""What is taken for what: for few classes a table of numbers, for many a map whose cells are named when pointed at; and the worst pairs."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from cliptune.metrics.answers import ClassAnswers
from cliptune.page.markup import Markup, el, join, table
from cliptune.page.numbers import percent
from cliptune.page.pictures import Pictures
from cliptune.report.reading import RunRead

WRITTEN = 16  # classes whose matrix is written out
ARRANGED = 2000  # classes that are put in an order, at most
CELLS, PAIRS = 20_000, 200  # of a map, of the table
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.01)  # shares of a class, each range with a shade of its own

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """The cells of a confusion matrix that are not zero, [n] each."""

    truth: Matrix
    said: Matrix
    count: Matrix
    images: Matrix  # [C], of each true class

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """[n], of the true class's images."""
        return np.asarray(self.count / np.maximum(self.images[self.truth], 1))


def cells_of(answers: ClassAnswers) -> Cells:
    """Count pairs of true and said; where images may have several classes, what is one of them is right."""
    label, said = answers.label, answers.top[:, 0]
    if answers.several is not None:
        label = torch.where(answers.several.gather(1, said[:, None])[:, 0].bool(), said, label)
    pairs, counts = np.unique(label.numpy() * answers.classes + said.numpy(), return_counts=True)
    images = np.bincount(label.numpy(), minlength=answers.classes)
    return Cells(pairs // answers.classes, pairs % answers.classes, counts, images)


def confusion(run: RunRead, pictures: Pictures) -> Markup | None:
    """Both states side by side, and the pairs that are confused most."""
    states = [
        (name, one) for name, one in (("zero-shot", run.before.classes), ("adapted", run.after.classes)) if one is not None and len(one)
    ]
    if not states:
        return None
    count, names = states[0][1].classes, [run.examples.name(label).replace("\n", " ") for label in range(states[0][1].classes)]
    found = {name: cells_of(answers) for name, answers in states}
    last = states[-1][0]
    if count <= WRITTEN:
        drawn = [_written(name, cells, names) for name, cells in found.items()]
        said = "Rows are the true classes, columns what the model says; shades are shares of the row."
    else:
        order = arranged(list(found.values())[-1], count)
        drawn = [_map(name, cells, names, order) for name, cells in found.items()]
        said = "Rows are the true classes, columns what the model says. Classes that are taken for one another lie side by side."
    return join([el("p", said, class_="pale"), el("div", drawn, class_="charts"), _pairs(found, last, names)])


def _written(title: str, cells: Cells, names: list[str]) -> Markup:
    size = len(names)
    whole = np.zeros((size, size), dtype=np.int64)
    whole[cells.truth, cells.said] = cells.count
    heads = [el("th", el("span", name), scope="col") for name in names]
    rows = [
        el("tr", el("th", names[i], scope="row"), [_cell(names, i, j, int(whole[i, j]), int(cells.images[i])) for j in range(size)])
        for i in range(size)
    ]
    body = el("table", el("thead", el("tr", el("td"), heads)), el("tbody", rows), class_="matrix")
    return el("figure", el("figcaption", title), el("div", body, class_="scroll", tabindex=0), class_="chart")


def _cell(names: list[str], i: int, j: int, count: int, images: int) -> Markup:
    share = count / max(images, 1)
    tip = f"{names[i]} {'is right' if i == j else f'called {names[j]}'}: {count:,} of {images:,} ({percent(share, 0)})"
    style = ("right" if i == j else "wrong") + (" deep" if share > 0.6 else "")
    return el("td", f"{count:,}" if count else "", class_=style, style=f"--s:{100 * share:.0f}%" if count else None, data_tip=tip)


def arranged(cells: Cells, count: int) -> Matrix:
    """An order of the classes in which those that are confused are neighbours: the leaves of a tree of average linkage."""
    off = cells.truth != cells.said
    if count > ARRANGED or not off.any():
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    near = np.zeros((count, count))
    np.add.at(near, (cells.truth[off], cells.said[off]), cells.share[off])
    near += near.T
    distance = 1 - near / near.max()
    np.fill_diagonal(distance, 0)
    return np.asarray(leaves_list(linkage(squareform(distance, checks=False), "average")), dtype=np.int64)


def _map(title: str, cells: Cells, names: list[str], order: Matrix) -> Markup:
    """A square of cells; a path for each shade, since many small elements are slow."""
    count = len(names)
    place = np.empty(count, dtype=np.int64)
    place[order] = np.arange(count)
    kept = np.sort(np.argsort(-cells.share, kind="stable")[:CELLS])
    rows, columns, share, n = place[cells.truth[kept]], place[cells.said[kept]], cells.share[kept], cells.count[kept]
    drawn = []
    for level, (low, high) in enumerate(pairwise(LEVELS)):
        for style, own in (("right", rows == columns), ("wrong", rows != columns)):
            chosen = own & (share > low) & (share <= high)
            line = "".join(f"M{c} {r}h1v1h-1z" for r, c in zip(rows[chosen].tolist(), columns[chosen].tolist(), strict=True))
            drawn.append(el("path", d=line, class_=f"{style} l{level}") if line else None)
    picture = el(
        "svg",
        el("path", d=f"M0 0H{count}V{count}H0z", class_="ground"),
        drawn,
        el("path", d="", class_="cursor"),
        viewBox=f"0 0 {count} {count}",
        role="img",
        aria_label=f"confusion of {count} classes, {title}",
    )
    return el(
        "figure",
        el("figcaption", title),
        picture,
        el("output", "Point at a cell, or press the arrow keys here."),
        class_="heat chart",
        tabindex=0,
        data_names="\n".join(names[label] for label in order.tolist()),
        data_images=" ".join(map(str, cells.images[order].tolist())),
        data_cells=" ".join(f"{r},{c},{k}" for r, c, k in zip(rows.tolist(), columns.tolist(), n.tolist(), strict=True)),
    )


def _pairs(found: dict[str, Cells], last: str, names: list[str]) -> Markup | None:
    """What is confused most, by the number of images."""
    cells = found[last]
    wrong = np.flatnonzero(cells.truth != cells.said)
    if not len(wrong):
        return el("p", "Nothing is confused.")
    wrong = wrong[np.argsort(-cells.count[wrong], kind="stable")][:PAIRS]
    first = next(iter(found.values()))
    before = dict(zip(zip(first.truth.tolist(), first.said.tolist(), strict=True), first.count.tolist(), strict=True))
    rows = []
    for place in wrong.tolist():
        truth, said, count = int(cells.truth[place]), int(cells.said[place]), int(cells.count[place])
        images, was = int(cells.images[truth]), before.get((truth, said), 0)
        cell: list[object] = [names[truth], names[said], (count, f"{count:,}"), (count / images, percent(count / images, 0))]
        rows.append(cell + ([(was, f"{was:,}"), (count - was, _signed(count - was))] if len(found) > 1 else []))
    head = ["true", "taken for", "images", "of the class"] + (["zero-shot", "change"] if len(found) > 1 else [])
    more = f" The first {PAIRS}." if len(wrong) == PAIRS else ""
    return join(
        [
            el("h3", "Confused most"),
            el("p", f"By the {last} model.{more}", class_="pale"),
            table(head, rows, True, range(2, len(head)), "find a class"),
        ]
    )


def _signed(change: int) -> str:
    return f"{change:+,}".replace("-", "\N{MINUS SIGN}") if change else "0"
