"""CLIP-LoRA (Zanella and Ben Ayed 2024, "Low-Rank Few-Shot Adaptation of Vision-Language Models").

Products of rank 2 on q, k and v of every block of both towers, dropout 0.25 on their input, AdamW at 2e-4 by a cosine to 1e-6, weight
decay 0.01, batches of 32, 500 steps times the shots, one template, no validation. The scale of the products, 1 over the root of the rank,
is the authors' release's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from published.task import Task

RANK, DROPOUT, LR, LEAST_LR, DECAY, BATCH, STEPS = 2, 0.25, 2e-4, 1e-6, 0.01, 32, 500


class Adapted(nn.Module):
    """Attention with products beside q, k and v; takes the place of `nn.MultiheadAttention`.

    Args:
        of: the frozen attention.
    """

    def __init__(self, of: nn.MultiheadAttention) -> None:
        super().__init__()
        self.of, self.dropout = of, nn.Dropout(DROPOUT)
        width = of.embed_dim
        self.down = nn.Parameter(torch.empty(3, RANK, width, device=of.out_proj.weight.device))
        self.up = nn.Parameter(torch.zeros(3, width, RANK, device=self.down.device))
        for part in self.down:
            nn.init.kaiming_uniform_(part, a=math.sqrt(5))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """[B, L, W]."""
        weights, biases = self.of.in_proj_weight.chunk(3), self.of.in_proj_bias.chunk(3)
        heads = []
        for i, x in enumerate((query, key, value)):
            extra = self.dropout(x) @ self.down[i].T @ self.up[i].T / math.sqrt(RANK)
            heads.append((F.linear(x, weights[i], biases[i]) + extra).unflatten(-1, (self.of.num_heads, -1)).transpose(1, 2))
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=attn_mask)
        return self.of.out_proj(mixed.transpose(1, 2).flatten(2)), None


def adapt(model: nn.Module) -> list[nn.Parameter]:
    """Put products into all attention; what learns."""
    model.requires_grad_(False)
    for module in list(model.modules()):
        if isinstance(getattr(module, "attn", None), nn.MultiheadAttention):
            module.attn = Adapted(module.attn)  # type: ignore[arg-type]
    found = [p for p in model.parameters() if p.requires_grad]
    if not found:
        raise ValueError("this CLIP has no nn.MultiheadAttention: CLIP-LoRA is written here for open_clip's ViT towers")
    return found


def clip_lora(task: Task) -> Tensor:
    """Learn the products, and score the test images."""
    backbone = task.backbone()
    backbone.restore_shapes()  # open_clip's own towers
    learned = adapt(backbone.model)
    tokens = backbone.preprocess.tokenize(task.texts).to(task.device)
    steps, done = task.times(STEPS * task.shots), 0
    optimizer = torch.optim.AdamW(learned, LR, weight_decay=DECAY)
    schedule = CosineAnnealingLR(optimizer, steps, eta_min=LEAST_LR)
    backbone.train()
    while done < steps:
        for part in task.batches(BATCH)[: steps - done]:
            with task.products():
                rows, texts = backbone.encode_image(task.augmented(part).to(task.device)), backbone.encode_text(tokens)
            logits = task.scale * rows @ texts.T
            optimizer.zero_grad()
            F.cross_entropy(logits, task.train.labels[part].to(task.device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            done += 1
    return task.test_logits(backbone)
