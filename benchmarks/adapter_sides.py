"""What adapter_step.py compares: a step of LoRA in cliptune, of peft's two ways, and of full fine-tuning, on the same weights and batch.

Peers read captions as their own tokenizers make them: open_clip's text tower all of the context, transformers' as much as the longest
caption. Each side imports what it needs when it is made, so that a process's memory is that side's.
"""

import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import timed
from torch import Tensor, nn

RANK, LR = 4, 1e-6
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class Job:
    """What both sides of a line do.

    Args:
        model: an open_clip architecture.
        folder: of its weights, `w.pt`, and of the same as transformers' CLIPModel.
        texts: of the batch.
        threads: of torch.
        padding: of transformers' tokenizer: to the longest caption, or, as in its own training example, to the context (`max_length`).
        half: in bfloat16, by autocast on both sides.
    """

    model: str
    folder: str
    texts: tuple[str, ...]
    threads: int
    padding: str = "longest"
    half: bool = DEVICE == "cuda"

    def settle(self) -> Tensor:
        """Fix threads and seed; the images [B, 3, h, w]."""
        torch.set_num_threads(self.threads)
        warnings.filterwarnings("ignore")
        torch.manual_seed(0)
        return torch.randn(len(self.texts), 3, 224, 224).to(DEVICE)

    @property
    def weights(self) -> str:
        """The file."""
        return str(Path(self.folder) / "w.pt")


def precision(half: bool) -> AbstractContextManager[Any]:
    """bfloat16, or float32."""
    return torch.autocast(DEVICE, torch.bfloat16) if half else nullcontext()


def plain(job: Job, adapt: Callable[[nn.Module], object]) -> tuple[nn.Module, Loss]:
    """open_clip's model and loss; all tokens of the context."""
    import open_clip

    images = job.settle()
    model: Any = open_clip.create_model(job.model, pretrained=job.weights)
    adapt(model)
    model.train().to(DEVICE)
    tokens, objective = open_clip.get_tokenizer(job.model)(list(job.texts)).to(DEVICE), open_clip.ClipLoss()
    return model, lambda: objective(*model(images, tokens))


def full(job: Job) -> tuple[nn.Module, Loss]:
    """All of the model learns."""
    return plain(job, lambda model: model)


def pefts(job: Job) -> tuple[nn.Module, Loss]:
    """Peft on `nn.MultiheadAttention`."""
    from peft import LoraConfig, inject_adapter_in_model

    return plain(job, partial(inject_adapter_in_model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["attn"])))


def transformers(job: Job) -> tuple[nn.Module, Loss]:
    """Peft on transformers' CLIPModel, with its own loss."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, CLIPModel

    images = job.settle()
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["q_proj", "k_proj", "v_proj"])
    model: Any = get_peft_model(CLIPModel.from_pretrained(job.folder), config).train().to(DEVICE)
    kind: dict[str, Any] = {"padding": job.padding, "truncation": True, "return_tensors": "pt"}
    tokens = AutoTokenizer.from_pretrained(job.folder)(list(job.texts), **kind).to(DEVICE)
    return model, lambda: model(**tokens, pixel_values=images, return_loss=True).loss


def lora(job: Job) -> tuple[nn.Module, Loss]:
    """Cliptune's LoRA, in a process that begins as its commands do."""
    from cliptune.lean import import_lean

    import_lean()
    import open_clip

    from cliptune.backbone import Backbone
    from cliptune.methods.base import ClassTexts
    from cliptune.methods.lora import LoRA

    images = job.settle()
    backbone, method = Backbone(job.model, job.weights), LoRA(rank=RANK)
    method.attach(backbone, ClassTexts([], [], backbone.preprocess))
    backbone.to(DEVICE)
    method.train_mode(backbone)
    tokens, objective = backbone.preprocess.tokenize(list(job.texts)).to(DEVICE), open_clip.ClipLoss()
    return backbone.model, lambda: objective(
        method.image_rows(backbone, images), method.text_rows(backbone, tokens), backbone.logit_scale.squeeze()
    )


Side = Callable[[Job], tuple[nn.Module, Loss]]


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    """What learns, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def step_of(side: Side, job: Job, times: int = 1) -> Callable[[], float]:
    """AdamW over what learns, so many steps a call; the loss of the first."""
    model, loss = side(job)
    for p in model.parameters():
        p.detach().sum()  # so that weights that from_pretrained maps from their file are resident before the step
    return stepping(learning(model).values(), loss, job.half, times)


def stepping(params: Iterable[nn.Parameter], loss: Loss, half: bool, times: int = 1) -> Callable[[], float]:
    optimizer = torch.optim.AdamW(list(params), lr=LR)

    def call() -> float:
        found = []
        for _ in range(times):
            optimizer.zero_grad()
            with precision(half):
                found.append(loss())
            found[-1].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return found[0].item()  # waits for a GPU

    return call


def floating_rate(call: Callable[[], object], seconds: float) -> float:
    """GFLOP/s of a step that takes so long; of what torch counts, which is products and attention."""
    from torch.utils.flop_counter import FlopCounterMode  # with triton, which neither side's memory is to hold

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / seconds / 1e9


def greatest_rate(half: bool, device: str = DEVICE) -> float:
    """GFLOP/s of products as large as a ViT-B's widest layer, with the threads and precision of the steps: the machine's measured peak.

    The faster of torch.mm and, in float32 on a CPU, numpy's, which is another library's (OpenBLAS beside MKL).
    """
    from threadpoolctl import threadpool_limits  # which neither side's memory is to hold

    kind = torch.bfloat16 if half else torch.float32
    a, b = torch.randn(1600, 768, device=device, dtype=kind), torch.randn(768, 3072, device=device, dtype=kind)

    def products() -> float:
        with torch.inference_mode():
            return [a @ b for _ in range(10)][-1][0, 0].item()

    def numpys() -> float:
        with threadpool_limits(torch.get_num_threads()):
            return [a.numpy() @ b.numpy() for _ in range(10)][-1][0, 0].item()

    sides = [products] if half or device != "cpu" else [products, numpys]
    for side in sides:
        side()
    return 10 * 2 * 1600 * 768 * 3072 / min(timed(side) for side in sides for _ in range(5)) / 1e9
