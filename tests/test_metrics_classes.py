"""Metrics over classes: against scikit-learn and torchmetrics, on the real CLIP's rows, and with images that count several times."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from answered import FEATURES, drawn, said
from sklearn import metrics as sk
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional import classification as tm

from cliptune.metrics import classes
from cliptune.metrics.answers import ClassAnswers
from cliptune.metrics.classes import area_resamples, class_metrics, confusion, per_class, weighted_class_metrics

NAMES = ["top1", "top5", "mean_per_class", "macro_f1", "auroc", "map", "ece", "nll"]


def case(absent: int = 1, images: int = 400, classes: int = 8) -> ClassAnswers:
    """Answers in which no image is of the last classes, though some are said to be, and in which probabilities are often equal."""
    found = drawn(images, classes)
    rounded = (found.probabilities * 20).round() + torch.linspace(0.1, 0.2, classes)  # equal over images, not over classes
    return said(rounded / rounded.sum(dim=1, keepdim=True), found.label % (classes - absent))


def several_case(images: int = 120, classes: int = 6) -> ClassAnswers:
    answers = drawn(images, classes, seed=3)
    several = torch.rand(images, classes, generator=torch.Generator().manual_seed(4)) < 0.3
    several[torch.arange(images), answers.label] = True
    several[:, 2] = False  # no image is of it
    several[:, 4] = True  # every image is
    label = several.int().argmax(dim=1)
    assert answers.probabilities is not None
    return said(answers.probabilities, label, several)


def by_sklearn(answers: ClassAnswers, weight: Tensor | None = None) -> dict[str, float]:
    """The same by scikit-learn, from all probabilities."""
    assert answers.probabilities is not None
    truth, chances = answers.label.numpy(), answers.probabilities.double().numpy()
    best, there = chances.argmax(axis=1), np.unique(truth if weight is None else truth[weight.numpy() > 0])
    w = None if weight is None else weight.numpy()
    return {
        "top1": sk.accuracy_score(truth, best, sample_weight=w),
        "top5": sk.top_k_accuracy_score(truth, chances, k=5, labels=range(answers.classes), sample_weight=w),
        "mean_per_class": sk.recall_score(truth, best, labels=there, average="macro", sample_weight=w),
        "macro_f1": sk.f1_score(truth, best, labels=there, average="macro", sample_weight=w),
        "auroc": np.mean([sk.roc_auc_score(truth == c, chances[:, c], sample_weight=w) for c in there]),
        "map": np.mean([sk.average_precision_score(truth == c, chances[:, c], sample_weight=w) for c in there]),
        "nll": sk.log_loss(truth, chances / chances.sum(axis=1, keepdims=True), labels=range(answers.classes), sample_weight=w),
    }


def repeated(answers: ClassAnswers, times: Tensor) -> ClassAnswers:
    """Each image so many times."""
    assert answers.probabilities is not None
    return said(*(part.repeat_interleave(times, dim=0) for part in (answers.probabilities, answers.label)))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_they_equal_scikit_learn() -> None:
    answers = case()
    found, expected = class_metrics(answers), by_sklearn(answers)
    assert list(found) == NAMES
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert found["mean_per_class"] == pytest.approx(sk.balanced_accuracy_score(answers.label, answers.top[:, 0]), abs=1e-6)
    assert 0.2 < found["top1"] < found["top5"] < 1  # a case that tells


def test_they_equal_torchmetrics() -> None:
    answers = drawn(500, 9)
    found, chances, truth = class_metrics(answers), answers.probabilities, answers.label
    expected = {
        "top1": tm.multiclass_accuracy(chances, truth, 9, average="micro"),
        "top5": tm.multiclass_accuracy(chances, truth, 9, top_k=5, average="micro"),
        "mean_per_class": tm.multiclass_accuracy(chances, truth, 9, average="macro"),
        "macro_f1": tm.multiclass_f1_score(chances, truth, 9, average="macro"),
        "auroc": tm.multiclass_auroc(chances, truth, 9),
        "map": tm.multiclass_average_precision(chances, truth, 9),
        "ece": tm.multiclass_calibration_error(chances, truth, 9, n_bins=15),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), abs=1e-5), name


def test_images_of_several_classes_equal_scikit_learn() -> None:
    answers = several_case()
    assert answers.several is not None
    assert answers.probabilities is not None
    found, told = class_metrics(answers), [0, 1, 3, 5]
    several, chances = answers.several[:, told].numpy(), answers.probabilities[:, told].numpy()
    assert list(found) == ["top1", "auroc", "map"]
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(several, chances, average="macro"), abs=1e-6)
    assert found["map"] == pytest.approx(sk.average_precision_score(several, chances, average="macro"), abs=1e-6)
    right = [bool(own[chance.argmax()]) for own, chance in zip(answers.several, answers.probabilities, strict=True)]
    assert found["top1"] == pytest.approx(np.mean(right))
    assert found["top1"] > (answers.top[:, 0] == answers.label).float().mean()  # any of its classes will do


def test_an_image_that_counts_twice_is_there_twice() -> None:
    answers = case()
    times = torch.randint(0, 4, (3, len(answers)), generator=torch.Generator().manual_seed(1))
    found = weighted_class_metrics(answers, times.float())
    for i, own in enumerate(times):
        expected = by_sklearn(answers, own.double()) | {"ece": class_metrics(repeated(answers, own))["ece"]}
        for name in NAMES:
            assert found[name][i].item() == pytest.approx(expected[name], abs=2e-6), name


def test_a_class_that_a_resample_lacks_is_not_counted_in_it() -> None:
    answers = case()
    times = torch.ones(2, len(answers))
    times[1, answers.label == 3] = 0
    found, expected = weighted_class_metrics(answers, times), by_sklearn(answers, times[1].double())
    for name, value in expected.items():
        assert found[name][1].item() == pytest.approx(value, abs=2e-6), name


def test_parts_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = case()
    times = torch.randint(0, 3, (7, len(answers)), generator=torch.Generator().manual_seed(1))
    whole = weighted_class_metrics(answers, times)
    monkeypatch.setattr(classes, "HELD", 3 * len(answers))
    for name, values in weighted_class_metrics(answers, times).items():
        torch.testing.assert_close(values, whole[name])


def test_areas_of_very_many_probabilities_come_from_fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = case()
    assert area_resamples(answers, 1000) == 1000
    monkeypatch.setattr(classes, "NUMBERS", len(answers) * answers.classes * 300)
    assert area_resamples(answers, 1000) == 300
    found = weighted_class_metrics(answers, torch.ones(10, len(answers)))
    assert {name: len(values) for name, values in found.items()} == {name: 3 if name in ("auroc", "map") else 10 for name in NAMES}


def test_without_probabilities_there_are_no_areas() -> None:
    assert list(class_metrics(replace(case(), probabilities=None))) == [name for name in NAMES if name not in ("auroc", "map")]


def test_up_to_five_classes_have_no_top5() -> None:
    assert "top5" not in class_metrics(drawn(50, 5))
    assert "top5" in class_metrics(drawn(50, 6))


def test_only_what_is_asked_for_is_given() -> None:
    answers = case()
    assert class_metrics(answers, ["nll", "macro_f1"]) == {name: class_metrics(answers)[name] for name in ("macro_f1", "nll")}


def test_no_answers_have_no_metrics() -> None:
    assert class_metrics(said(torch.empty(0, 6), torch.empty(0, dtype=torch.long))) == {}


def test_one_class_alone_has_no_areas_to_speak_of() -> None:
    found = class_metrics(said(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0])))
    assert np.isnan(found["auroc"])
    assert found["top1"] == 0.5


def test_an_impossible_label_costs_87_nats() -> None:
    assert class_metrics(said(torch.tensor([[1.0, 0.0]]), torch.tensor([1])))["nll"] == pytest.approx(87.34, abs=0.01)


def test_a_table_of_classes_equals_scikit_learn() -> None:
    answers = case(absent=1)
    found = per_class(answers)
    assert answers.probabilities is not None
    truth, best = answers.label.numpy(), answers.top[:, 0].numpy()
    precision, recall, f1, images = sk.precision_recall_fscore_support(truth, best, labels=range(8), zero_division=np.nan)
    assert found.images.tolist() == images.tolist()
    for ours, theirs in ((found.precision, precision), (found.recall, recall)):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(found.f1[:7], f1[:7], atol=1e-6)
    assert found.f1[7] == 0  # said, and never true
    assert found.average_precision is not None
    assert found.average_precision.isnan().tolist() == [False] * 7 + [True]
    expected = sk.average_precision_score(truth == 2, answers.probabilities[:, 2].numpy())
    assert found.average_precision[2] == pytest.approx(expected, abs=1e-6)


def test_a_table_of_several_classes_counts_every_class_of_an_image() -> None:
    answers = several_case()
    found = per_class(answers)
    assert answers.several is not None
    assert found.images.tolist() == answers.several.sum(dim=0).tolist()
    assert int(found.said.sum()) == len(answers)
    assert int(found.right.sum()) == round(class_metrics(answers)["top1"] * len(answers))
    assert found.right[4] == found.said[4]  # every image is of it


def test_confusions_equal_scikit_learn() -> None:
    answers = case()
    assert (confusion(answers).numpy() == sk.confusion_matrix(answers.label, answers.top[:, 0], labels=range(8))).all()


@pytest.mark.skipif(not FEATURES.exists(), reason="needs shared/data/clip_features")
def test_real_clip_names_the_images_of_caltech() -> None:
    """The figures of the folder's README, for both of its prompts: 26 classes have the same name in ImageNet."""
    pictures, texts = np.load(FEATURES / "caltech101_vitb32.npz"), np.load(FEATURES / "imagenet_text_vitb32.npz")
    names = {str(name).lower(): i for i, name in enumerate(texts["classnames"])}
    asked = [str(name).lower().replace("_", " ") for name in pictures["classnames"]]
    same = {i: names[name] for i, name in enumerate(asked) if name in names}
    chosen = [label in same for label in pictures["test_labels"].tolist()]
    label = torch.tensor([same[own] for own in pictures["test_labels"][chosen].tolist()])
    rows = normalize(torch.tensor(pictures["test_features"][chosen]).float())  # float16 leaves their lengths at 1 to 1e-4
    assert (len(same), len(label)) == (26, 523)
    few = torch.tensor(sorted(same.values()))
    for prompt, among, whole in (("text_features", 0.966, 0.767), ("text_features2", 0.969, 0.759)):
        chances = (100 * rows @ normalize(torch.tensor(texts[prompt]).float()).T).softmax(dim=1)
        assert class_metrics(said(chances, label), ["top1"])["top1"] == pytest.approx(whole, abs=5e-4)
        own = chances[:, few] / chances[:, few].sum(dim=1, keepdim=True)
        assert class_metrics(said(own, torch.searchsorted(few, label)), ["top1"])["top1"] == pytest.approx(among, abs=5e-4)
