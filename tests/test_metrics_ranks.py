"""Retrieval with duplicates and ties, median ranks and average precision: against definitions that need the whole matrix."""

from typing import Any

import numpy as np
import pytest
import torch
from answered import FEATURES, searched
from pair import Pair
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import normalize

from cliptune.distributed import rank
from cliptune.metrics import ranks
from cliptune.metrics.answers import RetrievalAnswers
from cliptune.metrics.retrieval import CHUNK, Retrieval, retrieval_metrics, weighted_retrieval_metrics

Case = tuple[Tensor, Tensor, Tensor, Tensor]  # images' rows, texts' rows, owners, identities


def case(images: int = 40, words: int = 30, seed: int = 0) -> Case:
    """Images with none to four captions, of which many are the same as others', within an image too; some scores are equal."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.arange(images).repeat_interleave(torch.arange(images) % 5)
    identity = torch.randint(words, (len(owner),), generator=generator) + 100
    identity[3] = identity[2]
    identity[10:14] = -1  # like no other
    dictionary = normalize(torch.randn(words, 6, generator=generator).round(), dim=-1)
    texts = dictionary[identity.clamp(min=100) - 100]
    texts[10:14] = normalize(torch.randn(4, 6, generator=generator), dim=-1)
    own = torch.zeros(images, 6).index_add_(0, owner, texts)
    rows = normalize((own + 0.7 * torch.randn(images, 6, generator=generator)).round(), dim=-1, eps=1e-3)
    return rows, texts, owner, identity


def found_in(rows: Tensor, texts: Tensor, owner: Tensor, identity: Tensor | None) -> tuple[dict[str, float], RetrievalAnswers]:
    metric = Retrieval()
    metric.update(rows, torch.arange(len(rows)), texts, owner, identity)
    found = {name: value.item() for name, value in metric.compute().items()}
    assert metric.answers is not None
    return found, metric.answers


def right_pairs(rows: Tensor, texts: Tensor, owner: Tensor, identity: Tensor) -> Tensor:
    """[images, texts]: a text that says what one of an image's own says."""
    right = torch.zeros(len(rows), len(texts), dtype=torch.bool)
    for text, (whose, words) in enumerate(zip(owner.tolist(), identity.tolist(), strict=True)):
        right[whose, (identity == words) if words != -1 else torch.tensor([text])] = True
    return right


def order_of(scores: Tensor, right: Tensor) -> Tensor:
    """Candidates of each query, best first; of those that are equal the wrong ones."""
    keys = scores.round(decimals=5) - 1e-6 * right
    return keys.argsort(dim=1, descending=True, stable=True)


def by_definition(scores: Tensor, right: Tensor) -> dict[str, Tensor]:
    """For each query: is any right one among the first k, as CLIP_benchmark asks; the first right one's place; precision at each."""
    hits = right.gather(1, order_of(scores, right))
    found: dict[str, Tensor] = {f"recall@{k}": (hits[:, :k].sum(dim=1) > 0).double() for k in (1, 5, 10)}
    found["rank"] = torch.tensor([float(own.nonzero()[0]) if own.any() else float(max(len(own), 10)) for own in hits])
    precision = []
    for own in hits:
        places = own[:10].nonzero()[:, 0].tolist()
        precision.append(sum((i + 1) / (place + 1) for i, place in enumerate(places)) / max(min(int(own.sum()), 10), 1))
    found["map@10"] = torch.tensor(precision, dtype=torch.float64)
    return found


def test_duplicates_and_ties_are_counted_as_the_definition_says() -> None:
    for seed in range(3):
        data = case(seed=seed)
        found, answers = found_in(*data)
        scores, right = data[0] @ data[1].T, right_pairs(*data)
        assert right.sum() > 2 * len(data[2])  # there are duplicates
        ways = {"image_to_text": (scores, right, answers.image_rank), "text_to_image": (scores.T, right.T, answers.text_rank)}
        for way, (own, good, place) in ways.items():
            expected = by_definition(own, good)
            assert place.tolist() == expected["rank"].tolist(), way
            assert found[f"median_rank_{way}"] == np.median(expected["rank"]) + 1
            for name in ("recall@1", "recall@5", "recall@10", "map@10"):
                assert found[f"{name}_{way}"] == pytest.approx(expected[name].mean().item(), abs=1e-6), (way, name)
        assert 0.05 < found["recall@1_image_to_text"] < 0.9  # a case that tells


def test_two_images_with_the_same_caption_are_both_right_both_ways() -> None:
    rows = torch.eye(12)
    texts = rows.clone()
    texts[0] = texts[1] = rows[0] + rows[1]
    identity = torch.arange(12)
    identity[1] = 0
    found, answers = found_in(rows, texts, torch.arange(12), identity)
    assert {value for name, value in found.items() if "recall" in name} == {1.0}
    assert found["map@10_image_to_text"] == found["map@10_text_to_image"] == 1
    assert found["median_rank_image_to_text"] == found["median_rank_text_to_image"] == 1
    assert set(answers.image_top[0, :2].tolist()) == set(answers.text_top[1, :2].tolist()) == {0, 1}


def test_a_caption_that_only_looks_the_same_stays_wrong() -> None:
    """Rows may be equal by chance, or in a model that says the same of everything: words decide."""
    rows = torch.eye(12)
    texts = rows.clone()
    texts[0] = texts[1] = rows[0] + rows[1]
    found, _ = found_in(rows, texts, torch.arange(12), torch.arange(12))
    assert found["recall@1_image_to_text"] == found["recall@1_text_to_image"] == pytest.approx(10 / 12)


def test_copies_of_a_wrong_text_are_all_before_the_right_one() -> None:
    texts = torch.tensor([[0.5, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found, answers = found_in(torch.eye(2), texts, torch.tensor([0, 1, 1, 1]), torch.tensor([7, 8, 8, 8]))
    assert answers.image_rank.tolist() == [3, 1]  # image 0 prefers three copies; image 1, text 0 to its own
    assert answers.image_precision.tolist() == pytest.approx([1 / 4, (1 / 2 + 2 / 3 + 3 / 4) / 3])
    assert answers.image_top.tolist() == [[1, 2, 3, 0, -1], [0, 1, 2, 3, -1]]
    assert found["recall@1_image_to_text"] == 0


def test_average_precision_equals_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, texts = (normalize(torch.randn(count, 6, generator=generator), dim=-1) for count in (5, 10))
    owner, identity = torch.arange(5).repeat_interleave(torch.arange(5)), torch.arange(10)
    answers = found_in(rows, texts, owner, identity)[1]
    scores = rows @ texts.T
    for image in range(1, 5):
        expected = average_precision_score(owner == image, scores[image])
        assert answers.image_precision[image] == pytest.approx(expected, abs=1e-6)
    for text in range(10):
        assert answers.text_precision[text] == pytest.approx(average_precision_score(torch.arange(5) == owner[text], scores[:, text]))


def test_of_more_than_ten_right_ones_ten_are_asked_for() -> None:
    texts = torch.tensor([[1.0, 0.0]] * 14 + [[0.0, 1.0]])
    answers = found_in(torch.eye(2), texts, torch.tensor([0] * 14 + [1]), None)[1]
    assert answers.image_precision.tolist() == [1, 1]


def test_median_ranks_are_those_of_numpy_where_images_count_several_times() -> None:
    generator = torch.Generator().manual_seed(0)
    image_rank, owner = torch.randint(0, 40, (15,), generator=generator), torch.arange(15).repeat_interleave(3)
    text_rank = torch.randint(0, 40, (45,), generator=generator)
    answers = searched(image_rank, text_rank, owner)
    weights = torch.randint(0, 4, (6, 15), generator=generator)
    found = weighted_retrieval_metrics(answers, weights.float())
    for i, times in enumerate(weights):
        images, texts = image_rank.repeat_interleave(times), text_rank.repeat_interleave(times[owner])
        for way, own, precision in (
            ("image_to_text", images, answers.image_precision.repeat_interleave(times)),
            ("text_to_image", texts, answers.text_precision.repeat_interleave(times[owner])),
        ):
            assert found[f"median_rank_{way}"][i] == np.median(own) + 1
            assert found[f"recall@5_{way}"][i] == pytest.approx((own < 5).double().mean().item())
            assert found[f"map@10_{way}"][i] == pytest.approx(precision.double().mean().item())
    one = retrieval_metrics(answers)
    assert one["recall"] == pytest.approx(
        np.mean([one[f"recall@{k}_{way}"] for k in (1, 5, 10) for way in ("image_to_text", "text_to_image")])
    )


def test_the_best_five_are_told_with_their_scores() -> None:
    rows, texts, owner = normalize(torch.randn(30, 8), dim=-1), normalize(torch.randn(90, 8), dim=-1), torch.arange(90) // 3
    answers, scores = found_in(rows, texts, owner, torch.arange(90))[1], rows @ texts.T
    for top, score, own in ((answers.image_top, answers.image_score, scores), (answers.text_top, answers.text_score, scores.T)):
        expected = own.topk(5, dim=1)
        assert torch.equal(top, expected.indices)
        torch.testing.assert_close(score, expected.values, atol=2e-6, rtol=0)


def test_where_there_are_fewer_than_five_the_rest_is_empty() -> None:
    answers = found_in(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), None)[1]
    assert answers.image_top.tolist() == [[0, 1, -1, -1, -1], [1, 0, -1, -1, -1]]
    assert answers.text_score[:, 2:].isinf().all()


def test_images_without_any_caption_find_nothing() -> None:
    found, answers = found_in(torch.eye(3), torch.empty(0, 3), torch.empty(0, dtype=torch.long), None)
    assert found["recall@10_image_to_text"] == found["map@10_image_to_text"] == 0
    assert np.isnan(found["recall@1_text_to_image"])
    assert np.isnan(found["median_rank_text_to_image"])
    assert (answers.image_top == -1).all()


def test_blocks_of_any_size_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = case(images=90, words=60)
    whole, answers = found_in(*data)
    for rows, columns in ((1, 7), (16, 400), (400, 13), (50, 352)):
        monkeypatch.setattr(ranks, "BLOCK", {"cpu": (rows, columns)})
        found, others = found_in(*data)
        assert found == pytest.approx(whole, abs=1e-6)
        assert torch.equal(others.image_rank, answers.image_rank)
        assert torch.equal(others.text_rank, answers.text_rank)


def test_the_best_of_groups_are_the_best_of_all() -> None:
    scores = torch.randn(20, 32 * 16).round(decimals=1)  # many are equal
    for given in (scores, scores.T.contiguous().T):
        score, place = ranks._best_of(given)
        assert torch.equal(score, scores.topk(10, dim=1).values)
        assert torch.equal(scores.gather(1, place), score)
        assert all(len(set(own)) == 10 for own in place.tolist())


def test_rows_that_came_in_parts_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from cliptune.metrics import retrieval

    assert CHUNK * 4 > 2**25  # glibc's M_MMAP_THRESHOLD is at most 32 MB: memory of more goes back to the system
    monkeypatch.setattr(retrieval, "CHUNK", 64)
    data = case()
    rows, texts, owner, identity = data
    metric = Retrieval()
    for step in (1, 3):  # the first image alone has no caption
        for first in range(0, len(rows), step):
            mine = (owner >= first) & (owner < first + step)
            numbers = torch.arange(first, min(first + step, len(rows)))
            metric.update(rows[first : first + step], numbers, texts[mine], owner[mine] - first, identity[mine])
        assert {name: value.item() for name, value in metric.compute().items()} == found_in(*data)[0]
        metric.reset()


def shared(data: Case) -> tuple[dict[str, float], list[list[Any]]]:
    """This process's share: every other image."""
    rows, texts, owner, identity = data
    metric = Retrieval()
    for image in range(rank(), len(rows), 2):
        mine = owner == image
        metric.update(rows[image : image + 1], torch.tensor([image]), texts[mine], torch.zeros_like(owner[mine]), identity[mine])
    found = {name: value.item() for name, value in metric.compute().items()}
    assert metric.answers is not None
    a = metric.answers
    parts = (a.number, a.owner, a.image_rank, a.text_rank, a.image_score, a.text_score, a.image_precision, a.text_precision)
    return found, [part.tolist() for part in parts]


def test_two_processes_have_the_answers_of_one(pair: Pair) -> None:
    data = case(images=33)
    found, a = found_in(*data)
    parts = (a.number, a.owner, a.image_rank, a.text_rank, a.image_score, a.text_score, a.image_precision, a.text_precision)
    for metrics, answers in pair(shared, data):
        assert metrics == pytest.approx(found, abs=1e-6)
        for ours, theirs in zip(parts, answers, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.skipif(not FEATURES.exists(), reason="needs shared/data/clip_features")
def test_real_clip_finds_the_captions_of_flickr() -> None:
    """The figures of the folder's README."""
    data = np.load(FEATURES / "flickr8k_vitb32.npz")
    rows, texts = (normalize(torch.tensor(data[name]).float(), dim=-1) for name in ("image_features", "text_features"))
    words = np.unique(data["captions"], return_inverse=True)[1]
    found = found_in(rows, texts, torch.tensor(data["text_image_index"]).long(), torch.tensor(words))[0]
    expected = {"text_to_image": (0.832, 0.990, 0.998), "image_to_text": (0.930, 1, 1)}
    for way, values in expected.items():
        assert [found[f"recall@{k}_{way}"] for k in (1, 5, 10)] == pytest.approx(values, abs=1e-6), way
        assert found[f"median_rank_{way}"] == 1
