"""Lightning comes without what no command uses, and a torchmetrics that misses nothing."""

import subprocess
import sys


def said(code: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_what_no_command_uses_is_not_imported() -> None:
    code = """
import sys
from cliptune.lean import import_lightning
import_lightning()
import cliptune.launch
print([name for name in ("scipy.signal", "matplotlib", "transformers.modeling_utils", "lightning.pytorch") if name in sys.modules])
"""
    assert said(code) == "['lightning.pytorch']\n"


def test_metrics_still_draw_and_ask_for_scipy() -> None:
    code = """
from cliptune.lean import import_lightning
import_lightning()
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
from cliptune.lean import import_lightning
import_lightning()
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert said(code) == "True True\n"
