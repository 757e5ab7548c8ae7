"""LP++ (Huang et al. 2024, "LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP").

Logits are rows times (w_c + alpha_c t_c), with a blending weight for each class. Step sizes follow from Lipschitz bounds of the loss and
starts from the shots, so that nothing is tuned; 300 steps over all shots, the weights' by momentum and alpha's every tenth, as in the
authors' release; the step with the best validation accuracy is kept.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from published.task import Task

EPOCHS, MOMENTUM, ALPHA_EVERY = 300, 0.9, 10
ALPHA_START = 250.0  # times the mean product of an image's row and its own class's text row
AREA = (0.5, 1.0)  # of the one crop of each image


def lp_plus_plus(task: Task) -> Tensor:
    """Learn the weights and alpha, and score the test images."""
    rows, labels, texts = task.augmented_rows(1, AREA)[0], task.train.labels, task.class_rows()
    held, test = task.rows("validation"), task.rows("test")
    products = rows @ texts.T  # [N, C]
    truth = F.one_hot(labels, len(texts)).float()
    weight = torch.nn.Parameter(truth.T @ rows)  # [C, D], the sums of each class's rows
    bias = torch.nn.Parameter(torch.zeros(len(texts)))
    own = (products * truth).sum(dim=0) / truth.sum(dim=0).clamp(min=1)
    alpha = torch.nn.Parameter((ALPHA_START * own.mean()).expand(len(texts)).clone())
    weight_step = 4 * len(rows) / float(torch.linalg.eigvalsh(rows.T @ rows)[-1])
    alpha_step = len(rows) / (4 * float(products.square().sum(dim=0).max()))
    optimizer = torch.optim.SGD([weight, bias], weight_step, MOMENTUM)

    def logits(of: Tensor) -> Tensor:
        return of @ weight.T + bias + alpha * (of @ texts.T)

    best, found = -1.0, logits(test).detach()
    for step in range(task.times(EPOCHS)):
        optimizer.zero_grad()
        alpha.grad = None
        F.cross_entropy(logits(rows), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            if (step + 1) % ALPHA_EVERY == 0 and alpha.grad is not None:
                alpha -= alpha_step * alpha.grad
            accuracy = float((logits(held).argmax(dim=1) == task.validation.labels).float().mean())
            if accuracy >= best:
                best, found = accuracy, logits(test)
    return found
