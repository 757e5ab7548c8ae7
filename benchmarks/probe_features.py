"""Logistic regression on real CLIP features of Caltech101 at 1 to 16 shots: test top-1, and the time of a solve against scikit-learn's.

The features are those of shared/data/clip_features (ViT-B/32 of OpenAI); another file with the same arrays will do. C is chosen on
validation alone; the test rows are looked at once, with what was chosen. Both solvers then take turns at that C, each from zero and to
its own tolerance, and their objectives are compared: cliptune's must not be above scikit-learn's.
"""

import argparse
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from measure import Line, alternate, report, skip_without
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from cliptune.data.formats.features import open_features
from cliptune.logistic import Problem, Solution
from cliptune.objectives.cross_entropy import CrossEntropy

FILE = Path(__file__).parents[2] / "shared" / "data" / "clip_features" / "caltech101_vitb32.npz"
WANTED = {1: 0.782, 2: 0.853, 4: 0.906, 8: 0.925, 16: 0.939}  # test top-1 by shots: the README beside the features
SCALE = 100.0  # CLIP's
SAME = 1e-3  # relative: by so much our objective may be above scikit-learn's; below it may be, where that one stops early

Labelled = tuple[Tensor, Tensor]  # unit rows [N, D] and class numbers [N]


def said(part: Labelled, start: Tensor, solution: Solution | None) -> Tensor:
    """The logits of a solution, or of the start."""
    logits = SCALE * part[0] @ (start if solution is None else start + solution.delta).T
    return logits if solution is None or solution.bias is None else logits + solution.bias


def accuracy(part: Labelled, start: Tensor, solution: Solution | None) -> float:
    """Top-1."""
    return float((said(part, start, solution).argmax(dim=1) == part[1]).float().mean())


def loss(part: Labelled, start: Tensor, solution: Solution | None) -> float:
    """Mean cross-entropy."""
    return float(F.cross_entropy(said(part, start, solution), part[1]))


def objective(part: Labelled, weights: np.ndarray, bias: np.ndarray | float, strength: float) -> float:
    """The sum that both minimise, in float64."""
    logits = part[0].double() @ torch.from_numpy(weights).double().T + torch.as_tensor(bias)
    return float(F.cross_entropy(logits, part[1], reduction="sum") + (torch.from_numpy(weights) ** 2).sum() / (2 * strength))


def apart(part: Labelled, ours: Solution, theirs: LogisticRegression, strength: float) -> float:
    """Relative difference of the two objectives; negative where ours is lower."""
    bias = 0.0 if ours.bias is None else ours.bias.double().numpy()
    own = objective(part, SCALE * ours.delta.double().numpy(), bias, strength)
    other = objective(part, theirs.coef_, theirs.intercept_, strength)
    return own / other - 1


def measure(shots: int, parts: dict[str, Labelled], classes: int, with_bias: bool, pairs: int) -> Line:
    """Choose C, score, and time both solvers at it."""
    train = parts[f"shot{shots}"]
    start, targets = torch.zeros(classes, train[0].shape[1]), CrossEntropy().targets(train[1], classes)
    began = perf_counter()
    best, choice = Problem(train[0], targets, start, SCALE, with_bias).search(
        partial(accuracy, parts["val"], start), partial(loss, parts["val"], start), len(parts["val"][1])
    )
    taken = perf_counter() - began
    if best is None:
        raise SystemExit(f"{shots} shots: no strength is better than nothing on validation. Are the labels those of these features?")
    rows, labels = (value.numpy() for value in train)
    reference = LogisticRegression(C=choice.strength, fit_intercept=with_bias, max_iter=1000)
    turns = alternate(
        lambda: Problem(train[0], targets, start, SCALE, with_bias).solve(choice.strength),
        lambda: reference.fit(rows.astype(np.float64), labels),
        pairs,
        1,
    )
    difference = apart(train, Problem(train[0], targets, start, SCALE, with_bias).solve(choice.strength), reference, choice.strength)
    if difference > SAME:
        raise SystemExit(f"{shots} shots: our objective is {difference:.1e} above scikit-learn's: the two do not do the same work.")
    notes = {"C": choice.strength, "tried": float(len(choice.tried)), "sweep s": taken, "validation": choice.accuracy}
    notes |= {"test": accuracy(parts["test"], start, best), "wanted": WANTED[shots], "objectives apart": difference}
    return Line(f"{shots} shots{', bias' * with_bias}", turns, len(rows), notes=notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, default=FILE, help="an npz or safetensors file: shotK, val and test")
    parser.add_argument("--shots", type=int, nargs="+", default=list(WANTED), choices=WANTED)
    parser.add_argument("--pairs", type=int, default=5, help="solves of each side")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    skip_without(given.features)
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore")  # where few shots can be told apart wholly, scikit-learn's line search says so
    tables = open_features(given.features)
    classes = next(iter(tables.values())).features["label"].num_classes
    parts = {}
    for name, table in tables.items():
        columns = table.with_format("torch")[:]
        parts[name] = (F.normalize(columns["image"], dim=-1), columns["label"])
    report(
        "probe_features",
        "cliptune",
        "scikit-learn",
        [measure(shots, parts, classes, with_bias, given.pairs) for shots in given.shots for with_bias in (False, True)],
    )


if __name__ == "__main__":
    main()
