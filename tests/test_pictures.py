"""The pictures of a run folder: drawn for classes and captions, in the letters of the data."""

import logging
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Image
from matplotlib import font_manager
from PIL import Image as PILImage

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full
from cliptune.module import AdaptModule
from cliptune.objectives.contrastive import Contrastive
from cliptune.pictures import draw_curves, draw_examples, fonts_for

METRICS = "epoch,step,val/top1,train/loss\n0,0,0.1,\n0,9,,2.0\n0,19,,1.5\n0,20,0.4,\n1,39,,1.0\n1,40,0.6,\n"


def module_for(backbone: Backbone, data: ImageTextData) -> AdaptModule:
    data.setup()
    module = AdaptModule(backbone, Full(), Contrastive())
    module.has_captions = data.has_captions
    module.attach(ClassTexts(data.class_names, data.class_texts, backbone.preprocess))
    return module


def is_drawn(file: Path) -> bool:
    """Whether the file is a picture of more than one colour."""
    extrema = PILImage.open(file).convert("L").getextrema()
    return extrema[0] != extrema[1]


def test_curves_are_drawn_from_the_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS, encoding="utf-8")
    draw_curves(tmp_path)
    assert is_drawn(tmp_path / "curves.png")


def test_examples_of_classes(vit: Backbone, tmp_path: Path) -> None:
    data = ImageTextData(preprocess=vit.preprocess, workers=0)
    module = module_for(vit, data)
    draw_examples(tmp_path, module.backbone, module.method, module.classes, data)
    assert is_drawn(tmp_path / "examples.png")


def test_examples_of_korean_captions_choose_fonts_for_every_letter(vit: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [PILImage.fromarray(torch.full((16, 16, 3), i, dtype=torch.uint8).numpy()) for i in range(30)]
    table = Dataset.from_dict({"image": pictures, "caption": [f"고양이 사진 {i}" for i in range(30)]}).cast_column("image", Image())
    table.to_parquet(tmp_path / "data.parquet")
    data = ImageTextData(str(tmp_path / "data.parquet"), preprocess=vit.preprocess, workers=0, batch_size=4)
    seen: list[str] = []
    monkeypatch.setattr("cliptune.pictures.fonts_for", lambda texts: seen.extend(texts) or ["DejaVu Sans"])
    module = module_for(vit, data)
    draw_examples(tmp_path, module.backbone, module.method, module.classes, data)
    assert is_drawn(tmp_path / "examples.png")
    assert any("고양이" in text for text in seen)


def test_characters_that_no_font_has_are_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fonts_for(["plain"]) == ["DejaVu Sans"]
    last_resort = [e for e in font_manager.fontManager.ttflist if e.name.startswith("Last Resort")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", last_resort)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    with caplog.at_level(logging.WARNING, logger="cliptune"):
        fonts_for(["고양이"])
    assert f"no installed font can draw '{''.join(sorted('고양이'))}'" in caplog.text
