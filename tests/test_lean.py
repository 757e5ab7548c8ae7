"""Lightning and open_clip come without what a command rarely uses, and miss nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


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


def test_at_the_end_of_a_process_no_garbage_is_looked_for() -> None:
    code = """
import atexit, gc
atexit.register(lambda: print(len(gc.get_objects()) < 1000, gc.get_freeze_count() > 100_000))
from cliptune.lean import import_lean
import_lean()
kept = [[] for _ in range(10_000)]
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


def test_the_compiler_comes_with_the_first_that_needs_it(tmp_path: Path) -> None:
    code = f"""
import sys
from cliptune.main import main
words = ["fit", "--model.backbone.name", "nano", "--data.path", "digits", "--data.shots", "2", "--run.root", {str(tmp_path)!r}]
words += ["--run.pictures", "false", "--run.report", "false", "--evaluation.resamples", "0", "--watch.floor", "0"]
status = main([*words, "--config", "linear_probe", "--model.method.solver", "lbfgs", "--run.name", "probe"])
names = "torch._dynamo", "triton", "sympy", "torch.distributed.tensor"
import torch
print(status, [name for name in names if name in sys.modules or vars(sys.modules[name.rpartition(".")[0] or "torch"]).get("_dynamo")])
model = torch.nn.Linear(2, 2)
before = model.weight.detach().clone()
for kind in (torch.optim.AdamW, torch.optim.SGD):
    optimizer = kind(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
print("torch._dynamo" in sys.modules, bool((model.weight != before).all()), torch.is_grad_enabled())
torch.compile(model, backend="eager")(torch.ones(1, 2)).sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    assert said(code).splitlines()[-3:] == ["0 []", "False True True", "True"]


def test_what_is_kept_away_from_the_compiler_stays_so() -> None:
    code = """
from cliptune.uncompiled import uncompiled
import torch
def apart(x):
    return x + 1
with uncompiled():
    ours = torch.compiler.disable(apart)
    shallow = torch.compiler.disable(recursive=False)(apart)
print(torch.compiler.disable.__module__, ours.__name__, ours(torch.zeros(1)), shallow(torch.zeros(1)))
def compiled(disabled):
    graphs = []
    def backend(graph, inputs):
        graphs.append([node.target.__name__ for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward
    found = torch.compile(lambda x: disabled(x * 3) * 2, backend=backend)(torch.ones(1))
    return found, graphs
print(compiled(ours), compiled(torch.compiler.disable(apart)), compiled(apart), sep=chr(10))
"""
    apart = "(tensor([8.]), [['mul'], ['mul']])"
    assert said(code).splitlines() == [
        "torch.compiler apart tensor([1.]) tensor([1.])",
        apart,
        apart,
        "(tensor([8.]), [['mul', 'add', 'mul']])",
    ]


@pytest.mark.parametrize("before", ["", "import scipy, cliptune.metrics.weighted"])  # as `datasets` does
def test_peft_comes_without_what_adapters_do_not_use_and_gives_it_when_asked(before: str) -> None:
    code = f"""
import sys
from cliptune.lean import import_lean, import_peft
import_lean()
{before}
import_peft()
print([name for name in ("torch._dynamo", "sympy", "scipy.optimize", "sklearn") if name in sys.modules])
import torch
from peft import LoraConfig, inject_adapter_in_model
model = torch.nn.Sequential(torch.nn.Linear(4, 4))
inject_adapter_in_model(LoraConfig(r=2, target_modules="0"), model, "default")
model(torch.ones(1, 4)).sum().backward()
print(model[0].lora_B["default"].weight.grad is not None, "torch._dynamo" in sys.modules)
compiled = torch.compile(model, backend="eager")
print(torch.equal(compiled(torch.ones(1, 4)), model(torch.ones(1, 4))), "torch._dynamo" in sys.modules)
from transformers import CLIPModel
from transformers.loss.loss_for_object_detection import linear_sum_assignment
print(len(linear_sum_assignment([[1, 2], [2, 1]])))
"""
    assert said(code).splitlines() == ["[]", "True False", "True True", "2"]


def test_the_digits_are_read_without_scikit_learn() -> None:
    code = """
import sys
from cliptune.data.formats.digits import digits
print(len(digits()["train"]), "sklearn" in sys.modules)
"""
    assert said(code) == "1079 False\n"
