"""Lightning and open_clip come without what a command rarely uses, and miss nothing."""

import json
import subprocess
import sys
from pathlib import Path


def said(code: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_what_no_command_uses_is_not_imported() -> None:
    code = """
import sys
from cliptune.lean import import_lean
import_lean()
import cliptune.launch
import cliptune.course
print([name for name in ("scipy.signal", "scipy.stats", "matplotlib", "transformers", "timm", "lightning.pytorch") if name in sys.modules])
"""
    assert said(code) == "['lightning.pytorch']\n"


def test_metrics_still_draw_and_ask_for_scipy() -> None:
    code = """
from cliptune.lean import import_lean
import_lean()
import matplotlib
matplotlib.use("Agg")
import torch, torchmetrics
from lightning_utilities.core.imports import package_available
from torchmetrics.utilities.imports import _SCIPY_AVAILABLE, _MATPLOTLIB_AVAILABLE
metric = torchmetrics.MeanMetric()
metric.update(torch.tensor([1.0, 2.0]))
figure, axes = metric.plot()
print(type(figure).__name__, bool(_SCIPY_AVAILABLE), bool(_MATPLOTLIB_AVAILABLE), package_available("scipy"))
"""
    assert said(code) == "Figure True True True\n"


def test_garbage_is_collected_again_afterwards() -> None:
    code = """
import gc
from cliptune.lean import import_lean
import_lean()
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert said(code) == "True True\n"


def test_towers_of_timm_and_transformers_are_built_of_the_real_ones(tmp_path: Path) -> None:
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 30}), encoding="utf-8")
    code = f"""
from cliptune.lean import import_lean
import_lean()
import open_clip, sys, torch
print("timm" in sys.modules, "transformers" in sys.modules)
image = open_clip.timm_model.TimmModel("test_resnet", embed_dim=24, pool="avg", proj="linear", image_size=64, pretrained=False)
text = open_clip.hf_model.HFTextEncoder({str(tmp_path)!r}, output_dim=24, proj_type="linear", pooler_type="mean_pooler", pretrained=False)
print(image(torch.zeros(2, 3, 64, 64)).shape, text(torch.ones(2, 5, dtype=torch.long)).shape)
import timm, transformers
print(type(text.transformer) is transformers.BertModel, isinstance(image, open_clip.hf_model.transformers.PreTrainedModel))
print(isinstance(text.transformer, open_clip.hf_model.transformers.PreTrainedModel))
"""
    lines = ["False False", "torch.Size([2, 24]) torch.Size([2, 24])", "True False", "True"]
    assert said(code).splitlines() == lines


def test_nothing_is_of_a_class_that_nobody_imported() -> None:
    code = """
from cliptune.lean import _deferred
import sys
with _deferred(("matplotlib",)):
    from matplotlib.figure import Figure
print(isinstance(1, Figure), "matplotlib" in sys.modules)
from matplotlib.figure import Figure as real
print(isinstance(real(), Figure), isinstance(1, Figure))
"""
    assert said(code).splitlines() == ["False False", "True False"]


def test_who_has_imported_them_keeps_them() -> None:
    code = """
import transformers, open_clip
from cliptune.lean import import_lean
import_lean()
print(open_clip.hf_model.transformers is transformers)
"""
    assert said(code) == "True\n"
