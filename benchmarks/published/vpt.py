"""VPT (Jia et al. 2022, "Visual Prompt Tuning"), deep: tokens before every block of the image tower, and a linear head, learn.

SGD with momentum 0.9, 100 epochs of which ten warm up, cosine, batches of 64, learning rates of the paper's grid (base rate times batch
over 256) that validation chooses among. The paper's whole grid (ten rates, four decays, six numbers of tokens) is cut down to `RATES`,
decay 1e-4 and ten tokens. It knows no class texts, and starts its head from nothing.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from published.task import Task

TOKENS, EPOCHS, WARMUP, BATCH, MOMENTUM, DECAY = 10, 100, 10, 64, 0.9, 1e-4
RATES = (10.0, 2.5, 0.5)  # base rates


class Prompted(nn.Module):
    """An open_clip ViT with tokens of its own before each block, and a head on what it gives.

    Args:
        visual: the frozen tower.
        classes: how many.
        device: of the new parameters.
    """

    def __init__(self, visual: nn.Module, classes: int, device: torch.device) -> None:
        super().__init__()
        self.visual: nn.Module = visual
        blocks = visual.transformer.resblocks  # type: ignore[union-attr]
        width = int(visual.positional_embedding.shape[-1])  # type: ignore[union-attr, index]
        bound = math.sqrt(6 / (3 * math.prod(visual.conv1.kernel_size) + width))  # type: ignore[union-attr, arg-type]
        self.tokens = nn.Parameter(torch.empty(len(blocks), TOKENS, width, device=device).uniform_(-bound, bound))  # type: ignore[arg-type]
        self.head = nn.Linear(width, classes, device=device)  # on what the projection takes

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, C]."""
        visual = self.visual
        x = visual._embeds(pixels)  # type: ignore[operator]
        for i, block in enumerate(visual.transformer.resblocks):  # type: ignore[union-attr, arg-type]
            rest = x[:, 1:] if i == 0 else x[:, 1 + TOKENS :]
            x = block(torch.cat([x[:, :1], self.tokens[i].expand(len(x), -1, -1), rest], dim=1))
        pooled, _ = visual._pool(x)  # type: ignore[operator]
        return self.head(pooled)


def factor(epoch: int, epochs: int) -> float:
    """On the learning rate: a line up, then a cosine down."""
    warmup = min(WARMUP, epochs // 2)
    if epoch < warmup:
        return (epoch + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / max(epochs - warmup, 1)))


def trained(task: Task, rate: float) -> Prompted:
    """Train at one base rate."""
    backbone = task.backbone().requires_grad_(False).eval()
    model = Prompted(backbone.model.visual, len(task.names), task.device)
    learned = [model.tokens, *model.head.parameters()]
    epochs, batch = task.times(EPOCHS), min(BATCH, len(task.train.labels))
    optimizer = torch.optim.SGD(learned, rate * batch / 256, MOMENTUM, weight_decay=DECAY)
    schedule = LambdaLR(optimizer, lambda epoch: factor(epoch, epochs))
    for _ in range(epochs):
        for part in task.batches(batch):
            logits = model(normal(task, task.augmented(part).to(task.device)))
            optimizer.zero_grad()
            F.cross_entropy(logits, task.train.labels[part].to(task.device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return model


def normal(task: Task, pixels: Tensor) -> Tensor:
    """As the tower takes them."""
    return (pixels / 255 - task.untouched.mean) / task.untouched.std


def vpt(task: Task) -> Tensor:
    """Learn at each rate, and score the test images at the one that validation chooses."""
    held, best, found = task.pixels(task.validation), -1.0, torch.empty(0)
    for rate in RATES:
        model = trained(task, rate).eval()
        logits = task.encode(held, lambda part, model=model: model(normal(task, part)))  # type: ignore[misc]
        accuracy = float((logits.argmax(dim=1) == task.validation.labels).float().mean())
        if accuracy > best:
            test = task.pixels(task.test)
            best, found = accuracy, task.encode(test, lambda part, model=model: model(normal(task, part)))  # type: ignore[misc]
    return found
