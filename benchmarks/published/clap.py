"""CLAP (Silva-Rodriguez et al. 2024, "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models").

A probe that starts at the text rows, and is held near them by a penalty on each class's squared distance, whose weight is what zero-shot
gives the true class on the shots. SGD, learning rate 0.1, momentum 0.9, 300 epochs, cosine, batches of 256, 20 crops of each image
encoded beforehand; no validation. An epoch is as many batches as there are images, not crops, as in the authors' release. Text rows are
not made unit rows before they learn, so that a step's size depends on their length and on the scale: the published rate is right for
CLIP's, and far too small for nano, whose rows are longer and whose scale is lower. It is left as it is, and the comparison is easy to win.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from published.task import Task

LR, MOMENTUM, EPOCHS, BATCH, CROPS = 0.1, 0.9, 300, 256, 20
WARMUP_LR = 1e-5  # in the first epoch


def clap(task: Task) -> Tensor:
    """Learn the class rows, and score the test images."""
    crops = task.augmented_rows(CROPS)  # [V, N, D]
    rows, labels = crops.flatten(0, 1), task.train.labels.repeat(len(crops))
    start = task.class_rows(unit=False)
    learned = torch.nn.Parameter(start.clone())

    def logits(of: Tensor) -> Tensor:
        return task.scale * of @ F.normalize(learned, dim=-1).T

    with torch.no_grad():
        truth = F.one_hot(labels, len(start)).float()
        sure = (logits(rows).softmax(dim=1) * truth).sum(dim=0) / truth.sum(dim=0).clamp(min=1)  # [C], of each class's own images
    batches = max(len(task.train.labels) // BATCH, 1)
    epochs = task.times(EPOCHS)
    optimizer = torch.optim.SGD([learned], LR, MOMENTUM)
    schedule = CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        if epoch == 0:
            optimizer.param_groups[0]["lr"] = WARMUP_LR
        for part in torch.randperm(len(rows))[: batches * BATCH].split(BATCH):
            penalty = (sure * (learned - start).square().sum(dim=1)).mean()
            optimizer.zero_grad()
            (F.cross_entropy(logits(rows[part]), labels[part]) + penalty).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch == 0:
            optimizer.param_groups[0]["lr"] = LR
        schedule.step()
    return logits(task.rows("test")).detach()
