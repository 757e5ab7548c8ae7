"""What zero-shot says: scores, intervals, confusions, the sample, and how far the data is; against hand computations and references."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import pixels
from feature_files import arrays, npz
from made_data import data
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.doctor.distance import explain, measure_captions, measure_classes
from cliptune.doctor.looks import look
from cliptune.doctor.sample import choose, quota
from cliptune.doctor.scores import score_classes
from cliptune.doctor.zero_shot import zero_shot
from cliptune.errors import DataError
from cliptune.evaluation import Evaluation
from cliptune.export.intervals import wilson
from cliptune.methods.base import ClassTexts
from cliptune.methods.full import Full

pytest_plugins = ["made_data"]


# Scores


def test_each_class_has_its_share_and_what_it_is_taken_for() -> None:
    truth, said = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 1, 1, 0])
    found = score_classes(["a", "b", "c", "d"], truth, said, truth == said, [40, 20, 10, 30])
    assert [(one.name, one.images, one.right, one.said, one.confused_with, one.confused) for one in found.classes] == [
        ("a", 4, 1, 2, "b", 2),
        ("b", 2, 2, 4, "", 0),
        ("c", 1, 0, 1, "a", 1),
    ]
    assert found.per_class == pytest.approx((0.25 + 1 + 0) / 3)
    assert found.top1 == pytest.approx(4 / 7 * 0.25 + 2 / 7)
    assert (found.chance, found.largest) == pytest.approx((0.25, 4 / 7))
    assert {(one.truth, one.said, one.count, one.images) for one in found.pairs} == {("a", "b", 2, 4), ("a", "c", 1, 4), ("c", "a", 1, 1)}


def test_a_sample_in_the_classes_own_shares_has_wilsons_interval() -> None:
    rng = np.random.default_rng(0)
    truth, said = np.repeat([0, 1], [60, 30]), rng.integers(0, 2, 90)
    found = score_classes(["a", "b"], truth, said, truth == said, [600, 300])
    assert found.top1 == pytest.approx((truth == said).mean())
    assert (found.low, found.high) == pytest.approx(wilson(found.top1, 90))


def test_an_even_sample_of_uneven_classes_is_less_sure_of_top1() -> None:
    truth = np.repeat([0, 1], 50)
    said = np.where(np.arange(100) % 2, truth, 1 - truth)
    found = score_classes(["a", "b"], truth, said, truth == said, [9900, 100])
    assert found.high - found.low > 1.3 * np.diff(wilson(0.5, 100))[0]


def test_confusions_that_are_certain_come_first() -> None:
    truth, said = np.array([0, *[1] * 20]), np.array([2, *[2] * 18, 1, 1])
    found = score_classes(["a", "b", "c"], truth, said, truth == said, [1, 20, 5])
    assert [(one.truth, one.said) for one in found.pairs] == [("b", "c"), ("a", "c")]


# Distance


def rows(count: int, *, seed: int = 0, noise: float = 0.3, of: Tensor | None = None) -> Tensor:
    """Unit rows around those of `of`, or any."""
    made = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return F.normalize(made if of is None else of + noise * made, dim=-1)


def test_alignment_is_the_area_under_the_curve_of_own_texts_against_others() -> None:
    texts, truth = rows(5), torch.arange(40) % 5
    images = rows(40, seed=1, noise=1.5, of=texts[truth])
    found = measure_classes(images, truth, texts, list("abcde"), 10.0, 0.5)
    cosines = images @ texts.T
    expected = np.mean([roc_auc_score(F.one_hot(t, 5).numpy(), row.numpy()) for t, row in zip(truth, cosines, strict=True)])
    assert found.alignment == pytest.approx(expected)
    assert found.own == pytest.approx(float(cosines.gather(1, truth[:, None]).mean()))
    assert found.confidence == pytest.approx(float((10 * cosines).softmax(1).amax(1).mean()))


def test_spread_is_the_mean_cosine_of_two_images_and_dimensions_count_directions() -> None:
    images = rows(30)
    found = measure_captions(images, rows(30, seed=1), torch.arange(30))
    cosines = images @ images.T
    assert found.spread == pytest.approx(float((cosines.sum() - 30) / (30 * 29)), abs=1e-6)
    plane = F.normalize(torch.randn(500, 2, generator=torch.Generator().manual_seed(0)), dim=-1)
    flat = F.pad(plane, (0, 14))
    assert measure_captions(flat, rows(500), torch.arange(500)).dimensions == pytest.approx(2, abs=0.05)


def test_data_that_words_fit_is_near_and_noise_is_far() -> None:
    texts, truth = rows(4), torch.arange(80) % 4
    names = list("abcd")
    near = measure_classes(rows(80, seed=1, noise=0.05, of=texts[truth]), truth, texts, names, 100.0, skill=0.95)
    far = measure_classes(rows(80, seed=2), truth, texts, names, 100.0, skill=0.02)
    assert (near.verdict, far.verdict) == ("near", "far")
    assert near.neighbours == 1.0


def test_images_that_are_told_apart_under_wrong_words_are_told_from_noise() -> None:
    texts, truth = rows(4), torch.arange(80) % 4
    images = rows(80, seed=1, noise=0.05, of=texts[(truth + 1) % 4])  # each class looks as another one is called
    found = measure_classes(images, truth, texts, list("abcd"), 100.0, skill=-1 / 3)
    assert found.verdict == "words"
    assert any("class texts that do not fit" in line for line in explain(found))


def test_captions_are_near_where_the_own_one_beats_nine_others() -> None:
    texts = rows(60)
    found = measure_captions(rows(60, seed=1, noise=0.1, of=texts), texts, torch.arange(60))
    assert (found.verdict, found.neighbours) == ("near", None)
    assert found.skill > 0.95
    guessing = measure_captions(rows(60, seed=5), texts, torch.arange(60))
    assert abs(guessing.skill) < 0.1
    assert guessing.verdict == "far"


def test_few_images_tell_nothing() -> None:
    assert measure_captions(rows(10), rows(10), torch.arange(10)).verdict == "unknown"


def test_class_texts_that_are_one_to_the_tower_are_named() -> None:
    texts = rows(3)
    texts[2] = texts[0]
    found = measure_classes(rows(30, seed=1), torch.arange(30) % 3, texts, ["crocodile", "cup", "crocodile head"], 10.0, 0.0)
    assert [(a, b) for a, b, _ in found.alike] == [("crocodile", "crocodile head")]


# Looks


def test_pixel_art_paper_and_photographs_are_told_apart() -> None:
    sprite = np.random.default_rng(0).integers(0, 6, (32, 32))
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [20, 20, 240], [250, 250, 0], [255, 255, 255]], np.uint8)
    paper = np.full((600, 400, 3), 255, np.uint8)
    paper[::12, 40:360:3] = 0
    photo = pixels(300, 400)
    found = [look([torch.tensor(image).permute(2, 0, 1)]) for image in (palette[sprite], paper, photo)]
    assert [one.pixel_art for one in found] == [True, False, False]
    assert [one.document for one in found] == [False, True, False]
    assert not look([]).pixel_art


# The sample


@pytest.mark.parametrize(
    ("counts", "images", "expected"), [([100, 100], 50, 25), ([3, 100], 50, 47), ([1, 1, 1], 50, 1), ([9, 9, 9], 2, 1)]
)
def test_the_quota_fills_the_sample_and_no_more(counts: list[int], images: int, expected: int) -> None:
    assert quota(counts, images) == expected


def test_the_sample_is_even_and_never_of_test(vit: Backbone) -> None:
    made = data(preprocess=vit.preprocess)
    sample = choose(made, 100)
    assert len(sample.places) == len(set(sample.places)) == 100
    assert {split for split, _ in sample.places} <= {"train", "validation"}
    labels = [made.rows(split)[[(0, number)]][0][2].label for split, number in sample.places]
    assert set(Counter(labels).values()) == {10}
    assert sum(sample.counts) == sample.rows == 1079 + 359
    assert choose(made, 100) == sample


def test_an_image_with_a_row_for_each_caption_is_one_image(vit: Backbone, write: Callable[..., Path], tmp_path: Path) -> None:
    file = write([f"a {i}" for i in range(30)], split=["train"] * 20 + ["val"] * 5 + ["test"] * 5)
    file.write_text(file.read_text().replace("pictures/1.png", "pictures/0.png"), encoding="utf-8")
    assert len(choose(data(file, preprocess=vit.preprocess), 100).places) == 24


# All of it


def test_on_all_images_it_says_what_evaluation_says(vit: Backbone) -> None:
    made = data(preprocess=vit.preprocess, templates=["a {}.", "the number {}."], batch_size=32)
    for split in ("train", "test"):
        made.splits[split] = made.splits["validation"]
    found = zero_shot(vit, made, 10_000)
    evaluation = Evaluation(10, False)
    class_rows = Full().class_rows(vit, ClassTexts(made.class_names, made.class_texts, vit.preprocess))
    with torch.no_grad():
        for batch in made.val_dataloader():
            image_rows = vit.encode_image(batch["images"])
            evaluation.update(image_rows, Full().logits(vit, image_rows, class_rows), batch["label"], batch["row"], None)
    assert found.classes is not None
    assert found.images == found.rows == 359
    assert found.classes.top1 == pytest.approx(float(evaluation.compute()["top1"]), abs=1e-6)


def test_captions_are_retrieved_and_the_backbone_is_left_as_it_was(vit: Backbone, write: Callable[..., Path]) -> None:
    file = write([[f"a red {i}", f"number {i}"] for i in range(40)], split=["train"] * 30 + ["val"] * 5 + ["test"] * 5)
    vit.train()
    seen: list[tuple[int, int]] = []
    found = zero_shot(vit, data(file, preprocess=vit.preprocess), progress=lambda done, whole: seen.append((done, whole)))
    assert vit.training
    assert found.classes is None
    assert found.retrieval is not None
    assert (found.retrieval.images, found.retrieval.texts) == (35, 70)
    assert set(found.retrieval.recall) >= {"recall@1_image_to_text", "recall@10_text_to_image"}
    assert seen[-1] == (35, 35)
    assert found.looks.images == 35


def test_an_image_that_cannot_be_read_is_counted_and_costs_no_other(vit: Backbone, write: Callable[..., Path], tmp_path: Path) -> None:
    file = write([f"a {i}" for i in range(40)], split=["train"] * 30 + ["val"] * 5 + ["test"] * 5)
    (tmp_path / "pictures/3.png").write_bytes(b"junk")
    found = zero_shot(vit, data(file, preprocess=vit.preprocess))
    assert (found.images, found.unreadable) == (34, 1)
    assert found.retrieval is not None
    assert found.retrieval.texts == 34


def test_rows_that_were_computed_before_are_scored_and_those_of_another_width_are_one_error(vit: Backbone, tmp_path: Path) -> None:
    found = zero_shot(vit, data(npz(tmp_path, arrays(width=24)), preprocess=vit.preprocess, batch_size=2))
    assert found.vectors
    assert found.classes is not None
    assert found.images == 18
    with pytest.raises(DataError, match=r"rows of 4 numbers, and .* gives 24\. Take the backbone"):
        zero_shot(vit, data(npz(tmp_path, arrays(width=4)), preprocess=vit.preprocess, batch_size=2))


def test_what_is_measured_survives_json(vit: Backbone, tmp_path: Path) -> None:
    for i in range(24):
        file = tmp_path / ("cat" if i % 2 else "dog") / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels(20, 20, seed=i)).save(file)
    said: dict[str, Any] = zero_shot(vit, data(tmp_path, preprocess=vit.preprocess)).to_json()
    assert {"says", "in_words", "alignment", "neighbours"} <= set(said["distance"])
    assert said["classes"]["classes"][0]["accuracy"] == said["classes"]["classes"][0]["right"] / said["classes"]["classes"][0]["images"]
