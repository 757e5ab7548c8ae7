"""What one pass of evaluation measures, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from cliptune.evaluation import Evaluation


def test_images_of_several_classes_are_measured_by_mean_average_precision() -> None:
    rng = np.random.default_rng(0)
    labels = torch.tensor(rng.random((40, 5)) < 0.3).float()
    labels[:, 0] = 0
    labels[3, 0] = 1
    first = torch.tensor([int(row.argmax()) if row.any() else -1 for row in labels])
    logits, rows = torch.tensor(rng.normal(size=(40, 5))).float(), torch.zeros(40, 2)
    evaluation = Evaluation(5, captions=False, several=True)
    for part in (slice(0, 25), slice(25, 40)):
        evaluation.update(rows[part], logits[part], first[part], torch.arange(40)[part], None, labels[part])
    found = evaluation.compute()
    known = first >= 0
    expected = average_precision_score(labels[known].numpy(), logits.softmax(dim=-1)[known].numpy(), average="macro")
    assert float(found["map"]) == pytest.approx(expected, abs=1e-6)
    assert float(found["score"]) == float(found["map"])
    best = logits[known].argmax(dim=1)
    assert float(found["top1"]) == pytest.approx(float(labels[known].gather(1, best[:, None]).mean()), abs=1e-6)
    assert evaluation.evaluated["images"] == int(known.sum())


def test_an_image_that_only_fills_a_batch_counts_for_nothing() -> None:
    evaluation = Evaluation(2, captions=False)
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    evaluation.update(torch.zeros(3, 2), logits, torch.tensor([0, 0, -1]), torch.tensor([0, 1, -1]), None)
    assert float(evaluation.compute()["top1"]) == 0.5
    assert evaluation.evaluated["images"] == 2


def test_of_classes_that_are_equally_probable_the_first_is_said() -> None:
    evaluation = Evaluation(20, captions=False)
    evaluation.update(torch.zeros(20, 2), torch.ones(20, 20), torch.arange(20), torch.arange(20), None)
    assert evaluation.compute()["top1"] == 1 / 20
    assert evaluation.answers.classes is not None
    assert (evaluation.answers.classes.top[:, 0] == 0).all()
