"""CLIP's linear probe (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", appendix A.3).

scikit-learn's L-BFGS, at most 1,000 iterations, on the features before the projection, with the L2 strength that validation chooses. The
paper then trains on train and validation together; with few shots it is train alone, so that both sides learn from the same images.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from published.task import Task

COARSE = [10.0**power for power in range(-6, 7, 2)]  # of lambda, ibid.
PER_DECADE = 8  # steps, ibid.


def search(score: Callable[[float], float]) -> float:
    """The paper's search: the coarse steps, then half the interval around the peak, until there are eight steps a decade.

    Args:
        score: of a strength, on validation; asked once for each.

    Returns:
        The strength with the highest score.
    """
    scores = {strength: score(strength) for strength in COARSE}
    step = 1.0  # in decades
    while step >= 1 / PER_DECADE:
        peak = max(scores, key=lambda strength: scores[strength])
        for near in (peak * 10**-step, peak * 10**step):
            if COARSE[0] <= near <= COARSE[-1]:
                scores[near] = score(near)
        step /= 2
    return max(scores, key=lambda strength: scores[strength])


def fitted(rows: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    """Logistic regression; `strength` is lambda, of which scikit-learn's C is the inverse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations that do not suffice: the paper's number is kept
        return LogisticRegression(C=1 / strength, max_iter=1000).fit(rows, labels)


def features(task: Task, pixels: Tensor) -> np.ndarray:
    """Of the image tower before its projection, not of unit length; the rows where the tower has no projection of its own."""
    visual = task.untouched.model.visual
    projection = getattr(visual, "proj", None)
    if projection is None:
        return task.encode(pixels).numpy()
    visual.proj = None
    try:
        mean, std = task.untouched.mean, task.untouched.std
        return task.encode(pixels, lambda part: visual((part / 255 - mean) / std)).numpy()
    finally:
        visual.proj = projection


def clip_probe(task: Task) -> Tensor:
    """Search on validation, then score the test images."""
    train, validation, test = (features(task, task.pixels(part)) for part in (task.train, task.validation, task.test))
    labels, held = task.train.labels.numpy(), task.validation.labels.numpy()
    strength = search(lambda value: float(fitted(train, labels, value).score(validation, held)))
    model = fitted(train, labels, strength)
    logits = torch.full((len(test), len(task.names)), -torch.inf)
    scores = torch.from_numpy(model.decision_function(test)).float()
    scores = torch.stack([-scores, scores], dim=1) if scores.ndim == 1 else scores
    logits[:, torch.from_numpy(model.classes_)] = scores
    return logits
