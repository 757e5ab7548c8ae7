"""The run folder's pictures: `curves.png`, loss and score over the steps; `examples.png`, test images with what the model says."""

from __future__ import annotations

import csv
import logging
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib import pyplot as plt
from torch import Tensor

if TYPE_CHECKING:
    from cliptune.backbone import Backbone
    from cliptune.data.images import ImageTextData
    from cliptune.methods.base import ClassTexts, Method

log = logging.getLogger(__name__)
EXAMPLES = 24
COLUMNS = 6
LINE = 0.14  # inches that a line of text takes
RIGHT, WRONG, PLAIN, FAINT = "#1a7f37", "#c62828", "#1f4e79", "#9aa5b1"
CANDIDATES = 1000  # captions among which the pictured one is chosen, at most


def draw_curves(folder: Path) -> None:
    """Draw `curves.png` from `metrics.csv`."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = [name for name in ("val/top1", "val/recall") if any(row.get(name) for row in rows)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    steps, losses = _series(rows, "train/loss")
    left.plot(steps, losses, color=FAINT, linewidth=1)
    if len(losses) >= 10:
        window = max(len(losses) // 20, 2)
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        left.plot(steps[window - 1 :], smooth, color=PLAIN, linewidth=2)
    left.set(title="training loss", xlabel="step")
    for name, colour in zip(names, (PLAIN, RIGHT), strict=False):
        steps, values = _series(rows, name)
        right.plot(steps, values, color=colour, marker="o", markersize=3, label=name.removeprefix("val/"))
        if len(values):
            right.axhline(values[0], color=colour, linestyle=":", linewidth=1, label=f"{name.removeprefix('val/')}, zero-shot")
    right.set(title="validation", xlabel="step")
    right.set_ylim(bottom=0)
    if names:
        right.legend(frameon=False)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "curves.png", dpi=120)
    plt.close(figure)


def draw_blends(shares: Sequence[float], series: Mapping[str, Sequence[float]], marked: Mapping[str, float], file: Path) -> None:
    """Draw scores between zero-shot and adapted.

    Args:
        shares: of what was learned, from 0 to 1.
        series: scores at each of them, by what they are of; validation first, then guards.
        marked: shares to point out, by what they are.
        file: a PNG to write.
    """
    figure, axis = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    styles = zip((PLAIN, WRONG, RIGHT, "#8e44ad", "#b8860b"), "os^Dv", strict=True)
    for (label, scores), (colour, marker) in zip(series.items(), cycle(styles), strict=False):
        axis.plot(shares, scores, color=colour, marker=marker, markersize=4, label=label)
    for (label, share), line in zip(marked.items(), cycle((":", "--")), strict=False):
        axis.axvline(share, color=FAINT, linestyle=line, label=label)
    axis.set(xlabel="share of what was learned (0: zero-shot, 1: adapted)", ylabel="score")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _series(rows: list[dict[str, str]], name: str) -> tuple[list[int], list[float]]:
    kept = [row for row in rows if row.get(name)]
    return [int(row["step"]) for row in kept], [float(row[name]) for row in kept]


@torch.inference_mode()
def draw_examples(folder: Path, backbone: Backbone, method: Method, classes: ClassTexts, data: ImageTextData) -> None:
    """Draw `examples.png`: evenly spaced test images, each with its predicted text; green where it is right."""
    backbone.eval()
    device = backbone.mean.device
    rows = data.rows("test")
    picked = [int(i) for i in np.linspace(0, len(rows) - 1, min(EXAMPLES, len(rows)))]
    picked = list(dict.fromkeys(picked))
    batch = data.eval_view()(rows[[(0, i) for i in picked]])
    image_rows = method.image_rows(backbone, batch["images"].to(device))
    if classes:
        class_rows = method.class_rows(backbone, classes)
        said = method.logits(backbone, image_rows, class_rows).argmax(dim=1).tolist()
        labels = batch["label"].tolist()
        texts = [classes.names[i] for i in said]
        truths = [classes.names[i] if i >= 0 else "" for i in labels]
        good = [a == b for a, b in zip(said, labels, strict=True)]
        title = "test images and the class that the model says (below, where it is wrong: the true one)"
    else:
        step = max(len(rows) // CANDIDATES, 1)
        chosen = list(dict.fromkeys([*picked, *range(0, len(rows), step)]))
        captions = [row.captions[0] for _, _, row in rows[[(0, i) for i in chosen]]]
        tokens = data.eval_view().preprocess.tokenize(captions)
        text_rows = torch.cat([method.text_rows(backbone, part.to(device)) for part in tokens.split(256)])
        said = (image_rows @ text_rows.T).argmax(dim=1).tolist()
        texts, truths = [captions[i] for i in said], captions[: len(picked)]
        good = [a == b for a, b in zip(texts, truths, strict=True)]
        title = f"test images and the caption that the model picks among {len(captions):,} (below, where it is wrong: the true one)"
    _grid(folder / "examples.png", batch["images"], texts, truths, good, title)


def _grid(file: Path, images: Tensor, texts: list[str], truths: list[str], good: list[bool], title: str) -> None:
    columns = min(COLUMNS, len(images))
    height = 2.1 + LINE * (_most_lines(texts) + _most_lines([t for t, right in zip(truths, good, strict=True) if not right]))
    rows = -(-len(images) // columns)
    with plt.rc_context({"font.family": fonts_for([*texts, *truths])}):
        size = (2.1 * max(columns, 4), height * rows + 0.5)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, constrained_layout=True)
        for axis in axes.flat[len(images) :]:
            axis.axis("off")
        for axis, image, text, truth, right in zip(axes.flat, images, texts, truths, good, strict=False):
            axis.imshow(image.permute(1, 2, 0).numpy())
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_title(_wrapped(text), fontsize=8, color=RIGHT if right else WRONG, parse_math=False)
            if not right:
                axis.set_xlabel(_wrapped(truth), fontsize=7, color="#444", parse_math=False)
        figure.suptitle(title, fontsize=9, color="#444")
        figure.savefig(file, dpi=120)
        plt.close(figure)


def _most_lines(texts: list[str]) -> int:
    return max((_wrapped(text).count("\n") + 1 for text in texts if text), default=0)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 26)[:3]) or text


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Choose installed fonts that between them have every character; matplotlib falls back along the list.

    Says in the log which characters no installed font has.
    """
    missing = {ord(char) for text in texts for char in text if not char.isspace()}
    chosen = ["DejaVu Sans"]
    missing -= _characters(font_manager.findfont("DejaVu Sans"))
    for entry in _installed() if missing else ():
        found = _characters(entry.fname) & missing if entry.name not in chosen else set()
        if found:
            chosen.append(entry.name)
            missing -= found
    if missing:
        some = "".join(chr(code) for code in sorted(missing)[:8])
        log.warning(
            f"no installed font can draw {some!r}: pictures show boxes there. Install one, such as Noto Sans CJK (Debian: fonts-noto-cjk)."
        )
    return chosen


def _installed() -> list[font_manager.FontEntry]:
    """The fonts of this machine, upright and regular ones first; those that matplotlib's cache does not know yet too."""
    fonts = font_manager.fontManager
    for file in set(font_manager.findSystemFonts()) - {entry.fname for entry in fonts.ttflist}:
        with suppress(OSError, RuntimeError):  # a file that is no font
            fonts.addfont(file)
    real = [entry for entry in fonts.ttflist if not entry.name.startswith("Last Resort")]  # it has a box for every character
    return sorted(real, key=lambda e: (e.style != "normal", abs(int(e.weight) - 400) if str(e.weight).isdigit() else 0))


def _characters(file: str) -> set[int]:
    try:
        return set(font_manager.get_font(file).get_charmap())
    except (OSError, RuntimeError):
        return set()
