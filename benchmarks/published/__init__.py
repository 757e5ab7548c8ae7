"""Published few-shot algorithms, each as its paper states it, on an open_clip model: from a `Task` to the logits of its test images."""

from collections.abc import Callable

from torch import Tensor

from published.clap import clap
from published.clip_lora import clip_lora
from published.clip_probe import clip_probe
from published.coop import coop
from published.flyp import flyp
from published.lp_plus_plus import lp_plus_plus
from published.task import Part, Task
from published.vpt import vpt

ALGORITHMS: dict[str, Callable[[Task], Tensor]] = {
    "CLIP's probe": clip_probe,
    "CLAP": clap,
    "LP++": lp_plus_plus,
    "CoOp": coop,
    "VPT": vpt,
    "CLIP-LoRA": clip_lora,
    "FLYP": flyp,
}

__all__ = ["ALGORITHMS", "Part", "Task"]
