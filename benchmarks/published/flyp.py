"""FLYP (Goyal et al. 2023, "Finetune Like You Pretrain: Improved Finetuning of Zero-Shot Vision Models"), its few-shot setting.

All weights of both towers learn by the contrastive loss of pretraining, with the class texts as captions; images of one class are
negatives of one another, as the paper has it. AdamW, 20 epochs, cosine, no warm-up, batches of 256; of the two settings of the authors'
few-shot commands and of all epochs the one with the lowest cross-entropy on validation is kept. The untouched weights compete too, as in
the authors' release, which begins before the first epoch. Crops are not mirrored, as open_clip's are not.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from cliptune.backbone import Backbone
from published.task import Task

SETTINGS = ((1e-5, 0.2), (1e-6, 0.0))  # learning rate and weight decay
EPOCHS, BATCH = 20, 256
AREA = (0.9, 1.0)  # of the crops: open_clip's own, which the release takes


def validation_loss(task: Task, backbone: Backbone, pixels: Tensor) -> float:
    """Cross-entropy on the validation images."""
    backbone.eval()
    rows = task.encode(pixels, backbone.encode_image)
    logits = float(backbone.logit_scale.detach()) * rows @ task.class_rows(backbone).T
    return float(F.cross_entropy(logits, task.validation.labels))


def step_loss(task: Task, backbone: Backbone, tokens: Tensor, part: Tensor) -> Tensor:
    """The contrastive loss of a batch and its texts."""
    images = backbone.encode_image(task.augmented(part, AREA, mirrored=0.0).to(task.device))
    texts = backbone.encode_text(tokens)[task.train.labels[part].to(task.device)]  # each class's text once: the same rows
    logits = backbone.logit_scale * images @ texts.T
    truth = torch.arange(len(part), device=task.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def flyp(task: Task) -> Tensor:
    """Learn by both settings, and score the test images by the better one."""
    held = task.pixels(task.validation)
    best, least = deepcopy(task.untouched.state_dict()), validation_loss(task, task.untouched, held)
    for lr, decay in SETTINGS:
        backbone = task.backbone().requires_grad_(True)
        tokens = backbone.preprocess.tokenize(task.texts).to(task.device)
        optimizer = torch.optim.AdamW(backbone.parameters(), lr, weight_decay=decay)
        epochs = task.times(EPOCHS)
        schedule = CosineAnnealingLR(optimizer, epochs * len(task.batches(BATCH)))
        for _ in range(epochs):
            backbone.train()
            for part in task.batches(BATCH):
                optimizer.zero_grad()
                step_loss(task, backbone, tokens, part).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            if (loss := validation_loss(task, backbone, held)) <= least:
                best, least = deepcopy(backbone.state_dict()), loss
    backbone = task.backbone()
    backbone.load_state_dict(best)
    return task.test_logits(backbone)
