"""Draws `transforms.png`: what each preset of training transforms makes of an image of its kind. Seeds are fixed: it draws the same again.

    python docs/draw_transforms.py

The photos come with scikit-learn (CC BY 2.0, by Daniel Buechele and vultilion); the sprite is of Dungeon Crawl Stone Soup (CC0), the
radiograph of a paper (CC BY 4.0, `RADIOGRAPH`), both read from ../shared/data; the page is drawn here.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_image
from torch import Tensor

from cliptune.augment import PRESETS
from cliptune.images import decode, from_pil
from cliptune.preprocess import Preprocess

DATA = Path(__file__).parents[2] / "shared" / "data"
RADIOGRAPH = "10.1186/s40779-020-0233-6"  # the DOI of the paper
SPRITE = "eustachio"
SIDE, DRAWS = 224, 5
GAP, LEFT, HEAD, BETWEEN = 8, 224, 40, 22  # pixels
INK, PALE, LINE = "#1f2328", "#656d76", "#d8dee4"
SAYS = {
    "clip": "open_clip's own:\na random crop of 0.9\nto 1.0 of the area,\nresized, so slightly\nsquashed",
    "photo": "crops from half the\narea on, mirrored,\nbrightness, contrast\nand saturation; hues\nstay what they are",
    "medical": "no mirror, no squash,\nno colour: a little\nshift, 5 degrees, 10 %\nof brightness and\ncontrast",
    "pixel_art": "pixels become whole\nsquares; shifts and\ncuts by whole pixels,\nmirrored; no blur, no\nnew colour",
    "document": "no mirror, no squash:\n2 degrees, brightness,\ncontrast, and the blur\nof a poorer scanner",
}


def row_of(name: str, column: str, value: str) -> Tensor:
    """The first image of a data set in whose row a column has a value."""
    table = pq.read_table(DATA / name / "data.parquet", columns=["image", column])
    number = table.column(column).to_pylist().index(value)
    return decode(table.column("image")[number].as_py()["bytes"])


def font(size: int, bold: bool = False, family: str = "DejaVu Sans") -> ImageFont.FreeTypeFont:
    """One of matplotlib's own."""
    file = font_manager.findfont(font_manager.FontProperties(family=family, weight="bold" if bold else "normal"))
    return ImageFont.truetype(file, size)


def page() -> Tensor:
    """A letter with a table."""
    image = Image.new("RGB", (620, 877), "#fbfaf6")
    draw = ImageDraw.Draw(image)
    serif, heading = font(17, family="DejaVu Serif"), font(26, bold=True, family="DejaVu Serif")
    draw.text((60, 60), "Meridian Glass Works", font=heading, fill="#1d2a44")
    draw.line((60, 100, 560, 100), fill="#1d2a44", width=2)
    draw.text((420, 118), "14 March 1998", font=serif, fill=INK)
    body = (
        "Dear Mrs Lindqvist,\n\nthank you for your order of last week. The two\nlamps leave our shop on Thursday; the bowl will\n"
        "follow when it has cooled. Below is what we owe\nto each other."
    )
    draw.multiline_text((60, 160), body, font=serif, fill=INK, spacing=9)
    top = 372
    for i, line in enumerate(
        [("item", "pieces", "price"), ("lamp, green", "2", "184.00"), ("bowl, clear", "1", "62.50"), ("", "", "246.50")]
    ):
        for x, text in zip((70, 330, 450), line, strict=True):
            draw.text((x, top + 10 + 40 * i), text, font=font(17, bold=i in (0, 3)), fill=INK)
        draw.rectangle((60, top + 40 * i, 560, top + 40 * (i + 1)), outline="#8c959f")
    draw.multiline_text((60, 570), "Please pay within thirty days.\n\nWith kind regards,", font=serif, fill=INK, spacing=9)
    x = np.linspace(0, 1, 160)
    curve = zip(70 + 190 * x, 690 + 16 * np.sin(21 * x) * (1 - 0.6 * x) - 10 * x, strict=True)
    draw.line(list(curve), fill="#23408e", width=3, joint="curve")
    draw.ellipse((400, 620, 530, 750), outline="#b3392f", width=5)
    draw.text((425, 670), "RECEIVED", font=font(16, bold=True), fill="#b3392f")
    return from_pil(image)


IMAGES: dict[str, Callable[[], Tensor]] = {
    "clip": lambda: from_pil(Image.fromarray(load_sample_image("china.jpg"))),
    "photo": lambda: from_pil(Image.fromarray(load_sample_image("flower.jpg"))),
    "medical": lambda: row_of("covid_cxr", "doi", RADIOGRAPH),
    "pixel_art": lambda: row_of("dcss_tiles", "name", SPRITE),
    "document": page,
}


def as_pil(image: Tensor) -> Image.Image:
    """A picture of pixels [3, H, W]."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def whole(image: Tensor, smooth: bool) -> Image.Image:
    """The image, fitted into a square."""
    picture = as_pil(image)
    factor = SIDE / max(picture.size)
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)


def main() -> None:
    """Draw a row for each preset."""
    preprocess = Preprocess({"size": SIDE, "interpolation": "bicubic"}, torch.tensor, trim=False)
    columns = 2 + DRAWS
    size = (LEFT + columns * (SIDE + GAP) + BETWEEN + GAP, HEAD + len(PRESETS) * (SIDE + BETWEEN))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    lefts = [LEFT + i * (SIDE + GAP) + (BETWEEN if i > 1 else 0) for i in range(columns)]
    for i, title in {0: "the image", 1: "as evaluation sees it", 2: "as training sees it"}.items():
        draw.text((lefts[i], 12), title, font=font(15), fill=PALE)
    for row, name in enumerate(PRESETS):
        image, top = IMAGES[name](), HEAD + row * (SIDE + BETWEEN)
        draw.text((18, top + 2), name, font=font(20, bold=True), fill=INK)
        draw.multiline_text((18, top + 36), SAYS[name], font=font(14), fill=PALE, spacing=6)
        original = whole(image, name != "pixel_art")
        sheet.paste(original, (lefts[0], top + (SIDE - original.height) // 2))
        views = [preprocess.eval(image), *(preprocess.train(image, np.random.default_rng((row, i)), preset=name) for i in range(DRAWS))]
        for left, view in zip(lefts[1:], views, strict=True):
            sheet.paste(as_pil(view), (left, top))
            draw.rectangle((left - 1, top - 1, left + SIDE, top + SIDE), outline=LINE)
    buffer = io.BytesIO()
    sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
    Path(__file__).with_name("transforms.png").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
